package proxy

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

func TestP4_TheLeaseRunsFromTheSendingOfThePing(t *testing.T) {
	const limit = 15 * time.Second
	for _, c := range []struct {
		name  string
		sent  []time.Duration // readings of the boot clock, as their Pongs were applied
		now   time.Duration
		stale bool
	}{
		{"never heard", nil, time.Hour, true},
		{"just heard", []time.Duration{time.Hour}, time.Hour, false},
		{"a moment before its end", []time.Duration{time.Hour}, time.Hour + limit - 1, false},
		{"at its end", []time.Duration{time.Hour}, time.Hour + limit, true},
		{"a Pong that lay in buffers", []time.Duration{time.Hour - limit}, time.Hour, true},
		{"an old Pong after a new one", []time.Duration{time.Hour, time.Minute}, time.Hour + 1, false},
		{"a suspended machine", []time.Duration{time.Hour}, 9 * time.Hour, true},
		{"a boot clock before the Ping", []time.Duration{time.Hour}, time.Minute, true},
		{"a Ping at the start of the machine", []time.Duration{0}, time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l Lease
			for _, s := range c.sent {
				l.Renew(s)
			}
			if got := grant.ReasonOf(l.Check(c.now, limit)); (got == grant.Stale) != c.stale || got != "" && got != grant.Stale {
				t.Fatalf("got %q, want stale: %v", got, c.stale)
			}
		})
	}
}
