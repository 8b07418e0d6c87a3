package integration

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
)

// An operator who scrapes both processes sees that a revoke was taken, and how fresh
// the gateway is; no name of a principal and no id of a grant stands there.
func TestMetricsTellOfARevoke(t *testing.T) {
	p := theProduct(t)
	before := p.revokes(t)
	g := p.mayRefund(t, "ch_metrics", time.Minute)
	if _, err := p.bob.Revoke(t.Context(), g.ID, api.Because{Reason: "seen enough"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoke is measured", func() error {
		if p.revokes(t) == before {
			return errors.New("still " + before)
		}
		return nil
	})
	gateway, err := p.gw.Metrics(t.Context())
	if err != nil || !strings.Contains(gateway, "\nmayfly_gateway_ready 1\n") || !strings.Contains(gateway, "\nmayfly_gateway_lease_age_seconds ") {
		t.Fatalf("%v\n%s", err, gateway)
	}
	control, err := p.Metrics(t.Context())
	if err != nil || !strings.Contains(control, "\nmayfly_gateways_strayed 0\n") {
		t.Fatalf("%v\n%s", err, control)
	}
	for _, name := range []string{"grt_", "spiffe://", "user:", "acme.example"} {
		if strings.Contains(control+gateway, name) {
			t.Errorf("a metric tells %s", name)
		}
	}
}

// revokes is the line that counts acknowledgements.
func (p *product) revokes(t *testing.T) string {
	t.Helper()
	text, err := p.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(text, "\nmayfly_revoke_acknowledged_seconds_count ")
	if !found {
		t.Fatalf("no such metric in\n%s", text)
	}
	line, _, _ = strings.Cut(line, "\n")
	return line
}
