package dev_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const callback = "http://127.0.0.1:1234/callback"

// party is a relying party as go-oidc and x/oauth2 make it.
type party struct {
	*oauth2.Config
	provider *oidc.Provider
	verifier string
}

func relyingParty(t *testing.T, p *dev.IdP, id, secret string) party {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	return party{
		Config: &oauth2.Config{
			ClientID: id, ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: callback,
			Scopes: []string{oidc.ScopeOpenID, "email", "groups"},
		},
		provider: provider, verifier: oauth2.GenerateVerifier(),
	}
}

func (r party) authURL() string {
	return r.AuthCodeURL("some-state", oidc.Nonce("some-nonce"), oauth2.S256ChallengeOption(r.verifier))
}

// code logs user in and returns the parameters of the redirect.
func (r party) code(t *testing.T, user string) url.Values {
	t.Helper()
	to, err := dev.Login(t.Context(), nil, r.authURL(), user)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, callback+"?") {
		t.Fatalf("sent to %q, %v", to, err)
	}
	return u.Query()
}

func (r party) redeem(t *testing.T, code string) (*oauth2.Token, error) {
	t.Helper()
	return r.Exchange(t.Context(), code, oauth2.VerifierOption(r.verifier))
}

type claims struct {
	Sub           string   `json:"sub"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Groups        []string `json:"groups"`
	AuthTime      int64    `json:"auth_time"`
	ACR           string   `json:"acr"`
}

func TestAGoOIDCClientLogsIn(t *testing.T) {
	people := dev.People(map[string][]string{"alice": {"support"}, "bob": {"payments-leads", "support"}})
	p := devtest.StartIdP(t, dev.IdPConfig{Users: people, Clients: []dev.Client{
		{ID: "public", Redirects: []string{"http://127.0.0.1/callback"}},
		{ID: "secret", Secret: "s e+c/r:t", Redirects: []string{"http://127.0.0.1/callback"}, Alg: "RS256"},
	}})
	for id, secret := range map[string]string{"public": "", "secret": "s e+c/r:t"} {
		r := relyingParty(t, p, id, secret)
		q := r.code(t, "bob")
		if q.Get("state") != "some-state" || q.Get("iss") != p.Issuer() {
			t.Errorf("%s: redirected with %v", id, q)
		}
		token, err := r.redeem(t, q.Get("code"))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := token.Extra("id_token").(string)
		idToken, err := r.provider.Verifier(&oidc.Config{ClientID: id}).Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		var c claims
		if err := idToken.Claims(&c); err != nil {
			t.Fatal(err)
		}
		if idToken.Nonce != "some-nonce" || c.Sub != dev.BobSubject || c.Email != "bob@acme.example" || !c.EmailVerified ||
			len(c.Groups) != 2 || c.ACR != "1" || time.Since(time.Unix(c.AuthTime, 0)) > time.Minute {
			t.Errorf("%s: %+v", id, c)
		}
		info, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
		if err != nil || info.Subject != dev.BobSubject || info.Email != "bob@acme.example" {
			t.Errorf("userinfo: %+v, %v", info, err)
		}
		if _, err := r.redeem(t, q.Get("code")); err == nil {
			t.Error("a code works twice")
		}
		if _, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err == nil {
			t.Error("the token of a code that came twice still works")
		}
	}
}

func TestTheAuthorizationEndpointRefuses(t *testing.T) {
	p := devtest.IdP(t)
	r := relyingParty(t, p, devtest.ClientID, "")
	for _, c := range []struct {
		name, key, value string
		want             string // the error sent back, "": a page and no redirect
	}{
		{"unknown client", "client_id", "nobody", ""},
		{"another host", "redirect_uri", "http://evil.example/callback", ""},
		{"another path", "redirect_uri", callback + "/x", ""},
		{"a query", "redirect_uri", callback + "?x=y", ""},
		{"user info", "redirect_uri", "http://a@127.0.0.1:1/callback", ""},
		{"localhost by name", "redirect_uri", "http://localhost:1/callback", ""},
		{"no redirect", "redirect_uri", "", ""},
		{"implicit", "response_type", "id_token", "unsupported_response_type"},
		{"fragment", "response_mode", "fragment", "invalid_request"},
		{"no openid", "scope", "email", "invalid_scope"},
		{"no PKCE", "code_challenge", "", "invalid_request"},
		{"plain PKCE", "code_challenge_method", "plain", "invalid_request"},
		{"silent", "prompt", "none", "login_required"},
		{"request object", "request", "x.y.z", "request_not_supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(r.authURL())
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			q.Set(c.key, c.value)
			u.RawQuery = q.Encode()
			res := get(t, u.String())
			if c.want == "" {
				if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
					t.Errorf("%s, to %q", res.Status, res.Header.Get("Location"))
				}
				return
			}
			to, err := res.Location()
			if err != nil || to.Query().Get("error") != c.want || to.Query().Get("state") != "some-state" || to.Query().Get("iss") != p.Issuer() {
				t.Errorf("%s, to %v, want %s", res.Status, to, c.want)
			}
		})
	}
	if res := get(t, r.authURL()+"&state=again"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a repeated parameter: %s", res.Status)
	}
	if q := r.code(t, ""); q.Get("error") != "access_denied" || q.Get("code") != "" {
		t.Errorf("cancelled: %v", q)
	}
}

func get(t *testing.T, address string) *http.Response {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestTheTokenEndpointRefuses(t *testing.T) {
	var late atomic.Int64 // nanoseconds that the provider's clock is ahead
	redirects := []string{"http://127.0.0.1/callback"}
	p := devtest.StartIdP(t, dev.IdPConfig{
		Users:   dev.People(nil),
		Clients: []dev.Client{{ID: "a", Redirects: redirects}, {ID: "b", Redirects: redirects}, {ID: "c", Secret: "right", Redirects: redirects}},
		Now:     func() time.Time { return time.Now().Add(time.Duration(late.Load())) },
	})
	r := relyingParty(t, p, "a", "")
	for _, c := range []struct {
		name  string
		after time.Duration
		bend  func(url.Values)
		want  string // error, "": a token
	}{
		{"as it should be", 0, func(url.Values) {}, ""},
		{"at the last moment", 59 * time.Second, func(url.Values) {}, ""},
		{"too late", 60 * time.Second, func(url.Values) {}, "invalid_grant"},
		{"wrong code", 0, func(q url.Values) { q.Set("code", "x") }, "invalid_grant"},
		{"no code", 0, func(q url.Values) { q.Del("code") }, "invalid_grant"},
		{"wrong verifier", 0, func(q url.Values) { q.Set("code_verifier", oauth2.GenerateVerifier()) }, "invalid_grant"},
		{"no verifier", 0, func(q url.Values) { q.Del("code_verifier") }, "invalid_grant"},
		{"another port", 0, func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:1/callback") }, "invalid_grant"},
		{"another client's code", 0, func(q url.Values) { q.Set("client_id", "b") }, "invalid_grant"},
		{"unknown client", 0, func(q url.Values) { q.Set("client_id", "x") }, "invalid_client"},
		{"no secret", 0, func(q url.Values) { q.Set("client_id", "c") }, "invalid_client"},
		{"wrong secret", 0, func(q url.Values) { q.Set("client_id", "c"); q.Set("client_secret", "wrong") }, "invalid_client"},
		{"a secret for a public client", 0, func(q url.Values) { q.Set("client_secret", "x") }, "invalid_client"},
		{"another grant", 0, func(q url.Values) { q.Set("grant_type", "password") }, "unsupported_grant_type"},
		{"repeated", 0, func(q url.Values) { q.Add("code", "x") }, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := url.Values{
				"grant_type": {"authorization_code"}, "code": {r.code(t, "alice").Get("code")}, "client_id": {"a"},
				"redirect_uri": {callback}, "code_verifier": {r.verifier},
			}
			c.bend(q)
			late.Add(int64(c.after))
			res, err := http.PostForm(p.Issuer()+"/token", q)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var got struct {
				Error   string `json:"error"`
				IDToken string `json:"id_token"`
			}
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if got.Error != c.want || (got.IDToken != "") != (c.want == "") {
				t.Errorf("%s %+v, want %q", res.Status, got, c.want)
			}
		})
	}
}

func TestALoginPageWorksOnce(t *testing.T) {
	p := devtest.IdP(t)
	body, err := io.ReadAll(get(t, relyingParty(t, p, devtest.ClientID, "").authURL()).Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), `name="page" value="`)
	page, _, _ := strings.Cut(rest, `"`)
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i, want := range []int{http.StatusSeeOther, http.StatusBadRequest} {
		res, err := browser.PostForm(p.Issuer()+"/login", url.Values{"page": {page}, "user": {"alice"}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("time %d: %s", i+1, res.Status)
		}
	}
}

func TestKeysRotateAndTheProviderGoesDown(t *testing.T) {
	p := devtest.IdP(t)
	r := relyingParty(t, p, devtest.ClientID, "")
	idToken := func() string {
		t.Helper()
		token, err := r.redeem(t, r.code(t, "alice").Get("code"))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := token.Extra("id_token").(string)
		return raw
	}
	verify := func(raw string) error { // with the JWKS as it is now
		provider, err := oidc.NewProvider(context.Background(), p.Issuer())
		if err != nil {
			return err
		}
		_, err = provider.Verifier(&oidc.Config{ClientID: devtest.ClientID}).Verify(context.Background(), raw)
		return err
	}
	old := idToken()
	if err := p.RotateKeys(); err != nil {
		t.Fatal(err)
	}
	young := idToken()
	for name, raw := range map[string]string{"old": old, "new": young} {
		if err := verify(raw); err != nil {
			t.Errorf("%s key, both shown: %v", name, err)
		}
	}
	p.DropOldKeys()
	if err := verify(old); err == nil {
		t.Error("a token of a dropped key is good")
	}
	if err := verify(young); err != nil {
		t.Error(err)
	}
	p.SetDown(true)
	if err := verify(young); err == nil {
		t.Error("the provider answers while it is down")
	}
	p.SetDown(false)
	if err := verify(young); err != nil {
		t.Error(err)
	}
}

func TestGroupsChangeForTheNextLogin(t *testing.T) {
	p := devtest.IdP(t)
	r := relyingParty(t, p, devtest.ClientID, "")
	if err := p.SetUser(dev.User{Name: "alice", Subject: dev.AliceSubject, Groups: []string{"leads"}}); err != nil {
		t.Fatal(err)
	}
	token, err := r.redeem(t, r.code(t, "alice").Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := info.Claims(&c); err != nil || len(c.Groups) != 1 || c.Groups[0] != "leads" {
		t.Errorf("%+v, %v", c, err)
	}
	p.RemoveUser("alice")
	if _, err := r.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err == nil {
		t.Error("userinfo of a removed user")
	}
	if q := r.code(t, "alice"); q.Get("error") != "access_denied" {
		t.Errorf("a removed user logs in: %v", q)
	}
}

func TestLoginAndFollowReachesTheCallback(t *testing.T) {
	var got url.Values
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			got = r.URL.Query()
			http.Redirect(w, r, "/done", http.StatusSeeOther)
		}
	}))
	defer app.Close()
	r := relyingParty(t, devtest.IdP(t), devtest.ClientID, "")
	r.RedirectURL = app.URL + "/callback"
	final, err := dev.LoginAndFollow(t.Context(), nil, r.authURL(), "carol")
	if err != nil || final != app.URL+"/done" || got.Get("code") == "" {
		t.Errorf("ended at %q with %v, %v", final, got, err)
	}
	if _, err := dev.Login(t.Context(), nil, app.URL, "carol"); err == nil {
		t.Error("a page that is no login page is taken for one")
	}
}

func TestTheIdPStaysOnLoopback(t *testing.T) {
	clients := []dev.Client{{ID: "a", Redirects: []string{callback}}}
	for _, addr := range []string{"0.0.0.0:0", ":0", "10.0.0.1:80", "localhost:0", "[::]:0", "127.0.0.1"} {
		if _, err := dev.NewIdP(dev.IdPConfig{Addr: addr, Users: dev.People(nil), Clients: clients}); err == nil {
			t.Errorf("%q is accepted", addr)
		}
	}
	for name, c := range map[string]dev.IdPConfig{
		"no users":   {Clients: clients},
		"no clients": {Users: dev.People(nil)},
		"no name":    {Users: []dev.User{{}}, Clients: clients},
		"odd alg":    {Users: dev.People(nil), Clients: []dev.Client{{ID: "a", Redirects: []string{callback}, Alg: "none"}}},
	} {
		if _, err := dev.NewIdP(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
