package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

// asPartner is a workload of the partner at the gateway, whose SVID its CA signs now.
func (p *product) asPartner(t *testing.T) caller {
	t.Helper()
	id, err := p.Env.Partner.ID("/ns/pay/sa/refunder")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.Env.Partner.Mint(dev.Template{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return p.showing(t, cert)
}

// ask asks for a report, and wants the same connection as before.
func (c caller) asked(t *testing.T, want string) error {
	t.Helper()
	a, reused := c.send(t, http.MethodGet, reportsURL("/daily"), nil)
	if !reused {
		return fmt.Errorf("the connection was lost: %s", a.text)
	}
	if a.reason() != want {
		return fmt.Errorf("%d %s", a.status, a.text)
	}
	return nil
}

// bundles waits until mayfly nodes tells of the partner's bundle, at mayflyd and at
// the gateway, as it should.
func (p *product) bundles(t *testing.T, what string, ok func(api.Bundle) bool) {
	t.Helper()
	eventually(t, what, func() error {
		n, err := p.bob.Nodes(t.Context())
		if err != nil {
			return err
		}
		holders := 0
		for _, b := range n.Bundles {
			if b.TrustDomain == env.PartnerDomain && (b.Holder == "mayflyd" || strings.HasPrefix(b.Holder, env.SidecarID)) && ok(b) {
				holders++
			}
		}
		if holders != 2 {
			return fmt.Errorf("%+v", n.Bundles)
		}
		return nil
	})
}

// A partner's workloads come in by the bundle that the partner's endpoint tells, at
// Envoy and at our own check; when the bundle comes empty they are out, also on
// connections that are open, and nobody else loses one.
func TestAPartnersWorkloadsComeAndGoWithItsBundle(t *testing.T) {
	p := theFederation(t, env.Config{Federate: true, Endpoint: true})
	ours, theirs := p.as(t, "reporter", p.gw), p.asPartner(t)
	for _, c := range []caller{ours, theirs} {
		if a, _ := c.send(t, http.MethodGet, reportsURL("/daily"), nil); a.reason() != "no_grant" {
			t.Fatalf("at first: %d %s", a.status, a.text)
		}
	}
	p.bundles(t, "the bundle is fetched", func(b api.Bundle) bool { return b.Fetched != "" && b.Authorities == 1 && b.Problem == "" })

	p.Env.Endpoint.Tell(http.StatusInternalServerError, nil)
	p.bundles(t, "an endpoint that fails is told of", func(b api.Bundle) bool {
		return b.Fetched != "" && b.Authorities == 1 && strings.Contains(b.Problem, "500")
	})
	if err := theirs.asked(t, "no_grant"); err != nil {
		t.Errorf("the last good bundle: %v", err)
	}

	p.Env.Endpoint.Tell(http.StatusOK, []byte(`{"keys": [], "spiffe_sequence": 2}`))
	eventually(t, "the partner is out, on its open connection", func() error { return theirs.asked(t, "bad_certificate") })
	eventually(t, "Envoy refuses the partner", func() error {
		if a, err := p.asPartner(t).do(t.Context(), http.MethodGet, reportsURL("/daily"), nil); err == nil {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
	if err := ours.asked(t, "no_grant"); err != nil {
		t.Errorf("ours: %v", err)
	}
	p.bundles(t, "nobody is trusted", func(b api.Bundle) bool { return b.Authorities == 0 && b.Problem == "" })
}
