package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// retryAfter is how long a failed discovery is answered with the same failure,
// so that a provider that is down is not asked by every login.
const retryAfter = time.Second

// found is what discovery says.
type found struct {
	provider *goidc.Provider
	sendsISS bool // RFC 9207 §3: its answers carry iss
}

// discovery asks the provider once, when it is first needed, and again after a
// failure: a provider that is down at the start does not stop mayflyd.
type discovery struct {
	issuer string
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	found  *found
	failed time.Time
	err    error
}

func (d *discovery) get() (*found, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found != nil {
		return d.found, nil
	}
	if d.err != nil && d.now().Sub(d.failed) < retryAfter {
		return nil, d.err
	}
	f, err := d.ask()
	if err != nil {
		d.err, d.failed = fmt.Errorf("%w: %w", ErrUnavailable, err), d.now()
		return nil, d.err
	}
	d.found, d.err = f, nil
	return f, nil
}

// ask does not end with whoever asked first: what it finds is for all. The
// client bounds it.
func (d *discovery) ask() (*found, error) {
	p, err := goidc.NewProvider(goidc.ClientContext(context.Background(), d.client), d.issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		JWKS    string   `json:"jwks_uri"`
		ISS     bool     `json:"authorization_response_iss_parameter_supported"`
		Methods []string `json:"code_challenge_methods_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	for _, address := range []string{p.Endpoint().AuthURL, p.Endpoint().TokenURL, more.JWKS} {
		if err := checkAddress(address); err != nil {
			return nil, err
		}
	}
	if more.Methods != nil && !slices.Contains(more.Methods, "S256") {
		return nil, errors.New("the provider does not know PKCE with S256")
	}
	return &found{provider: p, sendsISS: more.ISS}, nil
}

func (r *RP) oauth(f *found) *oauth2.Config {
	return &oauth2.Config{
		ClientID: r.c.ClientID, ClientSecret: r.c.ClientSecret.text, Endpoint: f.provider.Endpoint(),
		RedirectURL: r.c.RedirectURL, Scopes: append([]string{goidc.ScopeOpenID}, r.c.Scopes...),
	}
}
