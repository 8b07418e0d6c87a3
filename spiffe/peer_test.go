package spiffe_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const refunder = "/ns/pay/sa/refunder"

func parsed(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cert)
	}
	return out
}

func mint(t testing.TB, ca *dev.CA, tm dev.Template) tls.Certificate {
	t.Helper()
	c, err := ca.Mint(tm)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// escaped spells a leaf as Envoy does in a CheckRequest.
func escaped(c tls.Certificate) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(text))
}

func TestAGoodSVIDProvesItsWorkload(t *testing.T) {
	ca := devtest.CA(t)
	id := devtest.ID(t, refunder)
	cert := mint(t, ca, dev.Template{ID: id, DNS: []string{"refunder.acme.example"}, TTL: time.Minute})
	v := devtest.Verifier(t, ca)
	for i, verify := range []func(time.Time) (spiffe.Peer, error){
		func(now time.Time) (spiffe.Peer, error) { return v.Verify(parsed(t, cert), now) },
		func(now time.Time) (spiffe.Peer, error) { return v.VerifyEscapedPEM(escaped(cert), now) },
	} {
		p, err := verify(time.Now())
		if err != nil || p.Principal.String() != id.String() || p.ID != id || !p.NotAfter.Equal(cert.Leaf.NotAfter) {
			t.Errorf("way %d: %+v, %v", i, p, err)
		}
		// remembered or not, the term is looked at again
		for at, want := range map[time.Time]spiffe.Reason{
			cert.Leaf.NotAfter.Add(-time.Microsecond):     "",
			cert.Leaf.NotAfter:                            spiffe.ReasonExpired,
			cert.Leaf.NotAfter.Add(time.Hour):             spiffe.ReasonExpired,
			cert.Leaf.NotBefore.Add(-time.Microsecond):    spiffe.ReasonNotYetValid,
			cert.Leaf.NotBefore.Add(time.Microsecond):     "",
			cert.Leaf.NotBefore.Add(-24 * 20 * time.Hour): spiffe.ReasonNotYetValid,
		} {
			if _, err := verify(at); spiffe.ReasonOf(err) != want {
				t.Errorf("way %d at %s: %v, want %q", i, at, err, want)
			}
		}
	}
}

func TestBadCertificatesAreRefusedWithTheirReason(t *testing.T) {
	ca := devtest.CA(t)
	bad, err := ca.Bad(devtest.ID(t, refunder))
	if err != nil {
		t.Fatal(err)
	}
	// the other domain's bundle is held too, as with federation
	other, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString("other.example")})
	if err != nil {
		t.Fatal(err)
	}
	bundles := spiffe.NewBundles(map[spiffeid.TrustDomain][]*x509.Certificate{ca.TrustDomain(): ca.Roots(), other.TrustDomain(): other.Roots()})
	v, err := spiffe.NewVerifier(spiffe.VerifierConfig{
		Bundles: func() *spiffe.Bundles { return bundles }, TrustDomains: []spiffeid.TrustDomain{ca.TrustDomain()},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		t.Run(b.Name, func(t *testing.T) {
			now := time.Now()
			for range 2 { // a refusal is not remembered as a yes
				if p, err := v.VerifyEscapedPEM(escaped(b.Cert), now); spiffe.ReasonOf(err) != b.Reason || !p.Principal.IsZero() {
					t.Errorf("got %v, %v; want %s", p.Principal, err, b.Reason)
				}
			}
			chain, err := x509.ParseCertificate(b.Cert.Certificate[0])
			if err != nil {
				return // crypto/x509 does not read it: malformed, as was said
			}
			p, err := spiffe.PeerPrincipal([]*x509.Certificate{chain}, bundles, now, ca.TrustDomain())
			if spiffe.ReasonOf(err) != b.Reason || !p.IsZero() {
				t.Errorf("PeerPrincipal: %v, %v; want %s", p, err, b.Reason)
			}
		})
	}
}

func TestOddButProperCertificatesProveTheirWorkload(t *testing.T) {
	ca := devtest.CA(t)
	fine, err := ca.Fine(devtest.ID(t, refunder))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fine {
		p, err := devtest.Verifier(t, ca).VerifyEscapedPEM(escaped(f.Cert), time.Now())
		if err != nil || !strings.HasPrefix(p.ID.String(), devtest.ID(t, refunder).String()) {
			t.Errorf("%s: %v, %v", f.Name, p.ID, err)
		}
	}
}

// A pooled bundle would let one domain's authority sign for another.
func TestEachDomainHasItsOwnBundle(t *testing.T) {
	ours := devtest.CA(t)
	theirs, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString("other.example")})
	if err != nil {
		t.Fatal(err)
	}
	bundles := spiffe.NewBundles(map[spiffeid.TrustDomain][]*x509.Certificate{ours.TrustDomain(): ours.Roots(), theirs.TrustDomain(): theirs.Roots()})
	both := []spiffeid.TrustDomain{ours.TrustDomain(), theirs.TrustDomain()}
	there, err := theirs.ID(refunder)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		ca   *dev.CA
		id   spiffeid.ID
		want spiffe.Reason
	}{
		{"ours by ours", ours, devtest.ID(t, refunder), ""},
		{"theirs by theirs", theirs, there, ""},
		{"ours by theirs", theirs, devtest.ID(t, refunder), spiffe.ReasonUntrusted},
		{"theirs by ours", ours, there, spiffe.ReasonUntrusted},
	} {
		_, err := spiffe.PeerPrincipal(parsed(t, mint(t, c.ca, dev.Template{ID: c.id})), bundles, time.Now(), both...)
		if spiffe.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestABundleChangeIsSeenAtOnce(t *testing.T) {
	ca := devtest.CA(t)
	bundles := ca.Bundles()
	v, err := spiffe.NewVerifier(spiffe.VerifierConfig{
		Bundles: func() *spiffe.Bundles { return bundles }, TrustDomains: []spiffeid.TrustDomain{ca.TrustDomain()},
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, c tls.Certificate, want spiffe.Reason) {
		t.Helper()
		if _, err := v.VerifyEscapedPEM(escaped(c), time.Now()); spiffe.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	old := mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)})
	check("before", old, "")
	if err := ca.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	young := mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)})
	check("new root not yet here", young, spiffe.ReasonUntrusted)
	bundles = ca.Bundles()
	check("overlap, old", old, "")
	check("overlap, new", young, "")
	if err := ca.DropOldRoots(); err != nil {
		t.Fatal(err)
	}
	bundles = ca.Bundles()
	check("old root gone", old, spiffe.ReasonUntrusted)
	check("new root alone", young, "")
	bundles = spiffe.NewBundles(map[spiffeid.TrustDomain][]*x509.Certificate{ca.TrustDomain(): nil})
	check("empty bundle", young, spiffe.ReasonNoBundle)
	bundles = nil
	check("no bundle", young, spiffe.ReasonNoBundle)
}

func TestChainsAndTerms(t *testing.T) {
	ca := devtest.CA(t)
	if err := ca.UseIntermediate(); err != nil {
		t.Fatal(err)
	}
	cert := mint(t, ca, dev.Template{ID: devtest.ID(t, refunder), TTL: 20 * 365 * 24 * time.Hour})
	if p, err := devtest.Verifier(t, ca).Verify(parsed(t, cert), time.Now()); err != nil || !p.NotAfter.Before(cert.Leaf.NotAfter) {
		t.Errorf("with its chain: ends %s, %v; want the end of the intermediate", p.NotAfter, err)
	}
	// Envoy hands on the leaf alone: the intermediate of our own SVID helps
	if _, err := devtest.Verifier(t, ca).VerifyEscapedPEM(escaped(cert), time.Now()); spiffe.ReasonOf(err) != spiffe.ReasonUntrusted {
		t.Errorf("leaf alone, nothing known: %v", err)
	}
	own := devtest.Source(t, ca, "/gw/sidecar")
	v, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: own.Bundles, TrustDomains: []spiffeid.TrustDomain{ca.TrustDomain()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.VerifyEscapedPEM(escaped(cert), time.Now()); err != nil {
		t.Errorf("leaf alone, own SVID on the same intermediate: %v", err)
	}
}

func TestHostileCertificateText(t *testing.T) {
	ca := devtest.CA(t)
	v := devtest.Verifier(t, ca)
	good := escaped(mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)}))
	block := func(kind string, der []byte) string {
		return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	for _, c := range []struct {
		name, text string
		want       spiffe.Reason
	}{
		{"nothing", "", spiffe.ReasonNone},
		{"blanks", "%0A%0A", spiffe.ReasonNone},
		{"half an escape", good + "%2", spiffe.ReasonMalformed},
		{"text after it", good + "hello", spiffe.ReasonMalformed},
		{"text before it", "hello%0A" + good, spiffe.ReasonMalformed},
		{"a key after it", good + block("PRIVATE KEY", []byte("x")), spiffe.ReasonMalformed},
		{"not a certificate", block("CERTIFICATE", []byte("x")), spiffe.ReasonMalformed},
		{"an empty block", block("CERTIFICATE", nil), spiffe.ReasonMalformed},
		{"many of them", strings.Repeat(good, 9), spiffe.ReasonMalformed},
		{"a large one", strings.Repeat("A", 1<<20), spiffe.ReasonMalformed},
	} {
		_, err := v.VerifyEscapedPEM(c.text, time.Now())
		if spiffe.ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	var e *spiffe.Error
	if _, err := v.Verify(nil, time.Now()); !errors.As(err, &e) || e.Reason != spiffe.ReasonNone {
		t.Errorf("no chain: %v", err)
	}
}

func TestVerifierWantsDomainsAndBundles(t *testing.T) {
	some := func() *spiffe.Bundles { return nil }
	for name, c := range map[string]spiffe.VerifierConfig{
		"no bundles":  {TrustDomains: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("acme.example")}},
		"no domains":  {Bundles: some},
		"zero domain": {Bundles: some, TrustDomains: []spiffeid.TrustDomain{{}}},
	} {
		if v, err := spiffe.NewVerifier(c); err == nil || v != nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func BenchmarkVerifyEscapedPEM(b *testing.B) {
	ca := devtest.CA(b)
	v := devtest.Verifier(b, ca)
	text := escaped(mint(b, ca, dev.Template{ID: devtest.ID(b, refunder)}))
	now := time.Now()
	for b.Loop() {
		if _, err := v.VerifyEscapedPEM(text, now); err != nil {
			b.Fatal(err)
		}
	}
}
