package spiffe_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const partnerDomain = "partner.example"

// partner is another trust domain with its bundle endpoint.
type partner struct {
	*dev.CA
	*dev.BundleEndpoint
	t      *testing.T
	server *httptest.Server
	dir    string // where the bundle is kept
}

func newPartner(t *testing.T) *partner {
	t.Helper()
	ca, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(partnerDomain)})
	if err != nil {
		t.Fatal(err)
	}
	p := &partner{CA: ca, BundleEndpoint: &dev.BundleEndpoint{}, t: t, dir: t.TempDir()}
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	p.publish(1)
	return p
}

func (p *partner) document(sequence uint64) []byte {
	p.t.Helper()
	b, err := p.BundleDocument(sequence, time.Minute)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *partner) publish(sequence uint64) { p.Tell(http.StatusOK, p.document(sequence)) }

func (p *partner) file(name string, content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// web starts the endpoint as one of https_web and returns the relation with it.
func (p *partner) web() spiffe.Relation {
	p.t.Helper()
	p.server.StartTLS()
	p.t.Cleanup(p.server.Close)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	return spiffe.Relation{TrustDomain: partnerDomain, URL: p.server.URL, Profile: spiffe.ProfileWeb, CA: p.file("ca.pem", roots)}
}

// spiffe starts the endpoint as one of https_spiffe, and returns the relation with it.
func (p *partner) spiffe() spiffe.Relation {
	p.t.Helper()
	id, err := p.ID("/bundles")
	if err != nil {
		p.t.Fatal(err)
	}
	p.server.TLS = p.EndpointTLS(id)
	p.server.StartTLS()
	p.t.Cleanup(p.server.Close)
	return spiffe.Relation{TrustDomain: partnerDomain, URL: p.server.URL, Profile: spiffe.ProfileSPIFFE, EndpointID: id.String(), Bootstrap: p.file("bundle.json", p.document(1))}
}

// ours is a workload of ours that takes the partner's workloads.
type ours struct {
	*spiffe.Federation
	source *spiffe.Source
	check  *spiffe.Verifier
	t      *testing.T
}

func (p *partner) federate(r spiffe.Relation, ca *dev.CA, change ...func(*spiffe.FederationConfig)) (*ours, error) {
	p.t.Helper()
	o := &ours{source: devtest.Source(p.t, ca, gateway), t: p.t}
	c := spiffe.FederationConfig{Relations: []spiffe.Relation{r}, Sources: []*spiffe.Source{o.source}, Dir: p.dir, Dev: true}
	for _, f := range change {
		f(&c)
	}
	if err := spiffe.CheckRelations(c.Relations, devtest.ID(p.t, gateway), []string{devtest.Domain, partnerDomain}); err != nil {
		return nil, err
	}
	var err error
	if o.Federation, err = spiffe.NewFederation(c); err != nil {
		return nil, err
	}
	o.check, err = spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: o.source.Bundles, TrustDomains: []spiffeid.TrustDomain{ca.TrustDomain(), p.TrustDomain()}})
	return o, err
}

// must is federate where nothing can be wrong.
func (p *partner) must(r spiffe.Relation, ca *dev.CA, change ...func(*spiffe.FederationConfig)) *ours {
	p.t.Helper()
	o, err := p.federate(r, ca, change...)
	if err != nil {
		p.t.Fatal(err)
	}
	return o
}

// problem asks the endpoint once and returns what is wrong.
func (o *ours) problem() string {
	o.t.Helper()
	o.Refresh(o.t.Context())
	return o.Status()[0].Problem
}

// says checks a certificate against the bundles of now.
func (o *ours) says(what string, cert tls.Certificate, want spiffe.Reason) {
	o.t.Helper()
	if _, err := o.check.VerifyEscapedPEM(escaped(cert), time.Now()); spiffe.ReasonOf(err) != want {
		o.t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func (p *partner) svid() tls.Certificate {
	p.t.Helper()
	id, err := p.ID(refunder)
	if err != nil {
		p.t.Fatal(err)
	}
	return mint(p.t, p.CA, dev.Template{ID: id})
}

func TestAPartnersBundleComesFromItsEndpoint(t *testing.T) {
	for _, profile := range []string{spiffe.ProfileSPIFFE, spiffe.ProfileWeb} {
		t.Run(profile, func(t *testing.T) {
			ca, p := devtest.CA(t), newPartner(t)
			r := p.web
			if profile == spiffe.ProfileSPIFFE {
				r = p.spiffe
			}
			o := p.must(r(), ca)
			if profile == spiffe.ProfileWeb {
				o.says("before the first answer", p.svid(), spiffe.ReasonNoBundle)
			}
			if got := o.problem(); got != "" || o.Status()[0].Authorities != 1 || o.Status()[0].Fetched.IsZero() {
				t.Fatalf("%q, %+v", got, o.Status())
			}
			there, err := p.ID(refunder)
			if err != nil {
				t.Fatal(err)
			}
			o.says("theirs by theirs", p.svid(), "")
			o.says("ours by ours", mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)}), "")
			o.says("theirs by ours", mint(t, ca, dev.Template{ID: there}), spiffe.ReasonUntrusted)
			o.says("ours by theirs", mint(t, p.CA, dev.Template{ID: devtest.ID(t, refunder)}), spiffe.ReasonUntrusted)

			// their root rotates: the endpoint itself goes over to the new one
			old := p.svid()
			if err := p.RotateRoot(); err != nil {
				t.Fatal(err)
			}
			young := p.svid()
			o.says("a root that was not told yet", young, spiffe.ReasonUntrusted)
			if profile == spiffe.ProfileSPIFFE {
				// whoever proves the endpoint with a root that is not told yet is nobody
				p.publish(2)
				if got := o.problem(); !strings.Contains(got, "untrusted") {
					t.Errorf("an endpoint that was not told: %q", got)
				}
				return
			}
			p.publish(2)
			if got := o.problem(); got != "" {
				t.Fatal(got)
			}
			o.says("both roots, old", old, "")
			o.says("both roots, new", young, "")
		})
	}
}

func TestABundleWithoutKeysRevokesAtOnce(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	o := p.must(p.web(), ca)
	o.problem()
	o.says("before", p.svid(), "")
	changed, stop := o.source.Watch()
	defer stop()
	<-changed
	p.Tell(http.StatusOK, []byte(`{"keys": [], "spiffe_sequence": 2}`))
	if got := o.problem(); got != "" || o.Status()[0].Authorities != 0 {
		t.Fatalf("%q, %+v", got, o.Status())
	}
	<-changed // Envoy is told
	o.says("after", p.svid(), spiffe.ReasonNoBundle)
	o.says("ours", mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)}), "")
	// also after a restart while the endpoint is away, and whatever bootstrap says
	r := spiffe.Relation{TrustDomain: partnerDomain, URL: "https://127.0.0.1:1", Profile: spiffe.ProfileWeb, Bootstrap: p.file("old.json", p.document(1))}
	p.must(r, ca).says("after a restart", p.svid(), spiffe.ReasonNoBundle)
}

func TestTheSequenceNeverGoesBack(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	stolen := p.svid()
	old := p.document(6)
	if err := p.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	if err := p.DropOldRoots(); err != nil {
		t.Fatal(err)
	}
	p.publish(7)
	r := p.web()
	o := p.must(r, ca)
	o.problem()
	o.says("its root was taken out", stolen, spiffe.ReasonUntrusted)
	none, err := p.BundleDocument(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string][]byte{"an older bundle": old, "a bundle without a sequence": none} {
		p.Tell(http.StatusOK, body)
		if got := o.problem(); !strings.Contains(got, "spiffe_sequence goes back from 7 to") {
			t.Errorf("%s: %q", what, got)
		}
	}
	o.says("after an older one was told", stolen, spiffe.ReasonUntrusted)
	o.says("the last good one", p.svid(), "")

	// what was kept outlives the process, and an older bootstrap file
	p.Tell(http.StatusOK, old)
	r.Bootstrap = p.file("old.json", old)
	o = p.must(r, ca)
	o.says("after a restart, before the first answer", p.svid(), "")
	if got := o.problem(); !strings.Contains(got, "goes back") {
		t.Errorf("after a restart: %q", got)
	}
	o.says("after a restart", stolen, spiffe.ReasonUntrusted)

	// a bootstrap file of a higher sequence is how an operator gets over it
	if err := p.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	r.Bootstrap = p.file("new.json", p.document(8))
	p.must(r, ca).says("a newer bootstrap file", p.svid(), "")
}

// TestWhatIsTakenOutIsOutWhateverTheDiskSays: a full disk keeps no authority in force,
// and once it can be written again, no restart brings one back either.
func TestWhatIsTakenOutIsOutWhateverTheDiskSays(t *testing.T) {
	for _, c := range []struct {
		name  string
		tell  func(p *partner)
		after spiffe.Reason
	}{
		{"one root", func(p *partner) {
			must(p.t, p.RotateRoot())
			must(p.t, p.DropOldRoots())
			p.publish(2)
		}, spiffe.ReasonUntrusted},
		{"all", func(p *partner) { p.Tell(http.StatusOK, []byte(`{"keys": [], "spiffe_sequence": 2}`)) }, spiffe.ReasonNoBundle},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca, p := devtest.CA(t), newPartner(t)
			r := p.web()
			o := p.must(r, ca)
			o.problem()
			stolen := p.svid()
			o.says("before", stolen, "")

			must(t, os.Rename(p.dir, p.dir+".away"))
			c.tell(p)
			if got := o.problem(); !strings.Contains(got, "keep the bundle") {
				t.Errorf("the disk: %q", got)
			}
			o.says("while nothing can be written", stolen, c.after)

			must(t, os.Rename(p.dir+".away", p.dir))
			if got := o.problem(); got != "" {
				t.Errorf("the same bundle again: %q", got)
			}
			r.URL = "https://127.0.0.1:1"
			p.must(r, ca).says("after a restart while the endpoint is away", stolen, c.after)
		})
	}
}

// TestABootstrapFileThatCountedIsNotForgotten: it got over what was kept, so what was
// kept does not come back once the file is gone.
func TestABootstrapFileThatCountedIsNotForgotten(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	r := p.web()
	p.must(r, ca).problem()
	stolen := p.svid()
	must(t, p.RotateRoot())
	must(t, p.DropOldRoots())
	r.URL, r.Bootstrap = "https://127.0.0.1:1", p.file("new.json", p.document(2))
	p.must(r, ca).says("with the file", stolen, spiffe.ReasonUntrusted)
	r.Bootstrap = ""
	o := p.must(r, ca)
	o.says("without the file", stolen, spiffe.ReasonUntrusted)
	o.says("without the file, theirs", p.svid(), "")
}

func TestABadAnswerLeavesTheLastGoodBundle(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	r := p.web()
	o := p.must(r, ca)
	o.problem()
	leaf := mint(t, ca, dev.Template{ID: devtest.ID(t, refunder)})
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"an error", 500, "", "500"},
		{"a redirect", 302, "", "302"},
		{"nothing", 200, "", "unable to parse"},
		{"no keys", 200, `{}`, "no authorities"},
		{"keys that are null", 200, `{"keys": null}`, "no authorities"},
		{"a page", 200, "<html>", "unable to parse"},
		{"two certificates in one entry", 200, strings.Replace(string(p.document(9)), `"x5c":[`, `"x5c":["AA==",`, 1), "unable to parse"},
		{"one that may not sign", 200, bundleOf(t, p, leaf), "may not sign"},
		{"an endless one", 200, strings.Repeat(" ", egress.MaxAnswer+1), "256 KiB"},
	} {
		p.Tell(c.status, []byte(c.body))
		if got := o.problem(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		o.says(c.name, p.svid(), "")
	}
	if s := o.Status()[0]; s.Authorities != 1 || s.Fetched.IsZero() {
		t.Errorf("%+v", s)
	}
	p.publish(10)
	if got := o.problem(); got != "" {
		t.Errorf("afterwards: %q", got)
	}
}

// bundleOf is a bundle with a leaf for an authority.
func bundleOf(t *testing.T, p *partner, leaf tls.Certificate) string {
	t.Helper()
	b := spiffebundle.FromX509Authorities(p.TrustDomain(), []*x509.Certificate{leaf.Leaf})
	b.SetSequenceNumber(9)
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnEndpointMustBeTheOneThatIsMeant(t *testing.T) {
	ca := devtest.CA(t)
	t.Run("another ID of the same domain", func(t *testing.T) {
		p := newPartner(t)
		r := p.spiffe()
		r.EndpointID = "spiffe://" + partnerDomain + "/other"
		if got := p.must(r, ca).problem(); !strings.Contains(got, string(spiffe.ReasonNotThisWorkload)) {
			t.Error(got)
		}
	})
	t.Run("an authority that only looks like theirs", func(t *testing.T) {
		p, impostor := newPartner(t), newPartner(t)
		r := impostor.spiffe()
		r.Bootstrap = p.file("bundle.json", p.document(1))
		o := impostor.must(r, ca)
		if got := o.problem(); !strings.Contains(got, string(spiffe.ReasonUntrusted)) {
			t.Error(got)
		}
		o.says("the impostor's workload", impostor.svid(), spiffe.ReasonUntrusted)
	})
	t.Run("a host that nobody vouches for", func(t *testing.T) {
		p := newPartner(t)
		r := p.web()
		r.CA = ""
		if got := p.must(r, ca).problem(); !strings.Contains(got, "certificate") {
			t.Error(got)
		}
	})
	t.Run("an endpoint of our own domain", func(t *testing.T) {
		p := newPartner(t)
		p.server.TLS = ca.EndpointTLS(devtest.ID(t, "/bundles"))
		p.server.StartTLS()
		t.Cleanup(p.server.Close)
		r := spiffe.Relation{TrustDomain: partnerDomain, URL: p.server.URL, Profile: spiffe.ProfileSPIFFE, EndpointID: devtest.ID(t, "/bundles").String()}
		o := p.must(r, ca)
		if got := o.problem(); got != "" {
			t.Error(got)
		}
		o.says("theirs", p.svid(), "")
	})
	t.Run("this machine, without --dev", func(t *testing.T) {
		p := newPartner(t)
		o := p.must(p.web(), ca, func(c *spiffe.FederationConfig) { c.Dev = false })
		if got := o.problem(); !strings.Contains(got, "not on the open Internet") || p.Asked() != 0 {
			t.Errorf("%q, asked %d times", got, p.Asked())
		}
	})
	t.Run("a development CA, without --dev", func(t *testing.T) {
		p := newPartner(t)
		r := p.web()
		r.AllowAddresses = []string{"127.0.0.1"}
		o := p.must(r, ca, func(c *spiffe.FederationConfig) { c.Dev = false })
		if got := o.problem(); !strings.Contains(got, "the bundle is a development CA's") { // its keys are refused by themselves
			t.Error(got)
		}
		o.says("theirs", p.svid(), spiffe.ReasonNoBundle)
	})
}

// What an endpoint says of its domain counts, whatever comes with the SVID.
func TestTheEndpointSpeaksForItsDomain(t *testing.T) {
	ca, p := devtest.CA(t), newPartner(t)
	told := p.svid()
	svid, err := ca.SVID(devtest.ID(t, gateway), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	source := spiffe.Fixed(svid, spiffe.NewBundles(map[spiffeid.TrustDomain][]*x509.Certificate{ca.TrustDomain(): ca.Roots(), p.TrustDomain(): p.Roots()}))
	if err := p.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	if err := p.DropOldRoots(); err != nil {
		t.Fatal(err)
	}
	p.publish(2)
	o := p.must(p.web(), ca, func(c *spiffe.FederationConfig) { c.Sources = append(c.Sources, source) })
	o.problem()
	for _, s := range []*spiffe.Source{o.source, source} {
		if got := s.Bundles().Authorities(p.TrustDomain()); len(got) != 1 || !got[0].Equal(p.Roots()[0]) {
			t.Errorf("%d authorities are in force, want the one of the endpoint", len(got))
		}
	}
	o.says("what came with the SVID", told, spiffe.ReasonUntrusted)
	o.says("what the endpoint tells", p.svid(), "")
}

func TestHowOftenABundleIsFetched(t *testing.T) {
	ca := devtest.CA(t)
	for hint, want := range map[int64]time.Duration{
		1: 5 * time.Second, 5: 5 * time.Second, 600: 10 * time.Minute, 86400: time.Hour, -1: 5 * time.Second, 1 << 62: 5 * time.Minute, 0: 5 * time.Minute,
	} {
		p := newPartner(t)
		o := p.must(p.web(), ca)
		p.Tell(http.StatusOK, fmt.Appendf(nil, `{"keys": [], "spiffe_sequence": 2, "spiffe_refresh_hint": %d}`, hint))
		if got := o.Refresh(t.Context())[0]; got != want {
			t.Errorf("hint %d s: %s, want %s", hint, got, want)
		}
		p.Tell(http.StatusInternalServerError, nil)
		for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if got := o.Refresh(t.Context())[0]; got != want {
				t.Errorf("after a failure: %s, want %s", got, want)
			}
		}
	}
}

func TestRelationsSayWhatTheyMean(t *testing.T) {
	good := spiffe.Relation{TrustDomain: partnerDomain, URL: "https://spire.partner.example/bundle", Profile: spiffe.ProfileSPIFFE, EndpointID: "spiffe://partner.example/spire/server", Bootstrap: "partner.json"}
	for _, c := range []struct {
		name   string
		change func(*spiffe.Relation)
		want   string
	}{
		{"as it should be", func(*spiffe.Relation) {}, ""},
		{"our own", func(r *spiffe.Relation) {
			*r = spiffe.Relation{TrustDomain: devtest.Domain, URL: r.URL, Profile: spiffe.ProfileWeb}
		}, "our own"},
		{"not listed", func(r *spiffe.Relation) { r.TrustDomain = "other.example" }, "trust_domains"},
		{"no https", func(r *spiffe.Relation) { r.URL = "http://127.0.0.1/bundle" }, "url"},
		{"a user in it", func(r *spiffe.Relation) { r.URL = "https://a@partner.example" }, "url"},
		{"no profile", func(r *spiffe.Relation) { r.Profile = "" }, "profile"},
		{"an unknown profile", func(r *spiffe.Relation) { r.Profile = "https" }, "profile"},
		{"no endpoint", func(r *spiffe.Relation) { r.EndpointID = "" }, "endpoint_id"},
		{"an endpoint without a path", func(r *spiffe.Relation) { r.EndpointID = "spiffe://partner.example" }, "endpoint_id"},
		{"an endpoint of nobody's domain", func(r *spiffe.Relation) { r.EndpointID = "spiffe://other.example/a" }, "no bundle of other.example"},
		{"no bootstrap", func(r *spiffe.Relation) { r.Bootstrap = "" }, "bootstrap"},
		{"roots of the other profile", func(r *spiffe.Relation) { r.CA = "ca.pem" }, "ca"},
		{"endpoint of the other profile", func(r *spiffe.Relation) { r.Profile = spiffe.ProfileWeb }, "endpoint_id"},
		{"an address that is none", func(r *spiffe.Relation) { r.AllowAddresses = []string{"partner.example"} }, "allow_addresses"},
		{"all addresses", func(r *spiffe.Relation) { r.AllowAddresses = []string{"0.0.0.0/0"} }, "allow_addresses"},
	} {
		r := good
		c.change(&r)
		err := spiffe.CheckRelations([]spiffe.Relation{r}, devtest.ID(t, gateway), []string{devtest.Domain, partnerDomain})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for _, name := range []string{"spiffe://" + devtest.Domain, "spiffe://" + devtest.Domain + "/a", "spiffe://" + partnerDomain, ""} {
		r := spiffe.Relation{TrustDomain: name, URL: good.URL, Profile: spiffe.ProfileWeb}
		if err := spiffe.CheckRelations([]spiffe.Relation{r}, devtest.ID(t, gateway), []string{devtest.Domain, partnerDomain, name}); err == nil {
			t.Errorf("%q is taken for the name of a foreign trust domain", name)
		}
	}
	if err := spiffe.CheckRelations([]spiffe.Relation{good, good}, devtest.ID(t, gateway), []string{partnerDomain}); err == nil {
		t.Error("twice the same")
	}
}
