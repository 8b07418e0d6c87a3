package main

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// TestAJWTSVIDCountsAsACertificateDoes: for the trust domains of the configuration, and by
// a development CA only where certificates of one count.
func TestAJWTSVIDCountsAsACertificateDoes(t *testing.T) {
	ca := devtest.CA(t)
	const issuer = "https://mayfly.acme.example"
	token, err := ca.JWTSVID(devtest.ID(t, "/a"), []string{issuer})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{dev: true, source: devtest.Source(t, ca, "/mayflyd"), domains: []spiffeid.TrustDomain{ca.TrustDomain()}}
	got, err := d.jwtSVID(t.Context(), token, issuer, time.Now())
	if err != nil || got.Principal.String() != devtest.ID(t, "/a").String() || !got.Ends.After(time.Now()) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(d *daemon){
		"a development key in production": func(d *daemon) { d.dev = false },
		"of a domain that is not listed": func(d *daemon) {
			d.domains = []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("other.example")}
		},
		"without any domain": func(d *daemon) { d.domains = nil },
	} {
		bent := *d
		change(&bent)
		if got, err := bent.jwtSVID(t.Context(), token, issuer, time.Now()); err == nil || !got.Principal.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
