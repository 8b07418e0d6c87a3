package provider_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/test/need"
	"github.com/mayflyproxy/mayfly/test/provider"
)

const clientID = "mayfly"

// client is the place that the provider sends browsers back to. It hands on the
// query of each callback, and each logout token.
type client struct {
	url     string
	back    string // is told of ended sessions
	queries chan url.Values
	tokens  chan string
	roots   string // PEM file
}

func newClient(t *testing.T) *client {
	t.Helper()
	ca := devtest.CA(t)
	cert, err := ca.Mint(dev.Template{DNS: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{queries: make(chan url.Values, 1), tokens: make(chan string, 1), roots: filepath.Join(t.TempDir(), "roots.pem")}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Roots()[0].Raw})
	if err := os.WriteFile(c.roots, root, 0o600); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		c.queries <- r.URL.Query()
		fmt.Fprint(w, "welcome")
	})
	mux.HandleFunc("POST /logout", func(_ http.ResponseWriter, r *http.Request) { c.tokens <- r.FormValue("logout_token") })
	back := httptest.NewUnstartedServer(mux)
	back.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	back.StartTLS()
	t.Cleanup(back.Close)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	c.url = front.URL
	_, port, _ := strings.Cut(strings.TrimPrefix(back.URL, "https://"), ":")
	c.back = "https://localhost:" + port + "/logout"
	return c
}

func (c *client) provider(t *testing.T, more ...func(*provider.Config)) *provider.Provider {
	t.Helper()
	config := provider.Config{
		Clients: []provider.Client{{ID: clientID, Redirects: []string{c.url + "/callback"}, BackChannel: c.back}},
		Accounts: map[string]map[string]any{
			"alice": {"name": "Alice", "email": "alice@acme.example", "email_verified": true, "groups": []string{"support"},
				"realm": map[string]any{"roles": []string{"/on-call"}}},
		},
		Roots: c.roots,
	}
	for _, f := range more {
		f(&config)
	}
	return provider.Start(t, config)
}

func TestMayflyLogsPeopleInAtIt(t *testing.T) {
	t.Parallel()
	need.Chromium(t)
	c := newClient(t)
	p := c.provider(t)
	rp, err := oidc.New(oidc.Config{Name: "node", Issuer: p.Issuer(), ClientID: clientID, RedirectURL: c.url + "/callback", AllowAddresses: egress.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	b := browser.New(t, browser.Config{})
	for _, step := range []func(){
		func() { p.Login(t, b.Tab, "alice") },
		func() {}, // known at the provider, and agreed: it asks nothing
	} {
		to, keep, err := rp.Begin(t.Context(), "state")
		if err != nil {
			t.Fatal(err)
		}
		b.Open(to)
		step()
		b.WaitText("welcome")
		facts, err := rp.Finish(t.Context(), keep, <-c.queries)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %s %s", facts.Principal, facts.Name, facts.Email, facts.Groups); got != "user:node:alice Alice alice@acme.example [group:node/support]" {
			t.Errorf("facts %s", got)
		}
	}
}

// login gets tokens without Mayfly's relying party.
func (c *client) login(t *testing.T, p *provider.Provider, account string) (*oauth2.Config, *oauth2.Token, *goidc.Provider) {
	t.Helper()
	found, err := goidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := &oauth2.Config{ClientID: clientID, Endpoint: found.Endpoint(), RedirectURL: c.url + "/callback", Scopes: []string{"openid", "profile"}}
	verifier := oauth2.GenerateVerifier()
	b := browser.New(t, browser.Config{})
	b.Open(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	p.Login(t, b.Tab, account)
	token, err := config.Exchange(t.Context(), (<-c.queries).Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return config, token, found
}

func claims(t *testing.T, found *goidc.Provider, raw string) map[string]any {
	t.Helper()
	token, err := found.VerifierContext(t.Context(), &goidc.Config{ClientID: clientID}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := token.Claims(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func refresh(t *testing.T, config *oauth2.Config, token *oauth2.Token) (*oauth2.Token, string) {
	t.Helper()
	next, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return nil, refused.ErrorCode
	} else if err != nil {
		t.Fatal(err)
	}
	return next, ""
}

func TestASessionThatEndsIsTold(t *testing.T) {
	t.Parallel()
	need.Chromium(t)
	c := newClient(t)
	p := c.provider(t)
	config, token, found := c.login(t, p, "alice")
	id := claims(t, found, token.Extra("id_token").(string))
	told, err := p.EndSessions(t.Context(), "alice")
	if err != nil || !slices.Equal(told, []string{"ok"}) {
		t.Fatalf("%q, %v", told, err)
	}
	logout := claims(t, found, <-c.tokens)
	if id["sid"] == nil || logout["sid"] != id["sid"] || logout["events"] == nil || logout["nonce"] != nil {
		t.Errorf("ID token %v, logout token %v", id, logout)
	}
	if _, code := refresh(t, config, token); code != "invalid_grant" {
		t.Errorf("after the end a refresh gives %q", code)
	}
	if told, err := p.EndSessions(t.Context(), "alice"); err != nil || len(told) != 0 {
		t.Errorf("a second time: %q, %v", told, err)
	}
}

func TestPeopleChangeAndLeave(t *testing.T) {
	t.Parallel()
	need.Chromium(t)
	c := newClient(t)
	p := c.provider(t)
	config, token, found := c.login(t, p, "alice")
	if err := p.SetClaims(t.Context(), "alice", map[string]any{"groups": []string{"sales"}}); err != nil {
		t.Fatal(err)
	}
	next, code := refresh(t, config, token)
	if code != "" {
		t.Fatal(code)
	}
	if got := claims(t, found, next.Extra("id_token").(string)); fmt.Sprint(got["groups"]) != "[sales]" {
		t.Errorf("after the change %v", got)
	}
	if err := p.Disable(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, code := refresh(t, config, next); code != "invalid_grant" {
		t.Errorf("of one who left: %q", code)
	}
	if err := p.Enable(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	last, code := refresh(t, config, next)
	if code != "" {
		t.Fatalf("of one who is back: %s", code)
	}
	if _, code := refresh(t, config, token); code != "invalid_grant" {
		t.Errorf("a refresh token twice: %q", code)
	}
	if _, code := refresh(t, config, last); code != "invalid_grant" {
		t.Errorf("after a refresh token was used twice: %q", code)
	}
}

func TestClaimsFromUserInfoOnly(t *testing.T) {
	t.Parallel()
	need.Chromium(t)
	c := newClient(t)
	p := c.provider(t, func(c *provider.Config) { c.UserInfoOnly, c.OfflineOnly = true, true })
	_, token, found := c.login(t, p, "alice")
	if id := claims(t, found, token.Extra("id_token").(string)); id["name"] != nil {
		t.Errorf("ID token %v", id)
	}
	if token.RefreshToken != "" {
		t.Error("a refresh token that nobody asked for")
	}
	info, err := found.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var all json.RawMessage
	if err := info.Claims(&all); err != nil || !strings.Contains(string(all), `"name":"Alice"`) || !strings.Contains(string(all), `"realm":{"roles":["/on-call"]}`) {
		t.Errorf("%s, %v", all, err)
	}
}

func TestAProviderThatIsGoneSaysSo(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	p := c.provider(t)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Disable(context.Background(), "alice"); err == nil {
		t.Error("it took an order after its end")
	}
	res, err := http.Get(p.Issuer() + "/.well-known/openid-configuration")
	if err == nil {
		_ = res.Body.Close()
		t.Error("it still answers")
	}
}
