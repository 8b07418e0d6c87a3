package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

type oidcConfig struct {
	Name             string   `yaml:"name"`
	Issuer           string   `yaml:"issuer"`
	ClientID         string   `yaml:"client_id"`
	ClientSecret     string   `yaml:"client_secret"` // a file
	SubjectClaim     string   `yaml:"subject_claim"`
	GroupsClaim      string   `yaml:"groups_claim"`
	GroupsStripSlash bool     `yaml:"groups_strip_slash"`
	NameClaim        string   `yaml:"name_claim"`
	EmailClaim       string   `yaml:"email_claim"`
	UserInfo         bool     `yaml:"userinfo"`
	Refresh          *bool    `yaml:"refresh"`
	Scopes           []string `yaml:"scopes"`
	AllowAddresses   []string `yaml:"allow_addresses"`
	Roots            string   `yaml:"roots"` // a file
}

// oidcAddress is mayflyd's own address for one provider: callback, where it sends
// browsers back to, or logout, where it sends logout tokens.
func (c config) oidcAddress(name, what string) string {
	return c.url() + "/oidc/" + name + "/" + what
}

// settings are what package oidc is told of p, without what lies in files.
func (p oidcConfig) settings(c config, dev bool) (oidc.Config, error) {
	allow, err := egress.ParsePrefixes(p.AllowAddresses)
	if err != nil {
		return oidc.Config{}, fmt.Errorf("allow_addresses: %w", err)
	}
	if dev {
		allow = append(allow, egress.Loopback()...)
	}
	return oidc.Config{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, RedirectURL: c.oidcAddress(p.Name, "callback"),
		SubjectClaim: p.SubjectClaim, GroupsClaim: p.GroupsClaim, GroupsStripSlash: p.GroupsStripSlash, NameClaim: p.NameClaim, EmailClaim: p.EmailClaim,
		UserInfo: p.UserInfo, Scopes: p.Scopes, Refresh: p.Refresh, AllowAddresses: allow,
	}, nil
}

// checkOIDC says what is wrong with the providers.
func (c config) checkOIDC(dev bool) []error {
	var errs []error
	if len(c.OIDC) == 0 {
		errs = append(errs, errors.New("oidc: want at least one provider"))
	}
	names := map[string]int{}
	for i, p := range c.OIDC {
		if other, twice := names[p.Name]; twice {
			errs = append(errs, fmt.Errorf("oidc[%d].name: %q is oidc[%d]'s; want another one for each provider", i, p.Name, other))
			continue
		}
		names[p.Name] = i
		if u, err := url.Parse(p.Issuer); err == nil && u.Scheme == "http" && !dev {
			errs = append(errs, fmt.Errorf("oidc[%d].issuer: want an https URL", i))
			continue
		}
		s, err := p.settings(c, dev)
		if err == nil {
			_, err = oidc.New(s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("oidc[%d]: %w", i, err))
		}
	}
	return errs
}

// provider makes the relying party of p, with its files.
func (p oidcConfig) provider(c config, dev bool) (*oidc.RP, error) {
	s, err := p.settings(c, dev)
	if err != nil {
		return nil, fmt.Errorf("oidc %s: %w", p.Name, err)
	}
	if p.ClientSecret != "" {
		b, err := os.ReadFile(p.ClientSecret)
		if err != nil {
			return nil, fmt.Errorf("oidc %s: client_secret: %w", p.Name, err)
		}
		if s.ClientSecret = oidc.NewSecret(string(b)); s.ClientSecret.IsZero() {
			return nil, fmt.Errorf("oidc %s: client_secret: %s is empty", p.Name, p.ClientSecret)
		}
	}
	if p.Roots != "" {
		b, err := os.ReadFile(p.Roots)
		if err != nil {
			return nil, fmt.Errorf("oidc %s: roots: %w", p.Name, err)
		}
		s.Roots = x509.NewCertPool()
		if !s.Roots.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("oidc %s: roots: no certificate in %s", p.Name, p.Roots)
		}
	}
	return oidc.New(s)
}
