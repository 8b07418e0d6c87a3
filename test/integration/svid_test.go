package integration

import (
	"net/http"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/env"
)

// Every SVID of the product is replaced several times, and what the old ones opened
// ends with them: the gateway goes on hearing, shipping its record and having money
// acknowledged over connections of the new ones.
func TestAGatewayOutlivesItsSVIDs(t *testing.T) {
	needProduct(t)
	const life = 4 * time.Second
	p, err := startWith(env.Config{SVIDLife: life})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	p.mayRefund(t, "ch_outlives", 10*time.Minute)
	anew := func() answer {
		c, err := p.Caller(t.Context(), "refunder", p.gw)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return caller{c.Client}.refund(t, "ch_outlives", "1")
	}
	passes(t, "the first refund", anew)
	for end := time.Now().Add(3 * life); time.Now().Before(end); {
		if a := anew(); a.status != http.StatusOK && a.reason() != "record_unavailable" && a.reason() != "stale" {
			t.Fatalf("%d %s", a.status, a.text)
		}
	}
	passes(t, "a refund after three lives of SVIDs", anew)
}
