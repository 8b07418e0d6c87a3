package identity_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/identity"
)

// A gateway is in production until its own name says otherwise: whoever writes policy
// does not write certificates.
func TestAGatewayIsInProductionUnlessItsNameSaysNot(t *testing.T) {
	for id, want := range map[string]bool{
		"spiffe://acme.example/gw/sidecar":            true,
		"spiffe://acme.example/staging/gw/sidecar":    false,
		"spiffe://acme.example/env/dev/gw":            false,
		"spiffe://acme.example/test":                  false,
		"spiffe://acme.example/prod/test/gw":          true,
		"spiffe://acme.example/staging/production/gw": true,
		"spiffe://acme.example/staging-gw/sidecar":    true, // a whole segment, not a part of one
		"spiffe://acme.example/STAGING/gw":            true,
		"spiffe://staging.acme.example/gw/sidecar":    true, // the path, not the trust domain
		"spiffe://staging/gw":                         true,
		"spiffe://prod.acme.example/team/dev/gw":      true,
		"spiffe://eu.production2.example/dev/gw":      true,
		"spiffe://acme.example/prod-eu/ns/qa/gw":      true,
		"spiffe://acme.example/qa/Production-eu/gw":   true,
		"spiffe://acme.example/qa/nonprod/gw":         false,
		"user:idp:staging":                            true,
		"":                                            true,
	} {
		p, err := identity.ParsePrincipal(id)
		if err != nil && id != "" {
			t.Fatal(err)
		}
		if got := identity.Production(p); got != want {
			t.Errorf("%s: production is %t, want %t", id, got, want)
		}
	}
}
