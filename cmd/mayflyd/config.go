package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/process"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
	"github.com/mayflyproxy/mayfly/trace"
)

// config is the one YAML file of mayflyd. Unknown keys are errors. Each field is
// explained in docs/configuration.md, which a test holds against it.
type config struct {
	DataDir      string         `yaml:"data_dir"`
	Origin       string         `yaml:"origin"`
	Identity     identityConfig `yaml:"identity"`
	TrustDomains []string       `yaml:"trust_domains"`
	Public       publicConfig   `yaml:"public"`
	Nodes        netip.AddrPort `yaml:"nodes"`
	Workloads    netip.AddrPort `yaml:"workloads"`
	Health       netip.AddrPort `yaml:"health"`
	Policy       policyConfig   `yaml:"policy"`
	PeoplePort   uint16         `yaml:"people_port"`
	OIDC         []oidcConfig   `yaml:"oidc"`
	OAuth        oauthConfig    `yaml:"oauth"`
	Session      time.Duration  `yaml:"session"`
	IdentityAge  time.Duration  `yaml:"identity_max_age"`
	Tokens       tokensConfig   `yaml:"tokens"`
	Pin          string         `yaml:"pin"`
	Traces       trace.Settings `yaml:"traces"`

	FirstAdministrator string `yaml:"first_administrator"` // a file

	Federation []spiffe.Relation `yaml:"federation"`
}

type identityConfig struct {
	WorkloadAPI string `yaml:"workload_api"` // unix:///…
	ID          string `yaml:"id"`
	Cert        string `yaml:"cert"`
	Key         string `yaml:"key"`
	Bundle      string `yaml:"bundle"`
}

type publicConfig struct {
	Address netip.AddrPort `yaml:"address"`
	URL     string         `yaml:"url"`
	Cert    string         `yaml:"cert"`
	Key     string         `yaml:"key"`
}

// tokensConfig is how the keys that sign access tokens are made and changed.
type tokensConfig struct {
	Alg         string        `yaml:"alg"`
	RotateEvery time.Duration `yaml:"rotate_every"`
	Overlap     time.Duration `yaml:"overlap"`
}

// keys is what package access makes of it.
func (c tokensConfig) keys() access.TokenKeyConfig {
	return access.TokenKeyConfig{Alg: tokens.Alg(c.Alg), RotateEvery: c.RotateEvery, Overlap: c.Overlap}
}

type policyConfig struct {
	Repository  string        `yaml:"repository"`
	Branch      string        `yaml:"branch"`
	Folder      string        `yaml:"folder"`
	Every       time.Duration `yaml:"every"`
	FirstSigner string        `yaml:"first_signer"`
	Remote      remoteConfig  `yaml:"remote"`
	Webhook     string        `yaml:"webhook_secret"`
}

// remoteConfig is from where mayflyd fetches; without a URL it does not.
type remoteConfig struct {
	URL        string `yaml:"url"`
	User       string `yaml:"user"`
	Token      string `yaml:"token"`
	CA         string `yaml:"ca"`
	Key        string `yaml:"ssh_key"`
	KnownHosts string `yaml:"known_hosts"`
}

const (
	defaultPolicyEvery = 10 * time.Second
	defaultBranch      = "main"
	defaultPeoplePort  = 443
	pinName            = "checkpoint.pin"
)

// loadConfig reads path and checks what can be checked without starting anything.
// Relative paths in it are relative to its folder.
func loadConfig(path string, dev bool) (config, error) {
	var c config
	if err := process.ReadConfig(path, &c); err != nil {
		return config{}, err
	}
	c.defaults(filepath.Dir(path))
	if err := c.check(dev); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *config) defaults(dir string) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	paths := []*string{
		&c.DataDir, &c.Identity.Cert, &c.Identity.Key, &c.Identity.Bundle, &c.Public.Cert, &c.Public.Key,
		&c.Policy.Repository, &c.Policy.FirstSigner, &c.Policy.Webhook, &c.Policy.Remote.Token, &c.Policy.Remote.CA, &c.Policy.Remote.Key, &c.Policy.Remote.KnownHosts, &c.Pin, &c.FirstAdministrator, &c.Traces.CA, &c.Traces.HeadersFile,
	}
	for i := range c.Federation {
		paths = append(paths, c.Federation[i].Paths()...)
	}
	for i := range c.OIDC {
		paths = append(paths, &c.OIDC[i].ClientSecret, &c.OIDC[i].Roots)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(abs, *p)
		}
	}
	for td, at := range c.OAuth.JWTBundles {
		if at.File != "" && !filepath.IsAbs(at.File) {
			at.File = filepath.Join(abs, at.File)
			c.OAuth.JWTBundles[td] = at
		}
	}
	if c.Policy.Branch == "" {
		c.Policy.Branch = defaultBranch
	}
	if c.IdentityAge == 0 {
		c.IdentityAge = access.DefaultIdentityAge
	}
	if c.Policy.Every == 0 {
		c.Policy.Every = defaultPolicyEvery
	}
	if c.PeoplePort == 0 {
		c.PeoplePort = defaultPeoplePort
	}
	if c.Pin == "" {
		c.Pin = filepath.Join(c.DataDir, pinName)
	}
}

func (c *config) check(dev bool) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.DataDir != "", "data_dir: want a folder; mayflyd init makes it")
	need(regexp.MustCompile(`^[a-z0-9.-]+(/[A-Za-z0-9._-]+)*$`).MatchString(c.Origin), "origin: want the name of the log, such as mayfly.acme.example/log")
	own, err := spiffeid.FromString(c.Identity.ID)
	need(err == nil, "identity.id: want mayflyd's SPIFFE ID")
	files := c.Identity.Cert != "" && c.Identity.Key != "" && c.Identity.Bundle != ""
	need(files || c.Identity.WorkloadAPI != "", "identity: want workload_api, or cert, key and bundle")
	need(len(c.TrustDomains) > 0, "trust_domains: want at least one")
	for _, td := range c.TrustDomains {
		_, err := spiffeid.TrustDomainFromString(td)
		need(err == nil, "trust_domains: %q is not a trust domain", td)
	}
	if err := spiffe.CheckRelations(c.Federation, own, c.TrustDomains); err != nil {
		errs = append(errs, err)
	}
	u, err := url.Parse(c.Public.URL)
	need(err == nil && u.Scheme == "https" && u.Host != "" && strings.Trim(u.Path, "/") == "", "public.url: want https://host[:port], as people reach it")
	need(c.Public.Cert != "" && c.Public.Key != "", "public: want cert and key")
	doors := []struct {
		name string
		at   netip.AddrPort
	}{{"public.address", c.Public.Address}, {"nodes", c.Nodes}, {"workloads", c.Workloads}, {"health", c.Health}}
	for i, a := range doors {
		need(a.at.IsValid() || a.name == "health", "%s: want IP:port", a.name)
		need(!dev || !a.at.IsValid() || a.at.Addr().IsLoopback(), "%s: --dev listens on loopback only", a.name)
		for _, b := range doors[:i] {
			need(!process.Collide(a.at, b.at), "%s: %s listens on %s already", a.name, b.name, b.at)
		}
	}
	need(!c.Health.IsValid() || c.Health.Addr().IsLoopback(), "health: want a loopback address")
	for td, at := range c.OAuth.JWTBundles {
		need(slices.Contains(c.TrustDomains, td), "oauth.jwt_bundles: %q is not one of trust_domains", td)
		need(at.File != "", "oauth.jwt_bundles: %s: want a file with a JWKS document", td)
	}
	need(c.OAuth.WorkloadsURL == "" || bareHTTPS(c.OAuth.WorkloadsURL), "oauth.workloads_url: want https://host[:port], as workloads reach the door")
	need(c.Policy.Repository != "", "policy.repository: want a folder with a Git repository")
	need(c.Policy.Folder == "" || fs.ValidPath(c.Policy.Folder), "policy.folder: want a path inside the repository, such as policy")
	need(c.Policy.Every > 0, "policy.every: want a duration above 0")
	need(dev || c.Policy.FirstSigner != "", "policy.first_signer: want the file with the key that may sign the first policy, or --dev")
	need(c.Session >= 0 && c.Session <= access.MaxSession, "session: want at most %s", access.MaxSession)
	need(c.IdentityAge > 0 && c.IdentityAge <= access.MaxIdentityAge, "identity_max_age: want more than 0 and at most %s", access.MaxIdentityAge)
	if err := c.Tokens.keys().Check(); err != nil {
		errs = append(errs, err)
	}
	if c.FirstAdministrator != "" {
		a, err := readAdministrator(c.FirstAdministrator)
		need(err == nil, "%v", err)
		need(err != nil || slices.ContainsFunc(c.OIDC, func(o oidcConfig) bool { return strings.HasPrefix(a.who.String(), "user:"+o.Name+":") }),
			"first_administrator: %s is of no provider under oidc", a.who)
	}
	return errors.Join(append(append(errs, c.checkOIDC(dev)...), c.Traces.Check())...)
}

// bareHTTPS reports whether text is https://host[:port] and nothing more.
func bareHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && text == "https://"+u.Host
}

// url is public.url without a slash at its end.
func (c *config) url() string { return strings.TrimSuffix(c.Public.URL, "/") }
