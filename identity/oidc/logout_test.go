package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/dev"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutToken makes a good logout token, after bend.
func (p *provider) logoutToken(t *testing.T, typ string, bend func(jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	c := jwt.MapClaims{
		"iss": p.URL, "aud": clientID, "sub": "3f1c", "sid": "s1", "jti": fmt.Sprint(t.Name(), now.UnixNano()), "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	if bend != nil {
		bend(c)
	}
	raw, err := p.sign(typ, c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLogoutTokens(t *testing.T) {
	for name, c := range map[string]struct {
		typ  string
		bend func(jwt.MapClaims)
		want oidc.LogoutFacts
	}{
		"of a session":                {"logout+jwt", nil, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
		"of a person":                 {"logout+jwt", func(c jwt.MapClaims) { delete(c, "sid") }, oidc.LogoutFacts{Subject: "3f1c"}},
		"of a session without person": {"logout+jwt", func(c jwt.MapClaims) { delete(c, "sub") }, oidc.LogoutFacts{SID: "s1"}},
		"of an older provider":        {"JWT", func(c jwt.MapClaims) { delete(c, "exp") }, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
		"without a type":              {"", nil, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
		"with the whole type":         {"application/Logout+JWT", nil, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
		"that says more of it": {"logout+jwt", func(c jwt.MapClaims) {
			c["events"] = map[string]any{logoutEvent: map[string]any{"reason": "left"}}
		}, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
		"made a little ahead": {"logout+jwt", func(c jwt.MapClaims) { c["iat"] = time.Now().Add(30 * time.Second).Unix() }, oidc.LogoutFacts{Subject: "3f1c", SID: "s1"}},
	} {
		p := newProvider(t)
		f, err := p.rp(t).Logout(t.Context(), p.logoutToken(t, c.typ, c.bend))
		if err != nil || f.Subject != c.want.Subject || f.SID != c.want.SID {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func TestLogoutTokensThatEndNothing(t *testing.T) {
	set := func(name string, v any) func(*provider, jwt.MapClaims) {
		return func(_ *provider, c jwt.MapClaims) { c[name] = v }
	}
	drop := func(name string) func(*provider, jwt.MapClaims) {
		return func(_ *provider, c jwt.MapClaims) { delete(c, name) }
	}
	for name, bend := range map[string]func(*provider, jwt.MapClaims){
		"of another issuer":      set("iss", "https://evil.example"),
		"of no issuer":           drop("iss"),
		"for another client":     set("aud", "other"),
		"for others too":         set("aud", []string{clientID, "other"}),
		"for nobody":             drop("aud"),
		"of no time":             drop("iat"),
		"of an odd time":         set("iat", "now"),
		"of long ago":            set("iat", time.Now().Add(-6*time.Minute).Unix()),
		"of the future":          set("iat", time.Now().Add(2*time.Minute).Unix()),
		"over":                   set("exp", time.Now().Add(-time.Second).Unix()),
		"of an odd end":          set("exp", "never"),
		"not yet":                set("nbf", time.Now().Add(time.Hour).Unix()),
		"no event":               drop("events"),
		"an empty event":         set("events", map[string]any{}),
		"another event":          set("events", map[string]any{logoutEvent + "s": map[string]any{}}),
		"one more event":         set("events", map[string]any{logoutEvent: map[string]any{}, "urn:x": map[string]any{}}),
		"an event that is none":  set("events", map[string]any{logoutEvent: nil}),
		"an event that is a yes": set("events", map[string]any{logoutEvent: true}),
		"events in a list":       set("events", []string{logoutEvent}),
		"with a nonce":           set("nonce", "n"),
		"with an empty nonce":    set("nonce", nil),
		"about nobody": func(_ *provider, c jwt.MapClaims) {
			delete(c, "sub")
			delete(c, "sid")
		},
		"about an empty subject":  set("sub", ""),
		"about a subject of none": set("sub", nil),
		"about a number":          set("sub", 5),
		"about a subject in two":  set("sub", "a\nb"),
		"of a session in a list":  set("sid", []string{"s1"}),
		"no id":                   drop("jti"),
		"an empty id":             set("jti", ""),
		"an id that is a number":  set("jti", 5),
		"a long id":               set("jti", strings.Repeat("j", 256)),
		"unsigned": func(p *provider, _ jwt.MapClaims) {
			p.method, p.signer = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		},
		"signed with the client": func(p *provider, _ jwt.MapClaims) { p.method, p.signer = jwt.SigningMethodHS256, []byte(clientID) },
		"signed by another key":  func(p *provider, _ jwt.MapClaims) { p.signer = otherKey(t) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			raw := p.logoutToken(t, "logout+jwt", func(c jwt.MapClaims) { bend(p, c) })
			if f, err := p.rp(t).Logout(t.Context(), raw); !errors.Is(err, oidc.ErrProof) || f != (oidc.LogoutFacts{}) {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

// Each kind of token passes where it belongs and nowhere else (RFC 8725 §3.12).
func TestTokensOfAnotherKind(t *testing.T) {
	p := newProvider(t)
	rp := p.rp(t)
	id, err := p.idToken()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"an ID token":     id,
		"a word":          "logout",
		"nothing":         "",
		"too much":        strings.Repeat("a", 200<<10),
		"an access token": p.logoutToken(t, "at+jwt", nil),
		"another event":   p.logoutToken(t, "secevent+jwt", nil),
		"a proof":         p.logoutToken(t, "dpop+jwt", nil),
	} {
		if f, err := rp.Logout(t.Context(), raw); !errors.Is(err, oidc.ErrProof) {
			t.Errorf("%s as a logout token: %+v, %v", name, f, err)
		}
	}
	for _, typ := range []string{"logout+jwt", "at+jwt", "secevent+jwt", "dpop+jwt", "wit+jwt", "JWT"} {
		p := newProvider(t)
		p.token = func(w http.ResponseWriter, _ *http.Request) {
			p.mu.Lock()
			nonce := p.nonce
			p.mu.Unlock()
			raw := p.logoutToken(t, typ, func(c jwt.MapClaims) {
				c["nonce"] = nonce
				if typ != "JWT" { // the type alone tells it
					delete(c, "events")
				}
			})
			answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": raw})
		}
		if f, err := p.login(t, nil); !errors.Is(err, oidc.ErrProof) {
			t.Errorf("%s as an ID token: %+v, %v", typ, f, err)
		}
	}
}

func TestALogoutTokenCountsOnce(t *testing.T) {
	p := newProvider(t)
	rp := p.rp(t)
	raw := p.logoutToken(t, "logout+jwt", nil)
	f, err := rp.Logout(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rp.Logout(t.Context(), raw); !errors.Is(err, oidc.ErrProof) {
		t.Errorf("again: %v", err)
	}
	rp.Undo(f) // the sessions could not be ended: the provider tries again
	if _, err := rp.Logout(t.Context(), raw); err != nil {
		t.Errorf("after it came to nothing: %v", err)
	}
	if _, err := rp.Logout(t.Context(), p.logoutToken(t, "logout+jwt", nil)); err != nil {
		t.Errorf("another one: %v", err)
	}
}

// Where sub does not name accounts, a logout token's sub names none of ours.
func TestLogoutWhereAnotherClaimNamesAccounts(t *testing.T) {
	p := newProvider(t)
	p.config = func(c *oidc.Config) { c.SubjectClaim = "oid" }
	rp := p.rp(t)
	for name, c := range map[string]struct {
		bend func(jwt.MapClaims)
		want oidc.LogoutFacts
		ok   bool
	}{
		"by session":         {nil, oidc.LogoutFacts{SID: "s1"}, true},
		"by that claim":      {func(c jwt.MapClaims) { c["oid"] = "77aa"; delete(c, "sid") }, oidc.LogoutFacts{Subject: "77aa"}, true},
		"by its own subject": {func(c jwt.MapClaims) { delete(c, "sid") }, oidc.LogoutFacts{}, false},
	} {
		f, err := rp.Logout(t.Context(), p.logoutToken(t, "logout+jwt", c.bend))
		if (err == nil) != c.ok || f.Subject != c.want.Subject || f.SID != c.want.SID {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func TestLogoutWhileTheProviderIsDown(t *testing.T) {
	p := newProvider(t)
	rp := p.rp(t)
	raw := p.logoutToken(t, "logout+jwt", nil)
	p.Close()
	if _, err := rp.Logout(t.Context(), raw); !errors.Is(err, oidc.ErrUnavailable) {
		t.Error(err)
	}
}

// A logout at the provider reaches us with the sid of the login.
func TestLogoutAtTheProvider(t *testing.T) {
	var rp *oidc.RP
	var mu sync.Mutex
	var got []oidc.LogoutFacts
	us := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := rp.Logout(r.Context(), r.PostFormValue("logout_token"))
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, f)
	}))
	defer us.Close()
	idp := startIdP(t, func(c *dev.IdPConfig) { c.Clients[0].BackchannelLogout = us.URL + "/oidc/idp/logout" })
	rp = atIdP(t, idp, nil)
	alice, bob := mustLogIn(t, rp, "alice"), mustLogIn(t, rp, "bob")
	if err := idp.Logout(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].SID != alice.SID || got[0].Subject != dev.AliceSubject {
		t.Errorf("told %+v, the login was %s", got, alice.SID)
	}
	if _, err := rp.Refresh(t.Context(), alice.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("refreshed after the logout: %v", err)
	}
	if _, err := rp.Refresh(t.Context(), bob.Refresh); err != nil {
		t.Errorf("bob: %v", err)
	}
	if err := idp.Logout(t.Context(), "alice"); err != nil || len(got) != 1 {
		t.Errorf("a second logout told %d times, %v", len(got), err)
	}
}

func TestNewKeysCountAtOnce(t *testing.T) {
	idp := startIdP(t, nil)
	rp := atIdP(t, idp, nil)
	mustLogIn(t, rp, "alice")
	for range 2 {
		if err := idp.RotateKeys(); err != nil {
			t.Fatal(err)
		}
		idp.DropOldKeys()
		mustLogIn(t, rp, "alice")
	}
}

func TestAWithdrawnKeyCountsForMinutes(t *testing.T) {
	now := time.Now()
	p := newProvider(t)
	p.config = func(c *oidc.Config) { c.Now = func() time.Time { return now } }
	p.claims = func(c jwt.MapClaims) { c["exp"] = now.Add(time.Hour).Unix() }
	rp := p.rp(t)
	if _, err := p.loginAt(t, rp, nil); err != nil {
		t.Fatal(err)
	}
	p.withdrawn = true
	now = now.Add(5*time.Minute - time.Second)
	if _, err := p.loginAt(t, rp, nil); err != nil {
		t.Errorf("shortly after: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := p.loginAt(t, rp, nil); !errors.Is(err, oidc.ErrProof) {
		t.Errorf("after five minutes: %v", err)
	}
}

func TestAProviderThatIsDownOrSlow(t *testing.T) {
	idp := startIdP(t, nil)
	rp := atIdP(t, idp, nil)
	to, keep, err := rp.Begin(t.Context(), "the-state")
	if err != nil {
		t.Fatal(err)
	}
	back, err := dev.Login(t.Context(), nil, to, "alice")
	if err != nil {
		t.Fatal(err)
	}
	query := queryOf(t, back)
	idp.SetSlow(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := rp.Finish(ctx, keep, query); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("slow: %v", err)
	}
	idp.SetSlow(false)
	idp.SetDown(true)
	if f, err := rp.Finish(t.Context(), keep, query); !errors.Is(err, oidc.ErrUnavailable) || !f.Principal.IsZero() {
		t.Errorf("down: %+v, %v", f, err)
	}
	idp.SetDown(false)
	mustLogIn(t, rp, "alice")
}

// Keys that cannot be had are no proof that the token is bad.
func TestKeysThatCannotBeHad(t *testing.T) {
	p := newProvider(t)
	p.discovery = map[string]any{"jwks_uri": p.URL + "/nothing"}
	if _, err := p.login(t, nil); !errors.Is(err, oidc.ErrUnavailable) {
		t.Error(err)
	}
	q := newProvider(t)
	q.claims = func(c jwt.MapClaims) { c["iss"] = "fetching keys" }
	if _, err := q.login(t, nil); !errors.Is(err, oidc.ErrProof) {
		t.Errorf("a token that speaks of keys: %v", err)
	}
}
