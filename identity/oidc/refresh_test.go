package oidc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// atIdP is a relying party of the development provider.
func atIdP(t *testing.T, idp *dev.IdP, bend func(*oidc.Config)) *oidc.RP {
	t.Helper()
	c := oidc.Config{
		Name: "idp", Issuer: idp.Issuer(), ClientID: clientID, ClientSecret: oidc.NewSecret("s"), RedirectURL: callback, AllowAddresses: egress.Loopback(),
	}
	if bend != nil {
		bend(&c)
	}
	rp, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

func startIdP(t *testing.T, bend func(*dev.IdPConfig)) *dev.IdP {
	t.Helper()
	c := dev.IdPConfig{
		Users:   dev.People(map[string][]string{"alice": {"support"}}),
		Clients: []dev.Client{{ID: clientID, Secret: "s", Redirects: []string{callback}}},
	}
	if bend != nil {
		bend(&c)
	}
	return devtest.StartIdP(t, c)
}

// logIn logs a person in at the development provider.
func logIn(t *testing.T, rp *oidc.RP, user string) (oidc.Facts, error) {
	t.Helper()
	to, keep, err := rp.Begin(t.Context(), "the-state")
	if err != nil {
		return oidc.Facts{}, err
	}
	back, err := dev.Login(t.Context(), nil, to, user)
	if err != nil {
		t.Fatal(err)
	}
	return rp.Finish(t.Context(), keep, queryOf(t, back))
}

func queryOf(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func mustLogIn(t *testing.T, rp *oidc.RP, user string) oidc.Facts {
	t.Helper()
	f, err := logIn(t, rp, user)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What the provider knows of a person now is what Refresh says, until it no longer
// knows the person.
func TestRefreshAtAProviderThatRotates(t *testing.T) {
	idp := startIdP(t, nil)
	rp := atIdP(t, idp, nil)
	f := mustLogIn(t, rp, "alice")
	if f.Refresh.IsZero() || f.SID == "" {
		t.Fatalf("%+v", f)
	}
	if err := idp.SetUser(dev.User{Name: "alice", Subject: dev.AliceSubject, Groups: []string{"leads"}}); err != nil {
		t.Fatal(err)
	}
	again, err := rp.Refresh(t.Context(), f.Refresh)
	if err != nil || again.Principal != f.Principal || len(again.Groups) != 1 || again.Groups[0].String() != "group:idp/leads" ||
		!again.AuthTime.Equal(f.AuthTime) || again.SID != f.SID || again.Refresh.IsZero() || again.Refresh == f.Refresh {
		t.Fatalf("%+v, %v", again, err)
	}
	kept := oidc.NewSecret(again.Refresh.Reveal()) // as it comes back out of the store
	third, err := rp.Refresh(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	idp.SetDown(true)
	if _, err := rp.Refresh(t.Context(), third.Refresh); !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
	idp.SetDown(false)
	idp.RemoveUser("alice")
	if got, err := rp.Refresh(t.Context(), third.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("a removed user: %+v, %v", got, err)
	}
}

// A refresh token that comes twice was stolen, or its successor was.
func TestARefreshTokenThatComesTwiceEndsAll(t *testing.T) {
	rp := atIdP(t, startIdP(t, nil), nil)
	f := mustLogIn(t, rp, "alice")
	next, err := rp.Refresh(t.Context(), f.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rp.Refresh(t.Context(), f.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("used twice: %v", err)
	}
	if _, err := rp.Refresh(t.Context(), next.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("its successor: %v", err)
	}
}

func TestRefreshAnswers(t *testing.T) {
	refuse := func(status int, code string) func(*provider) {
		return func(p *provider) {
			p.token = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				fmt.Fprintf(w, `{"error":%q}`, code)
			}
		}
	}
	set := func(name string, v any) func(*provider) {
		return func(p *provider) { p.claims = func(c jwt.MapClaims) { c[name] = v } }
	}
	for name, c := range map[string]struct {
		bend func(*provider)
		want error // nil: as at the login
	}{
		"no nonce":               {func(p *provider) { p.claims = func(c jwt.MapClaims) { delete(c, "nonce") } }, nil},
		"the nonce again":        {func(*provider) {}, nil},
		"another nonce":          {set("nonce", "other"), oidc.ErrProof},
		"another subject":        {set("sub", "9a00"), oidc.ErrRefused},
		"another issuer":         {set("iss", "https://evil.example"), oidc.ErrProof},
		"another audience":       {set("aud", "other"), oidc.ErrProof},
		"one more audience":      {set("aud", []string{clientID, "other"}), oidc.ErrProof},
		"made for another":       {set("azp", "other"), oidc.ErrProof},
		"groups that are broken": {set("groups", 5), oidc.ErrProof},
		"another key":            {func(p *provider) { p.signer = otherKey(t) }, oidc.ErrProof},
		"an end":                 {refuse(400, "invalid_grant"), oidc.ErrRefused},
		"consent withdrawn":      {refuse(400, "consent_required"), oidc.ErrRefused},
		"login wanted":           {refuse(400, "interaction_required"), oidc.ErrRefused},
		"our secret is wrong":    {refuse(401, "invalid_client"), oidc.ErrUnavailable},
		"a mistake of ours":      {refuse(400, "invalid_request"), oidc.ErrUnavailable},
		"busy":                   {refuse(429, "slow_down"), oidc.ErrUnavailable},
		"broken":                 {refuse(500, "server_error"), oidc.ErrUnavailable},
		"broken, in its words":   {refuse(503, "invalid_grant"), oidc.ErrUnavailable},
		"elsewhere":              {refuse(302, ""), oidc.ErrUnavailable},
		"gone":                   {func(p *provider) { p.Close() }, oidc.ErrUnavailable},
		"no ID token, nor userinfo": {func(p *provider) {
			p.noID = true
		}, oidc.ErrProof},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			p.more = map[string]any{"refresh_token": "r1"}
			rp := p.rp(t)
			f, err := p.loginAt(t, rp, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.bend(p)
			got, err := rp.Refresh(t.Context(), f.Refresh)
			if c.want == nil {
				if err != nil || got.Principal != f.Principal || !got.Refresh.IsZero() {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, c.want) || !got.Principal.IsZero() || got.Groups != nil {
				t.Errorf("%+v, %v, want %v", got, err, c.want)
			}
		})
	}
}

// A provider that sends no ID token when refreshing says by userinfo who it is.
func TestRefreshByUserinfo(t *testing.T) {
	for name, c := range map[string]struct {
		tell map[string]any
		want error
	}{
		"the same":           {map[string]any{"groups": []string{"leads"}}, nil},
		"somebody else":      {map[string]any{"sub": "9a00", "groups": []string{"leads"}}, oidc.ErrRefused},
		"nobody":             {map[string]any{"sub": nil, "groups": []string{"leads"}}, oidc.ErrRefused},
		"groups not told":    {nil, oidc.ErrProof},
		"groups that are no": {map[string]any{"groups": 5}, oidc.ErrProof},
	} {
		p := newProvider(t)
		p.more, p.noID = map[string]any{"refresh_token": "r1"}, true
		p.tell(c.tell)
		rp := p.rp(t)
		f, err := p.loginAt(t, rp, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.more = map[string]any{"refresh_token": "r2"}
		got, err := rp.Refresh(t.Context(), f.Refresh)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if c.want == nil && (len(got.Groups) != 1 || got.Groups[0].String() != "group:idp/leads" || got.Refresh.IsZero() || got.SID != "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// The refresh token goes out once, by the way that the provider says it takes.
func TestRefreshIsSentOnce(t *testing.T) {
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		p := newProvider(t)
		p.discovery = map[string]any{"token_endpoint_auth_methods_supported": []string{method}}
		p.more = map[string]any{"refresh_token": "r1"}
		p.config = func(c *oidc.Config) { c.ClientSecret = oidc.NewSecret("hunter2") }
		rp := p.rp(t)
		f, err := p.loginAt(t, rp, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		p.token = func(w http.ResponseWriter, r *http.Request) {
			n++
			_, secret, basic := r.BasicAuth()
			if post := r.PostFormValue("client_secret"); basic != (method == "client_secret_basic") || secret+post != "hunter2" || r.PostFormValue("refresh_token") != "r1" {
				t.Errorf("%s: asked with %v", method, r.PostForm)
			}
			w.WriteHeader(http.StatusUnauthorized)
		}
		if _, err := rp.Refresh(t.Context(), f.Refresh); !errors.Is(err, oidc.ErrUnavailable) || n != 1 {
			t.Errorf("%s: sent %d times, %v", method, n, err)
		}
	}
}

func TestRefreshTokensAreAskedForAsConfigured(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		listed         bool
		refresh        *bool
		asked, consent bool
		kept           bool
	}{
		"the provider lists them":     {listed: true, asked: true, kept: true},
		"it does not":                 {kept: true},
		"it does not, and is asked":   {refresh: &yes, asked: true, consent: true, kept: true},
		"it does, and is not asked":   {listed: true, refresh: &no},
		"it sends one nobody asked":   {refresh: &no},
		"it lists them, and is asked": {listed: true, refresh: &yes, asked: true, consent: true, kept: true},
	} {
		p := newProvider(t)
		if c.listed {
			p.discovery = map[string]any{"scopes_supported": []string{"openid", "offline_access"}}
		}
		p.more = map[string]any{"refresh_token": "r1"}
		p.config = func(o *oidc.Config) { o.Refresh = c.refresh }
		rp := p.rp(t)
		to, _, err := rp.Begin(t.Context(), "the-state")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(u.Query().Get("scope"), "offline_access") != c.asked || (u.Query().Get("prompt") == "consent") != c.consent {
			t.Errorf("%s: asked with %s", name, u.RawQuery)
		}
		f, err := p.loginAt(t, rp, nil)
		if err != nil || f.Refresh.IsZero() == c.kept {
			t.Errorf("%s: kept %v, %v", name, !f.Refresh.IsZero(), err)
		}
	}
}

func TestWhatIsNoRefreshTokenOfOurs(t *testing.T) {
	rp := newProvider(t).rp(t)
	for _, text := range []string{"", "r1", "{}", `{"token":"r1"}`, `{"token":"","sub":"3f1c"}`, "null"} {
		if f, err := rp.Refresh(t.Context(), oidc.NewSecret(text)); !errors.Is(err, oidc.ErrProof) {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
}

func TestRefreshTokensAreNeverPrinted(t *testing.T) {
	p := newProvider(t)
	p.more = map[string]any{"refresh_token": "hunter2"}
	rp := p.rp(t)
	f, err := p.loginAt(t, rp, nil)
	if err != nil || !strings.Contains(f.Refresh.Reveal(), "hunter2") {
		t.Fatalf("%v, %v", f, err)
	}
	b, err := json.Marshal(f)
	if text := fmt.Sprintf("%v %+v %#v %s", f, f, f, b); err != nil || strings.Contains(text, "hunter2") {
		t.Errorf("%s, %v", text, err)
	}
}

// The account must stay the same too, where another claim than sub names it.
func TestRefreshOfAnAccountThatChanged(t *testing.T) {
	p := newProvider(t)
	p.more = map[string]any{"refresh_token": "r1"}
	p.config = func(c *oidc.Config) { c.SubjectClaim = "oid" }
	p.claims = func(c jwt.MapClaims) { c["oid"] = "77aa" }
	rp := p.rp(t)
	f, err := p.loginAt(t, rp, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := rp.Refresh(t.Context(), f.Refresh); err != nil || again.Principal != f.Principal {
		t.Errorf("unchanged: %+v, %v", again, err)
	}
	p.claims = func(c jwt.MapClaims) { c["oid"] = "88bb" }
	if again, err := rp.Refresh(t.Context(), f.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("changed: %+v, %v", again, err)
	}
	p.claims = func(c jwt.MapClaims) { c["oid"], c["sub"] = "77aa", "9a00" }
	if again, err := rp.Refresh(t.Context(), f.Refresh); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("of another subject: %+v, %v", again, err)
	}
}
