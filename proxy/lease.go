package proxy

import (
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// Lease is the proof that the control plane was heard recently enough. It counts
// from the sending of the newest Ping whose Pong's head is applied, on the boot
// clock, so that buffered heartbeats and a suspended machine do not lengthen it
// (contracts §2). Safe for concurrent use. The zero value is no lease.
type Lease struct {
	// sent is the boot clock's reading plus one, in nanoseconds; 0: none.
	sent atomic.Int64
}

// Renew notes that the Ping sent at that reading was answered and that its
// Pong's head is applied. A reading before the newest does nothing.
func (l *Lease) Renew(sent time.Duration) {
	for {
		old := l.sent.Load()
		if int64(sent)+1 <= old || l.sent.CompareAndSwap(old, int64(sent)+1) {
			return
		}
	}
}

// Age returns how long ago, at a reading of the boot clock, the lease was
// renewed; ok is false if it never was. A reading before the renewal is no age.
func (l *Lease) Age(now time.Duration) (age time.Duration, ok bool) {
	sent := l.sent.Load()
	if sent == 0 || int64(now) < sent-1 {
		return 0, false
	}
	return now - time.Duration(sent-1), true
}

// Check returns nil while the lease is younger than staleAfter, else a Denial
// with the reason stale.
func (l *Lease) Check(now, staleAfter time.Duration) error {
	age, ok := l.Age(now)
	switch {
	case !ok:
		return grant.Deny(grant.Stale, "the gateway has not yet heard from its control plane")
	case age >= staleAfter:
		return grant.Deny(grant.Stale, "the gateway last heard from its control plane %s ago, and %s is the limit",
			age.Round(time.Millisecond), staleAfter)
	}
	return nil
}
