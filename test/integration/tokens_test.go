package integration

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// toPrograms puts the app reports at the door for clients too, and has it told who calls.
func (p *product) toPrograms(t testing.TB) {
	t.Helper()
	text := strings.Replace(p.Files()["apps/reports.yaml"], "callers: [services]", "callers: [services, clients]\nassert: true", 1)
	p.commit(t, "Open the reports to clients", map[string]string{"apps/reports.yaml": text})
}

// client is a program without a certificate, on its way to the door for clients.
func (p *product) client(t testing.TB, host string) caller {
	t.Helper()
	text, err := os.ReadFile(p.RootsFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return newCaller(t, p.gw.Clients, host, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
}

// claimsOf reads a token without a look at its signature.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnAppIsToldInATokenWhoCalls(t *testing.T) {
	p := theProduct(t)
	p.toPrograms(t)
	reporter := p.as(t, "reporter", p.gw)
	g := p.mayRead(t, "/daily", 10*time.Minute)
	var token string
	passes(t, "a report, told who reads it", func() answer {
		a := reporter.get(t, reportsURL("/daily/1"), "x-mayfly-assertion", "forged")
		all := p.Reports.Arrivals()
		if token = all[len(all)-1].Header.Get("X-Mayfly-Assertion"); a.status == 200 && token == "" {
			a.status = 0 // the policy is not there yet
		}
		return a
	})
	c := claimsOf(t, token)
	if c["sub"] != env.ReporterID || c["urn:mayfly:grant"] != g.ID || c["aud"] != "https://"+env.ReportsHost || c["iss"] != p.Public {
		t.Errorf("claims %v", c)
	}
	if life := c["exp"].(float64) - c["iat"].(float64); life <= 0 || life > 30 {
		t.Errorf("it lasts %v s", life)
	}
}

func TestAnAppIsDescribedAtTheDoorForClients(t *testing.T) {
	p := theProduct(t)
	p.toPrograms(t)
	client := p.client(t, env.ReportsHost)
	var a answer
	eventually(t, "the door for clients", func() (err error) {
		if a, err = client.do(t.Context(), "GET", p.ClientURL(env.ReportsHost, "/.well-known/oauth-protected-resource"), nil); err == nil && a.status != 200 {
			err = errNotYet
		}
		return err
	})
	if a.body["resource"] != "https://"+env.ReportsHost || a.body["authorization_servers"].([]any)[0] != p.Public {
		t.Errorf("described as %s", a.text)
	}
	before := len(p.Reports.Arrivals())
	for _, header := range [][]string{nil, {"authorization", "Bearer x"}, {"cookie", "__Host-mayfly=" + strings.Repeat("A", 43)}, {"authorization", "DPoP a.b.c", "dpop", "d.e.f"}} {
		a := client.get(t, p.ClientURL(env.ReportsHost, "/daily/1"), header...)
		want := `resource_metadata="` + p.ClientURL(env.ReportsHost, "/.well-known/oauth-protected-resource") + `"`
		if told := a.header.Get("WWW-Authenticate"); a.status != 401 || !strings.HasPrefix(told, "DPoP ") || !strings.Contains(told, want) {
			t.Errorf("%v: %d, told %q", header, a.status, told)
		}
	}
	if n := len(p.Reports.Arrivals()); n != before {
		t.Errorf("%d refused requests reached the app", n-before)
	}
}

// holding is a workload's client that shows one certificate for the whole test.
func (p *product) holding(t *testing.T, id string) (caller, tls.Certificate) {
	t.Helper()
	svid, err := p.CA.SVID(spiffeid.RequireFromString(id), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return p.showing(t, cert), cert
}

// A token of the token service counts for the certificate that it was given to, for
// its own grant, and until its key is removed.
func TestATokenOfTheTokenServiceCountsAtTheGateway(t *testing.T) {
	p := theProduct(t)
	p.mayRead(t, "/daily/eu", 10*time.Minute)
	reporter, cert := p.holding(t, env.ReporterID)
	get := func(c caller, path, token string) answer {
		t.Helper()
		return c.get(t, reportsURL(path), "authorization", "Bearer "+token)
	}
	token, err := p.TokenFor(t.Context(), cert, "https://"+env.ReportsHost)
	if err != nil {
		t.Fatal(err)
	}
	passes(t, "a report by token", func() answer { return get(reporter, "/daily/eu/1", token) })
	all := p.Reports.Arrivals()
	if last := all[len(all)-1]; last.Authorization != "" {
		t.Errorf("the app is given %q", last.Authorization)
	}
	if a := get(reporter, "/daily/us", token); a.reason() != "constraint" {
		t.Errorf("beside the grant: %d %s", a.status, a.text)
	}
	again, _ := p.holding(t, env.ReporterID) // the same workload with a newer certificate
	thief, _ := p.holding(t, env.RefunderID)
	for name, c := range map[string]caller{"another certificate of its own": again, "a thief": thief} {
		a := get(c, "/daily/eu/1", token)
		if told := a.header.Get("WWW-Authenticate"); a.status != 401 || a.reason() != "token_not_bound" || !strings.Contains(told, `error="invalid_token"`) || !strings.Contains(told, "resource_metadata=") {
			t.Errorf("%s: %d %s, told %q", name, a.status, a.text, told)
		}
	}
	if a := get(reporter, "/daily/eu/1", "sk_of_the_app"); a.status != 200 {
		t.Errorf("the app's own bearer: %d %s", a.status, a.text)
	}
	if all = p.Reports.Arrivals(); all[len(all)-1].Authorization != "Bearer sk_of_the_app" {
		t.Error("the app's own bearer does not reach it")
	}

	keys, err := p.bob.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Items {
		if k.State == "active" {
			if _, err := p.bob.RemoveKey(t.Context(), api.KeyRemoval{ID: k.ID}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the removed key counts no more", func() error {
		if a := get(reporter, "/daily/eu/1", token); a.reason() != "bad_token" {
			return errNotYet
		}
		return nil
	})
	if token, err = p.TokenFor(t.Context(), cert, "https://"+env.ReportsHost); err != nil {
		t.Fatal(err)
	}
	passes(t, "a report by a token of the next key", func() answer { return get(reporter, "/daily/eu/1", token) })
}
