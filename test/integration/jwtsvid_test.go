package integration

import (
	"encoding/base64"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/tokens"
)

// program is one that holds a DPoP key of its own and no certificate.
func (p *product) program(t *testing.T) (*api.Client, tokens.Prover) {
	t.Helper()
	key, err := tokens.NewProver()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Client("", key)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// exchanging is the form that exchanges a JWT-SVID for a token for the reports.
func exchanging(svid string) url.Values {
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "resource": {"https://" + env.ReportsHost},
		"subject_token": {svid}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
	}
}

// asserting is the form that has a JWT-SVID prove the client.
func asserting(svid string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "resource": {"https://" + env.ReportsHost},
		"client_assertion": {svid}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"},
	}
}

// signed is a JWT-SVID of id for mayflyd, bent by change.
func (p *product) signed(t *testing.T, by *dev.CA, id string, change ...func(header, claims map[string]any)) string {
	t.Helper()
	text, err := by.JWTSVID(spiffeid.RequireFromString(id), []string{p.Public}, change...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// refusedAs reports whether err is a refusal of the token endpoint with a code.
func refusedAs(err error, code string) bool {
	var e *api.OAuthError
	return errors.As(err, &e) && e.Code == code
}

// boundTo wants a token to be for the reporter, in the hands of one key.
func boundTo(t *testing.T, token string, key tokens.Prover) {
	t.Helper()
	jkt, err := key.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	c := claimsOf(t, token)
	cnf, _ := c["cnf"].(map[string]any)
	if c["sub"] != env.ReporterID || c["act"] != nil || len(cnf) != 1 || cnf["jkt"] != base64.RawURLEncoding.EncodeToString(jkt[:]) {
		t.Errorf("claims %v", c)
	}
}

// A program exchanges the JWT-SVID that its Workload API gives it for a token of its
// live grant, and what proves somebody else, to somebody else or at another time, is
// exchanged for nothing.
func TestAJWTSVIDProvesAWorkloadAtTheTokenEndpoint(t *testing.T) {
	p := theFederation(t, env.Config{Federate: true, Endpoint: true})
	me, key := p.program(t)
	fetched, err := workloadapi.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: p.Public}, workloadapi.WithAddr(dev.Address(filepath.Join(p.Dir, "reporter.sock"))))
	if err != nil {
		t.Fatal(err)
	}
	svid := fetched.Marshal()
	if _, err := me.Token(t.Context(), exchanging(svid)); !refusedAs(err, "invalid_target") {
		t.Errorf("without a grant: %v", err)
	}
	g := p.mayRead(t, "/daily", 10*time.Minute)
	for name, form := range map[string]url.Values{"as subject token": exchanging(svid), "as client assertion": asserting(svid)} {
		got, err := me.Token(t.Context(), form)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		boundTo(t, got.AccessToken, key)
		if c := claimsOf(t, got.AccessToken); c["urn:mayfly:grant"] != g.ID || c["exp"].(float64) > float64(fetched.Expiry.Unix()) {
			t.Errorf("%s: claims %v", name, c)
		}
	}

	stranger, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString("stranger.example")})
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, value any) func(h, c map[string]any) {
		return func(_, c map[string]any) { c[name] = value }
	}
	got, err := me.Token(t.Context(), exchanging(svid))
	if err != nil {
		t.Fatal(err)
	}
	theirs, partners := "spiffe://"+env.PartnerDomain+"/ns/pay/sa/refunder", p.Env.Partner
	bad := map[string]string{
		"another audience":          p.signed(t, p.CA, env.ReporterID, claim("aud", "https://"+env.ReportsHost)),
		"the issuer with a slash":   p.signed(t, p.CA, env.ReporterID, claim("aud", p.Public+"/")),
		"the token endpoint":        p.signed(t, p.CA, env.ReporterID, claim("aud", p.Public+"/oauth/token")),
		"two audiences":             p.signed(t, p.CA, env.ReporterID, claim("aud", []string{p.Public, "https://" + env.ReportsHost})),
		"expired a second ago":      p.signed(t, p.CA, env.ReporterID, claim("exp", time.Now().Unix()-1)),
		"by another domain's key":   p.signed(t, partners, env.ReporterID),
		"theirs by our key":         p.signed(t, p.CA, theirs),
		"of an unlisted domain":     p.signed(t, stranger, "spiffe://stranger.example/ns/data/sa/reporter"),
		"typed at+jwt":              p.signed(t, p.CA, env.ReporterID, func(h, _ map[string]any) { h["typ"] = "at+jwt" }),
		"a token that was issued":   got.AccessToken,
		"no kid":                    p.signed(t, p.CA, env.ReporterID, func(h, _ map[string]any) { delete(h, "kid") }),
		"the trust domain, no path": p.signed(t, p.CA, "spiffe://"+env.TrustDomain),
	}
	for name, token := range bad {
		if _, err := me.Token(t.Context(), exchanging(token)); !refusedAs(err, "invalid_request") || !strings.Contains(err.Error(), "no JWT-SVID") {
			t.Errorf("%s as subject token: %v", name, err)
		}
		if _, err := me.Token(t.Context(), asserting(token)); !refusedAs(err, "invalid_client") {
			t.Errorf("%s as client assertion: %v", name, err)
		}
	}
	// The partner is who it says it is, and was granted nothing.
	if _, err := me.Token(t.Context(), exchanging(p.signed(t, partners, theirs))); !refusedAs(err, "invalid_target") {
		t.Errorf("the partner: %v", err)
	}

	// Shown again within its life it gives another token for the key that showed it first,
	// and to whoever stole it nothing.
	soon := p.signed(t, p.CA, env.ReporterID, claim("exp", time.Now().Unix()+5))
	thief, _ := p.program(t)
	for range 2 {
		got, err := me.Token(t.Context(), exchanging(soon))
		if err != nil {
			t.Fatal(err)
		}
		boundTo(t, got.AccessToken, key)
	}
	for code, form := range map[string]url.Values{"invalid_request": exchanging(soon), "invalid_client": asserting(soon)} {
		if _, err := thief.Token(t.Context(), form); !refusedAs(err, code) {
			t.Errorf("a stolen JWT-SVID: %v, want %s", err, code)
		}
	}
	eventually(t, "no token after its end", func() error {
		if _, err := me.Token(t.Context(), exchanging(soon)); !refusedAs(err, "invalid_request") {
			return errNotYet
		}
		return nil
	})

	// A key that leaves the bundle proves nobody from then on.
	if err := p.CA.RedactJWT(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is taken out", func() error {
		if _, err := me.Token(t.Context(), exchanging(svid)); !refusedAs(err, "invalid_request") {
			return errNotYet
		}
		return nil
	})
	if err := p.CA.RotateJWTKey(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next key", func() error {
		_, err := me.Token(t.Context(), exchanging(p.signed(t, p.CA, env.ReporterID)))
		return err
	})
}
