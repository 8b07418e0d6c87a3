package oidc_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/dev"
)

func TestGroupsFromUserinfoOnly(t *testing.T) {
	idp := startIdP(t, func(c *dev.IdPConfig) { c.GroupsInUserinfo = true })
	if f := mustLogIn(t, atIdP(t, idp, nil), "alice"); len(f.Groups) != 0 {
		t.Errorf("without being told to ask: %v", f.Groups)
	}
	rp := atIdP(t, idp, func(c *oidc.Config) { c.UserInfo = true })
	f := mustLogIn(t, rp, "alice")
	if len(f.Groups) != 1 || f.Groups[0].String() != "group:idp/support" {
		t.Errorf("at the login: %v", f.Groups)
	}
	if f, err := rp.Refresh(t.Context(), f.Refresh); err != nil || len(f.Groups) != 1 {
		t.Errorf("later: %v, %v", f.Groups, err)
	}
}

func TestUserinfoThatCannotBeUsed(t *testing.T) {
	say := func(kind, body string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		say  http.HandlerFunc
		want error
	}{
		"somebody else's":   {say("application/json", `{"sub":"9a00","groups":["security"]}`, 200), oidc.ErrProof},
		"nobody's":          {say("application/json", `{"groups":["security"]}`, 200), oidc.ErrProof},
		"a signed one":      {say("application/jwt", `e30.e30.e30`, 200), oidc.ErrProof},
		"a page":            {say("text/html", `{"sub":"3f1c"}`, 200), oidc.ErrProof},
		"a list":            {say("application/json", `["3f1c"]`, 200), oidc.ErrProof},
		"cut off":           {say("application/json", `{"sub":"3f1c"`, 200), oidc.ErrProof},
		"refused":           {say("application/json", `{}`, 401), oidc.ErrRefused},
		"broken":            {say("application/json", `{}`, 502), oidc.ErrUnavailable},
		"elsewhere":         {say("application/json", `{"sub":"3f1c"}`, 302), oidc.ErrUnavailable},
		"without end":       {say("application/json", `{"sub":"3f1c","x":"`+strings.Repeat("x", 256<<10)+`"}`, 200), oidc.ErrUnavailable},
		"groups of no kind": {say("application/json", `{"sub":"3f1c","groups":{"a":1}}`, 200), oidc.ErrProof},
	} {
		p := newProvider(t)
		p.userinfo = c.say
		p.config = func(o *oidc.Config) { o.UserInfo = true }
		p.claims = func(m jwt.MapClaims) { delete(m, "groups") }
		if f, err := p.login(t, nil); !errors.Is(err, c.want) || !f.Principal.IsZero() {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// Who the account is, and what it is called, is where the configuration says.
func TestClaimsAsConfigured(t *testing.T) {
	p := newProvider(t)
	p.claims = func(c jwt.MapClaims) {
		c["oid"], c["display"] = "77aa", "Alice L."
		c["contact"] = map[string]any{"mail": "Alice@partner.example"}
		c["sid"] = "s1"
	}
	p.config = func(c *oidc.Config) { c.SubjectClaim, c.NameClaim, c.EmailClaim = "oid", "display", "contact.mail" }
	f, err := p.login(t, nil)
	if err != nil || f.Principal.String() != "user:idp:77aa" || f.Name != "Alice L." || f.Email != "alice@partner.example" || f.SID != "s1" {
		t.Errorf("%+v, %v", f, err)
	}
	for name, v := range map[string]any{"a number": 5, "nothing": nil, "an empty text": "", "a list": []string{"77aa"}, "a text with spaces": "7 7"} {
		p.claims = func(c jwt.MapClaims) { c["oid"] = v }
		if f, err := p.login(t, nil); !errors.Is(err, oidc.ErrProof) {
			t.Errorf("an account that is %s: %+v, %v", name, f, err)
		}
	}
	p.claims = func(c jwt.MapClaims) { c["name"] = ""; c["preferred_username"] = "alice" }
	p.config = nil
	if f, err := p.login(t, nil); err != nil || f.Name != "alice" {
		t.Errorf("without a name: %+v, %v", f, err)
	}
}
