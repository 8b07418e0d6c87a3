package integration

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

// verdict is what one certificate gets at the services door: from Envoy in the
// handshake, and from our own check of what Envoy hands on.
type verdict struct {
	name  string
	cert  tls.Certificate
	ours  spiffe.Reason // "" is accepted
	envoy bool          // whether the handshake goes through
}

// laxer says why Envoy takes a certificate that we refuse. Those that stand nowhere
// here get the same verdict twice.
func laxer() map[string]string {
	const (
		first = "Envoy reads the first URI alone"
		path  = "Envoy compares the trust domain, and reads nothing of the path"
		use   = "Envoy looks at cA, keyCertSign and cRLSign, and at no extended use"
	)
	return map[string]string{
		"two URIs, ours first":   first,
		"the same URI twice":     first,
		"empty fragment":         path,
		"percent in path":        path,
		"dot segment":            path,
		"trailing slash":         path,
		"empty segment":          path,
		"path of a slash":        path,
		"query":                  path,
		"ID of 2,049 bytes":      path,
		"NUL in the path":        path,
		"key usage not critical": "Envoy does not ask whether the extension is critical",
		"server only":            use,
		"client only":            use,
		"any extended use":       use,
		"code signing only":      use,
		"RSA key of 1,024 bits":  "Envoy asks for no size of a caller's key",
		"signed with SHA-1":      "Envoy takes the authority's signature with any hash",
	}
}

func matrix(t *testing.T, own, partner *dev.CA) []verdict {
	t.Helper()
	id := func(ca *dev.CA) spiffeid.ID {
		out, err := ca.ID("/ns/pay/sa/refunder")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	fine, err := own.Fine(id(own))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := own.Bad(id(own))
	if err != nil {
		t.Fatal(err)
	}
	mint := func(ca *dev.CA, id spiffeid.ID) tls.Certificate {
		cert, err := ca.Mint(dev.Template{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	var out []verdict
	for _, f := range fine {
		out = append(out, verdict{name: f.Name, cert: f.Cert, envoy: true})
	}
	out = append(out, verdict{name: "partner's ID, partner's authority", cert: mint(partner, id(partner)), envoy: true})
	for _, b := range bad {
		_, lax := laxer()[b.Name]
		out = append(out, verdict{name: b.Name, cert: b.Cert, ours: b.Reason, envoy: lax})
	}
	return append(out,
		verdict{name: "partner's ID, our authority", cert: mint(own, id(partner)), ours: spiffe.ReasonUntrusted},
		verdict{name: "our ID, partner's authority", cert: mint(partner, id(own)), ours: spiffe.ReasonUntrusted},
	)
}

// table is how the verdicts stand in docs/workloads.md.
func table(all []verdict) string {
	var b strings.Builder
	b.WriteString("| Certificate | Mayfly | Envoy | Why they differ |\n|---|---|---|---|\n")
	for _, v := range all {
		ours, envoy := "accepted", "refused"
		if v.ours != "" {
			ours = fmt.Sprintf("`%s`", v.ours)
		}
		if v.envoy {
			envoy = "accepted"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", v.name, ours, envoy, laxer()[v.name])
	}
	return b.String()
}

// theFederation is a product of its own, with a partner's trust domain.
func theFederation(t *testing.T, c env.Config) *product {
	t.Helper()
	needProduct(t)
	p, err := startWith(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// showing returns a caller that shows a certificate to the gateway.
func (p *product) showing(t *testing.T, cert tls.Certificate) caller {
	t.Helper()
	c, err := p.CallerShowing(p.gw, cert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return caller{c.Client}
}

// Envoy's validator and our check stand one behind the other: whatever gets past the
// first and not the second is denied by Check with bad_certificate.
func TestCertificatesGetTheSameVerdictTwice(t *testing.T) {
	p := theFederation(t, env.Config{Federate: true})
	all := matrix(t, p.CA, p.Env.Partner)
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			a, err := p.showing(t, v.cert).do(t.Context(), http.MethodGet, reportsURL("/daily"), nil)
			switch want := wantReason(v); {
			case (err == nil) != v.envoy:
				t.Errorf("Envoy: %d %s %v, want accepted: %v", a.status, a.text, err, v.envoy)
			case err == nil && a.reason() != want:
				t.Errorf("Check: %d %s, want %s", a.status, a.text, want)
			}
		})
	}
	bundlesChange(t, p)
	doc, err := os.ReadFile("../../docs/workloads.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := table(all); !strings.Contains(string(doc), want) {
		t.Errorf("docs/workloads.md does not hold this table:\n%s", want)
	}
}

// wantReason is what Check says to a caller that holds no grant.
func wantReason(v verdict) string {
	if v.ours != "" {
		return "bad_certificate"
	}
	return "no_grant"
}

// bundlesChange does to bundles what happens to them, under connections that stay
// open: each certificate is judged by the bundle of now, and nobody else's
// connection is lost.
func bundlesChange(t *testing.T, p *product) {
	t.Helper()
	mint := func(ca *dev.CA) caller {
		id, err := ca.ID("/ns/pay/sa/refunder")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Mint(dev.Template{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return p.showing(t, cert)
	}
	says := func(what string, c caller, want string) {
		t.Helper()
		eventually(t, what, func() error {
			a, reused := c.send(t, http.MethodGet, reportsURL("/daily"), nil)
			if !reused {
				return fmt.Errorf("the connection was lost: %s", a.text)
			}
			if a.reason() != want {
				return fmt.Errorf("%d %s", a.status, a.text)
			}
			return nil
		})
	}
	old, theirs := mint(p.CA), mint(p.Env.Partner)
	for _, c := range []caller{old, theirs} {
		if a, _ := c.send(t, http.MethodGet, reportsURL("/daily"), nil); a.reason() != "no_grant" {
			t.Fatalf("at first: %d %s", a.status, a.text)
		}
	}
	if err := p.CA.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new root", func() error {
		a, err := mint(p.CA).do(t.Context(), http.MethodGet, reportsURL("/daily"), nil)
		if err == nil && a.reason() != "no_grant" {
			err = fmt.Errorf("%d %s", a.status, a.text)
		}
		return err
	})
	says("the old root beside the new", old, "no_grant")
	says("the partner", theirs, "no_grant")
	if err := p.Env.Partner.Redact(); err != nil {
		t.Fatal(err)
	}
	says("the partner's bundle is empty, on an open connection", theirs, "bad_certificate")
	eventually(t, "the partner's new connections are refused", func() error {
		if a, err := mint(p.Env.Partner).do(t.Context(), http.MethodGet, reportsURL("/daily"), nil); err == nil {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	says("ours beside it", old, "no_grant")
	if err := p.CA.DropOldRoots(); err != nil {
		t.Fatal(err)
	}
	says("our old root is gone, on an open connection", old, "bad_certificate")
	newcomer := mint(p.CA)
	eventually(t, "the new root alone", func() error {
		a, err := newcomer.do(t.Context(), http.MethodGet, reportsURL("/daily"), nil)
		if err == nil && a.reason() != "no_grant" {
			err = fmt.Errorf("%d %s", a.status, a.text)
		}
		return err
	})
}
