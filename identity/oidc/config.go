package oidc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Secret is the client secret. It prints, marshals and logs as "redacted".
type Secret struct{ text string }

// NewSecret takes a secret as it was read from its file.
func NewSecret(s string) Secret { return Secret{strings.TrimSpace(s)} }

// Reveal returns the secret text.
func (s Secret) Reveal() string { return s.text }

// String hides the secret.
func (s Secret) String() string { return "redacted" }

// GoString hides the secret.
func (s Secret) GoString() string { return "redacted" }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue("redacted") }

// Config says which provider is asked, and as whom.
type Config struct {
	// Name is the <idp> of user:<idp>:<sub> and of group:<idp>/<name>. It must
	// never change: every stored account carries it. Required.
	Name string
	// Issuer is the provider, exactly as it writes itself. Plain http only on
	// loopback. Required.
	Issuer string
	// ClientID is who mayflyd is to the provider. Required.
	ClientID string
	// ClientSecret goes with it; the zero value is a public client.
	ClientSecret Secret
	// RedirectURL is mayflyd's own /oidc/callback as browsers reach it. Required.
	RedirectURL string
	// GroupsClaim is the claim of the ID token that lists groups. Empty: groups.
	GroupsClaim string
	// Scopes are asked for beside openid. Nil: profile, email.
	Scopes []string
	// Transport reaches the provider; nil is http.DefaultTransport's like.
	Transport http.RoundTripper
	// Now is the time that ID tokens are judged by; nil is time.Now.
	Now func() time.Time
}

func (c Config) complete() (Config, error) {
	if _, err := identity.User(c.Name, "x"); err != nil {
		return c, fmt.Errorf("oidc: name: %w", err)
	}
	if err := checkAddress(c.Issuer); err != nil {
		return c, fmt.Errorf("oidc: issuer: %w", err)
	}
	if err := checkAddress(c.RedirectURL); err != nil {
		return c, fmt.Errorf("oidc: redirect URL: %w", err)
	}
	if c.ClientID == "" {
		return c, errors.New("oidc: no client id")
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	c.Scopes = slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == "openid" })
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// checkAddress takes https anywhere and http on loopback only: what comes over
// the other kind could be anybody's.
func checkAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return fmt.Errorf("%q is not an address such as https://login.acme.example", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%q: want https, or http on a loopback address", s)
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
