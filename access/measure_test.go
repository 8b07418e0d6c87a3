package access_test

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/metrics"
)

// TestARevokeIsMeasured: an operator sees how long each gateway took, and which one
// never answered.
func TestARevokeIsMeasured(t *testing.T) {
	registry := metrics.New("test")
	w := newWorldMeasured(t, registry.Revocations())
	r := w.granted()
	i := w.join("1")
	w.join("2") // hears nothing
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	started, at := w.clock(), w.head()
	w.pass(200 * time.Millisecond)
	receipt := feed.Receipt{Instance: i, At: at, LastAllowed: started.Add(30 * time.Millisecond), LastAction: "act_x"}
	if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{receipt}); err != nil {
		t.Fatal(err)
	}
	shows(t, registry, "mayfly_revoke_acknowledged_seconds_count 0", "mayfly_revoke_closed_total 0") // one is awaited
	w.pass(2 * time.Minute)                                                                          // longer than any lease
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	shows(t, registry,
		`mayfly_revoke_acknowledged_seconds_bucket{le="0.1"} 0`, `mayfly_revoke_acknowledged_seconds_bucket{le="0.25"} 1`,
		`mayfly_revoke_last_allowed_seconds_bucket{le="0.025"} 0`, `mayfly_revoke_last_allowed_seconds_bucket{le="0.05"} 1`,
		"mayfly_revoke_closed_total 1")
}

var revokes = regexp.MustCompile(`(?m)^mayfly_revoke_.*_(count|sum|total) .*$`)

func newWorldMeasured(t *testing.T, m *metrics.Revocations) *world {
	t.Helper()
	w := newWorld(t)
	w.revoked = m
	w.again(func(s access.Store) access.Store { return s })
	return w
}

// shows looks at a registry as a scraper does.
func shows(t *testing.T, r *metrics.Registry, lines ...string) {
	t.Helper()
	seen := httptest.NewRecorder()
	r.Handler().ServeHTTP(seen, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, line := range lines {
		if !strings.Contains(seen.Body.String(), line+"\n") {
			t.Errorf("no line %q among those of the revoke:\n%s", line, revokes.FindAllString(seen.Body.String(), -1))
		}
	}
}
