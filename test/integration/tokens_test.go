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
