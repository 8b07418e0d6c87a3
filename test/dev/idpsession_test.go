package dev_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// offline logs user in with the scope offline_access.
func (r party) offline(t *testing.T, user string) *oauth2.Token {
	t.Helper()
	r.Scopes = []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess}
	token, err := r.redeem(t, r.code(t, user).Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// tokenAnswer asks the token endpoint to refresh, with changes.
func tokenAnswer(t *testing.T, p *dev.IdP, refresh string, bend func(url.Values)) (code string, next string) {
	t.Helper()
	q := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "client_id": {devtest.ClientID}}
	if bend != nil {
		bend(q)
	}
	res, err := http.PostForm(p.Issuer()+"/token", q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Error   string `json:"error"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	return got.Error, got.Refresh
}

func TestRefreshTokensRotate(t *testing.T) {
	p := devtest.IdP(t)
	r := relyingParty(t, p, devtest.ClientID, "")
	if token, err := r.redeem(t, r.code(t, "alice").Get("code")); err != nil || token.RefreshToken != "" {
		t.Errorf("without offline_access: %v, %v", token, err)
	}
	first := r.offline(t, "alice").RefreshToken
	if code, _ := tokenAnswer(t, p, first, func(q url.Values) { q.Set("scope", "openid admin") }); code != "invalid_grant" {
		t.Errorf("more scope: %q", code)
	}
	code, second := tokenAnswer(t, p, first, nil)
	if code != "" || second == "" || second == first {
		t.Fatalf("%q, %q", code, second)
	}
	if code, _ := tokenAnswer(t, p, first, nil); code != "invalid_grant" {
		t.Errorf("the first again: %q", code)
	}
	if code, _ := tokenAnswer(t, p, second, nil); code != "invalid_grant" {
		t.Errorf("its family: %q", code)
	}
	if code, _ := tokenAnswer(t, p, "", nil); code != "invalid_grant" {
		t.Errorf("none: %q", code)
	}
	third := r.offline(t, "alice").RefreshToken
	p.RemoveUser("alice")
	if code, _ := tokenAnswer(t, p, third, nil); code != "invalid_grant" {
		t.Errorf("of a removed user: %q", code)
	}
}

func TestARefreshTokenIsOfOneClient(t *testing.T) {
	redirects := []string{"http://127.0.0.1/callback"}
	p := devtest.StartIdP(t, dev.IdPConfig{Users: dev.People(nil), Clients: []dev.Client{{ID: "a", Redirects: redirects}, {ID: "b", Redirects: redirects}}})
	token := relyingParty(t, p, "a", "").offline(t, "alice").RefreshToken
	if code, _ := tokenAnswer(t, p, token, func(q url.Values) { q.Set("client_id", "b") }); code != "invalid_grant" {
		t.Errorf("another client: %q", code)
	}
	if code, next := tokenAnswer(t, p, token, func(q url.Values) { q.Set("client_id", "a") }); code != "" || next == "" {
		t.Errorf("its own: %q", code)
	}
}

// A code that comes twice was stolen, and what it bought with it.
func TestACodeThatComesTwiceEndsItsRefreshToken(t *testing.T) {
	p := devtest.IdP(t)
	r := relyingParty(t, p, devtest.ClientID, "")
	r.Scopes = []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess}
	code := r.code(t, "alice").Get("code")
	token, err := r.redeem(t, code)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.redeem(t, code); err == nil {
		t.Error("a code works twice")
	}
	if code, _ := tokenAnswer(t, p, token.RefreshToken, nil); code != "invalid_grant" {
		t.Errorf("its refresh token: %q", code)
	}
}

func TestLogoutTellsEachClientWithASession(t *testing.T) {
	var mu sync.Mutex
	told := map[string][]string{}
	status := http.StatusOK
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		told[r.URL.Path] = append(told[r.URL.Path], r.PostFormValue("logout_token"))
		w.WriteHeader(status)
	}))
	defer app.Close()
	redirects := []string{"http://127.0.0.1/callback"}
	p := devtest.StartIdP(t, dev.IdPConfig{
		Users: dev.People(nil), Roots: app.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		Clients: []dev.Client{
			{ID: "a", Redirects: redirects, BackchannelLogout: app.URL + "/a"},
			{ID: "b", Redirects: redirects, BackchannelLogout: app.URL + "/b", Alg: "RS256"},
			{ID: "c", Redirects: redirects},
		},
	})
	for _, client := range []string{"a", "a", "c"} {
		relyingParty(t, p, client, "").offline(t, "alice")
	}
	relyingParty(t, p, "b", "").offline(t, "bob")
	p.RemoveUser("alice")
	if err := p.Logout(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if len(told["/a"]) != 2 || len(told["/b"]) != 0 {
		t.Fatalf("told %v", told)
	}
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: "a"}).Verify(t.Context(), told["/a"][0])
	if err != nil || token.Subject != dev.AliceSubject || time.Until(token.Expiry) > 2*time.Minute {
		t.Errorf("%+v, %v", token, err)
	}
	status = http.StatusInternalServerError
	if err := p.Logout(t.Context(), "bob"); err == nil || !strings.Contains(err.Error(), "tell b") || len(told["/b"]) != 1 {
		t.Errorf("a client that is broken: %v", err)
	}
}

func TestASlowProvider(t *testing.T) {
	p := devtest.IdP(t)
	p.SetSlow(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := oidc.NewProvider(ctx, p.Issuer()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := oidc.NewProvider(context.Background(), p.Issuer())
		got <- err
	}()
	p.SetSlow(false)
	if err := <-got; err != nil {
		t.Error(err)
	}
}
