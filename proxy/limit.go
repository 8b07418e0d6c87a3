package proxy

import (
	"sync"
	"time"
)

// How often this gateway asks about sessions that the table does not hold, and how
// many answers it remembers. What callers make up must not become a load on the
// control plane.
const (
	askRate    = 20 // a second
	askBurst   = 60
	maxRefused = 8192
)

// bucket is a token bucket on the boot clock. It is safe for concurrent use; the
// zero value is full.
type bucket struct {
	mu   sync.Mutex
	used float64 // tokens that are out
	last time.Duration
}

// take reports whether there was a token at a reading of the boot clock.
func (b *bucket) take(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now > b.last {
		b.used = max(0, b.used-(now-b.last).Seconds()*askRate)
		b.last = now
	}
	if b.used+1 > askBurst {
		return false
	}
	b.used++
	return true
}
