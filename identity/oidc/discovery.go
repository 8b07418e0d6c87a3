package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/mayflyproxy/mayfly/egress"
)

const (
	// retryAfter is how long a failed discovery is answered with the same failure,
	// so that a provider that is down is not asked by every login.
	retryAfter = time.Second
	// foundFor is how long a discovery counts.
	foundFor = time.Hour
)

// found is what discovery says.
type found struct {
	endpoint oauth2.Endpoint
	userinfo string // address, "" for none
	keys     *keys
	sendsISS bool // RFC 9207 §3: its answers carry iss
	offline  bool // it lists the scope offline_access
}

// discovery asks the provider when it is first needed, each hour, and again after
// a failure: a provider that is down at the start does not stop mayflyd.
type discovery struct {
	c      Config
	client *http.Client

	turn  chan struct{} // of 1: who holds it may touch the fields below
	found *found
	asked time.Time
	err   error
}

func newDiscovery(c Config, client *http.Client) *discovery {
	return &discovery{c: c, client: client, turn: make(chan struct{}, 1)}
}

func (d *discovery) get(ctx context.Context) (*found, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	since := d.c.Now().Sub(d.asked)
	switch {
	case d.found != nil && since < foundFor:
		return d.found, nil
	case d.err != nil && since < retryAfter:
		return nil, d.err
	}
	f, err := d.ask()
	d.found, d.err, d.asked = f, nil, d.c.Now()
	if err != nil {
		d.err = fmt.Errorf("%w: discovery: %w", ErrUnavailable, brief(err))
	}
	return d.found, d.err
}

// ask does not end with whoever asked first: what it finds is for all. The
// client bounds it.
func (d *discovery) ask() (*found, error) {
	p, err := goidc.NewProvider(goidc.ClientContext(context.Background(), d.client), d.c.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		JWKS    string   `json:"jwks_uri"`
		ISS     bool     `json:"authorization_response_iss_parameter_supported"`
		Methods []string `json:"code_challenge_methods_supported"`
		Auth    []string `json:"token_endpoint_auth_methods_supported"`
		Scopes  []string `json:"scopes_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	f := &found{
		endpoint: p.Endpoint(), userinfo: p.UserInfoEndpoint(), keys: newKeys(more.JWKS, d.client, d.c.Now),
		sendsISS: more.ISS, offline: slices.Contains(more.Scopes, goidc.ScopeOfflineAccess),
	}
	addresses := []string{f.endpoint.AuthURL, f.endpoint.TokenURL, more.JWKS}
	if f.userinfo != "" || d.c.UserInfo {
		addresses = append(addresses, f.userinfo)
	}
	for _, address := range addresses {
		if err := egress.CheckAddress(address); err != nil {
			return nil, err
		}
	}
	if more.Methods != nil && !slices.Contains(more.Methods, "S256") {
		return nil, errors.New("the provider does not know PKCE with S256")
	}
	f.endpoint.AuthStyle, err = authStyle(more.Auth, d.c.ClientSecret)
	return f, err
}

// authStyle says how the client secret is sent. It is not tried out: a refresh
// token that is sent twice looks stolen to a provider that rotates them.
func authStyle(methods []string, secret Secret) (oauth2.AuthStyle, error) {
	switch {
	case secret.IsZero():
		return oauth2.AuthStyleInParams, nil // the client id alone
	case methods == nil, slices.Contains(methods, "client_secret_basic"): // the default, Discovery §3
		return oauth2.AuthStyleInHeader, nil
	case slices.Contains(methods, "client_secret_post"):
		return oauth2.AuthStyleInParams, nil
	default:
		return 0, errors.New("the provider takes a client secret neither by client_secret_basic nor by client_secret_post")
	}
}

func (r *RP) oauth(f *found) *oauth2.Config {
	scopes := append([]string{goidc.ScopeOpenID}, r.c.Scopes...)
	if r.wantsRefresh(f) && !slices.Contains(scopes, goidc.ScopeOfflineAccess) {
		scopes = append(scopes, goidc.ScopeOfflineAccess)
	}
	return &oauth2.Config{
		ClientID: r.c.ClientID, ClientSecret: r.c.ClientSecret.text, Endpoint: f.endpoint, RedirectURL: r.c.RedirectURL, Scopes: scopes,
	}
}

func (r *RP) wantsRefresh(f *found) bool {
	if r.c.Refresh == nil {
		return f.offline
	}
	return *r.c.Refresh
}

// maxCause is how much is kept of an error that quotes the provider.
const maxCause = 300

// briefError is err, printable and short: some quote whole answers.
type briefError struct{ err error }

func (b briefError) Error() string { return printable(b.err.Error(), maxCause) }
func (b briefError) Unwrap() error { return b.err }

func brief(err error) error { return briefError{err} }
