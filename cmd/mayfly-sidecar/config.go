package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/process"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/trace"
)

// config is the one YAML file of the sidecar. Unknown keys are errors. Each
// field is explained in docs/configuration.md, which a test holds against it.
type config struct {
	ControlPlane  controlPlane            `yaml:"control_plane"`
	Identity      identityConfig          `yaml:"identity"`
	TrustDomains  []string                `yaml:"trust_domains"`
	Federation    []spiffe.Relation       `yaml:"federation"`
	RunDir        string                  `yaml:"run_dir"`
	StateDir      string                  `yaml:"state_dir"`
	Services      netip.AddrPort          `yaml:"services"`
	People        netip.AddrPort          `yaml:"people"`
	Clients       netip.AddrPort          `yaml:"clients"`
	ClientsPort   uint16                  `yaml:"clients_port"`
	ServicesPort  uint16                  `yaml:"services_port"`
	Certificates  []certificateConfig     `yaml:"certificates"`
	Health        netip.AddrPort          `yaml:"health"`
	Envoy         envoyConfig             `yaml:"envoy"`
	Secrets       map[string]secretConfig `yaml:"secrets"`
	UpstreamRoots string                  `yaml:"upstream_roots"`
	SpoolBytes    int64                   `yaml:"spool_bytes"`
	Record        recordConfig            `yaml:"record"`
	Proof         proofConfig             `yaml:"proof"`
	SendActionID  bool                    `yaml:"send_action_id"`
	Traces        trace.Settings          `yaml:"traces"`
}

type controlPlane struct {
	Address string `yaml:"address"`
	ID      string `yaml:"id"`
}

type identityConfig struct {
	WorkloadAPI string     `yaml:"workload_api"` // unix:///…
	Sidecar     svidConfig `yaml:"sidecar"`
	Listener    svidConfig `yaml:"listener"`
}

// svidConfig names one SVID: from the Workload API by its ID, or from files.
type svidConfig struct {
	ID     string `yaml:"id"`
	Cert   string `yaml:"cert"`
	Key    string `yaml:"key"`
	Bundle string `yaml:"bundle"`
}

type envoyConfig struct {
	Path        string `yaml:"path"`
	Concurrency int    `yaml:"concurrency"`
}

// certificateConfig is what browsers and clients see at some hosts.
type certificateConfig struct {
	Hosts []string `yaml:"hosts"`
	Cert  string   `yaml:"cert"`
	Key   string   `yaml:"key"`
}

// recordConfig is which record this gateway takes part in.
type recordConfig struct {
	Key string `yaml:"key"` // a file: checkpoint.pub of mayflyd
}

// proofConfig is what this gateway believes without being told by mayflyd.
type proofConfig struct {
	Apps          []string `yaml:"apps"`
	PolicySigners []string `yaml:"policy_signers"`
	PolicyFolder  string   `yaml:"policy_folder"`
	Since         string   `yaml:"since"`
	Console       string   `yaml:"console"`
}

type secretConfig struct {
	File  string   `yaml:"file"`
	Apps  []string `yaml:"apps"`
	Hosts []string `yaml:"hosts"`
}

// defaultSpoolBytes is the room of a spool whose size is not given.
const defaultSpoolBytes = 1 << 30

// loadConfig reads path and checks what can be checked without starting anything.
// Relative paths in it are relative to its folder.
func loadConfig(path string, dev bool) (config, error) {
	var c config
	if err := process.ReadConfig(path, &c); err != nil {
		return config{}, err
	}
	c.resolve(filepath.Dir(path))
	if c.SpoolBytes == 0 {
		c.SpoolBytes = defaultSpoolBytes
	}
	if c.ClientsPort == 0 {
		c.ClientsPort = c.Clients.Port()
	}
	if c.ServicesPort == 0 {
		c.ServicesPort = c.Services.Port()
	}
	if err := c.check(dev); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *config) resolve(dir string) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	paths := []*string{&c.RunDir, &c.StateDir, &c.UpstreamRoots, &c.Record.Key, &c.Traces.CA, &c.Traces.HeadersFile}
	for _, s := range []*svidConfig{&c.Identity.Sidecar, &c.Identity.Listener} {
		paths = append(paths, &s.Cert, &s.Key, &s.Bundle)
	}
	for i := range c.Federation {
		paths = append(paths, c.Federation[i].Paths()...)
	}
	for i := range c.Certificates {
		paths = append(paths, &c.Certificates[i].Cert, &c.Certificates[i].Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(abs, *p)
		}
	}
	for name, s := range c.Secrets {
		if s.File != "" && !filepath.IsAbs(s.File) {
			s.File = filepath.Join(abs, s.File)
			c.Secrets[name] = s
		}
	}
}

func (c *config) check(dev bool) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, _, err := net.SplitHostPort(c.ControlPlane.Address)
	need(err == nil, "control_plane.address: want host:port of mayflyd's door for nodes")
	_, err = spiffeid.FromString(c.ControlPlane.ID)
	need(err == nil, "control_plane.id: want mayflyd's SPIFFE ID")
	need(len(c.TrustDomains) > 0, "trust_domains: want at least one, or nobody could call")
	for _, td := range c.TrustDomains {
		_, err := spiffeid.TrustDomainFromString(td)
		need(err == nil, "trust_domains: %q is not a trust domain", td)
	}
	need(c.Identity.Listener.ID == "" || c.Identity.Listener.ID != c.Identity.Sidecar.ID, "identity.listener.id: want another one than the sidecar's, which never leaves its process")
	if own, err := spiffeid.FromString(c.Identity.Sidecar.ID); err == nil {
		errs = append(errs, spiffe.CheckRelations(c.Federation, own, c.TrustDomains))
	}
	need(c.RunDir != "" && c.StateDir != "", "run_dir and state_dir: want two folders")
	need(c.Services.IsValid() && c.Services.Port() != 0, "services: want IP:port of the listener for workloads")
	need(!c.Health.IsValid() || c.Health.Addr().IsLoopback(), "health: want a loopback address")
	need(c.SpoolBytes >= 1<<20, "spool_bytes: want at least 1048576")
	need(!c.SendActionID || dev, "send_action_id is for tests, with --dev")
	need(!dev || c.Services.Addr().IsLoopback(), "services: --dev listens on loopback only")
	for name, s := range map[string]svidConfig{"sidecar": c.Identity.Sidecar, "listener": c.Identity.Listener} {
		if err := s.check(c.Identity.WorkloadAPI); err != nil {
			errs = append(errs, fmt.Errorf("identity.%s: %w", name, err))
		}
	}
	need(!c.People.IsValid() || c.People.Port() != 0, "people: want IP:port of the listener for browsers")
	need(!process.Collide(c.People, c.Services), "people: workloads come in at %s already; want another port, or two addresses", c.Services)
	need(!c.People.IsValid() || !dev || c.People.Addr().IsLoopback(), "people: --dev listens on loopback only")
	need(!c.Clients.IsValid() || c.Clients.Port() != 0, "clients: want IP:port of the listener for clients without a certificate")
	need(!process.Collide(c.Clients, c.Services) && !process.Collide(c.Clients, c.People), "clients: others come in at %s already; want another port, or another address", c.Clients)
	need(!c.Clients.IsValid() || !dev || c.Clients.Addr().IsLoopback(), "clients: --dev listens on loopback only")
	errs = append(errs, c.checkCertificates(), c.Record.check(), c.Proof.check(), c.Traces.Check())
	for name, s := range c.Secrets {
		need(s.File != "" && len(s.Apps) > 0 && len(s.Hosts) > 0, "secrets.%s: want file, apps and hosts: a secret goes only where this file says", name)
	}
	return errors.Join(errs...)
}

// checkCertificates checks what the file says of them, not what they hold.
func (c *config) checkCertificates() error {
	if (c.People.IsValid() || c.Clients.IsValid()) != (len(c.Certificates) > 0) {
		return errors.New("people, clients and certificates: want certificates where people or clients come in, and nowhere else: a host without one is not served to them")
	}
	var errs []error
	hostName := regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	seen := map[string]bool{}
	for i, one := range c.Certificates {
		if one.Cert == "" || one.Key == "" || len(one.Hosts) == 0 {
			errs = append(errs, fmt.Errorf("certificates[%d]: want hosts, cert and key", i))
		}
		for _, h := range one.Hosts {
			switch {
			case !hostName.MatchString(h) || len(h) > 253:
				errs = append(errs, fmt.Errorf("certificates[%d].hosts: %q, want an exact DNS name in lower case, without port", i, h))
			case seen[h]:
				errs = append(errs, fmt.Errorf("certificates[%d].hosts: %s is there twice", i, h))
			}
			seen[h] = true
		}
	}
	return errors.Join(errs...)
}

// web reads the certificates for people and clients; nil without a listener for either. What is
// wrong with one is wrong with the configuration.
func (c *config) web(log *slog.Logger) (*envoy.WebCertificates, error) {
	if !c.People.IsValid() && !c.Clients.IsValid() {
		return nil, nil
	}
	in := envoy.WebConfig{Log: log}
	for _, one := range c.Certificates {
		in.Certificates = append(in.Certificates, envoy.WebCertificate{Hosts: one.Hosts, Cert: one.Cert, Key: one.Key})
	}
	out, err := envoy.NewWebCertificates(in)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return out, nil
}

func (s svidConfig) check(workloadAPI string) error {
	if _, err := spiffeid.FromString(s.ID); err != nil {
		return errors.New("id: want a SPIFFE ID")
	}
	files := s.Cert != "" || s.Key != "" || s.Bundle != ""
	switch {
	case files && (s.Cert == "" || s.Key == "" || s.Bundle == ""):
		return errors.New("want cert, key and bundle, or none of them")
	case !files && workloadAPI == "":
		return errors.New("want cert, key and bundle, or identity.workload_api")
	}
	return nil
}

// roots reads the roots of upstreams; nil means the system's.
func (c *config) roots() (pool *x509.CertPool, pem []byte, err error) {
	if c.UpstreamRoots == "" {
		return nil, nil, nil
	}
	pem, err = os.ReadFile(c.UpstreamRoots)
	if err != nil {
		return nil, nil, fmt.Errorf("upstream_roots: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("upstream_roots: %s holds no certificate", c.UpstreamRoots)
	}
	return pool, pem, nil
}
