package oauth

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// limiter allows each key, an address or a principal, a burst, and then one try a
// period.
type limiter struct {
	now   func() time.Time
	burst int
	every time.Duration

	mu    sync.Mutex
	whole map[string]time.Time // when the tries of a key are whole again
}

const (
	addressBurst = 120 // of one client address, whoever speaks from there
	addressEvery = 100 * time.Millisecond
	callerBurst  = 120 // of one principal, from wherever it speaks
	callerEvery  = 100 * time.Millisecond
	maxKeys      = 10_000

	// strangers is the one key of all that there is no room for: nobody gets their own
	// tries back by showing up under many names.
	strangers = ""
)

func newLimiter(now func() time.Time, burst int, every time.Duration) *limiter {
	return &limiter{now: now, burst: burst, every: every, whole: map[string]time.Time{}}
}

// take takes one try of key, or says after what time there is one.
func (l *limiter) take(key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if _, known := l.whole[key]; !known && len(l.whole) >= maxKeys {
		if l.forget(now); len(l.whole) >= maxKeys {
			key = strangers
		}
	}
	whole := l.whole[key]
	if whole.Before(now) {
		whole = now
	}
	whole = whole.Add(l.every)
	if over := whole.Sub(now) - time.Duration(l.burst)*l.every; over > 0 {
		return &Error{Code: TemporarilyUnavailable, Description: "too many requests: try again later", Status: http.StatusTooManyRequests, RetryAfter: max(over, time.Second)}
	}
	l.whole[key] = whole
	return nil
}

// forget drops keys that are whole again.
func (l *limiter) forget(now time.Time) {
	for k, whole := range l.whole {
		if !whole.After(now) {
			delete(l.whole, k)
		}
	}
}

// addressOf returns what counts as one client address: an IPv4 address, or a /64.
func addressOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}
