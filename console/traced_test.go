package console_test

import (
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/trace"
)

// TestTracePageLeadsToTheTracesOfOperators: it shows the trace ids of the request and
// of each action, and none where nothing is exported.
func TestTracePageLeadsToTheTracesOfOperators(t *testing.T) {
	for _, on := range []bool{true, false} {
		w := newWorld(t, func(c *access.Config) {
			if !on {
				return
			}
			var err error
			c.Traces, err = trace.New(trace.Config{Settings: trace.Settings{Endpoint: "http://127.0.0.1:1", Insecure: true}, Service: "mayflyd"}) // it does not run
			check(t, err)
		})
		s, alice := w.spool(), w.alice()
		if on {
			s.trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		}
		r := alice.granted()
		s.act(r, "refunds.create", audit.ResultSent)
		page := alice.get("/trace/" + r.Grant.String())
		id, _ := trace.OfRequest(r.ID)
		if strings.Contains(page, `Trace id <span class="id">`+id.String()) != on || strings.Contains(page, "trace 4bf92f3577b34da6a3ce929d0e0e4736") != on {
			t.Errorf("traces on is %v: %s", on, page)
		}
	}
}
