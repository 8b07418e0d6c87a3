package server

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	limitBurst = 30              // tries that a peer has at once
	limitEvery = 2 * time.Second // and one more each
	limitPeers = 10_000          // that are remembered
)

// limiter allows each peer address a burst, and then one try a period. Behind a
// reverse proxy all are one peer; it only slows guessing down, and guessing 256
// bits is hopeless without it.
type limiter struct {
	now func() time.Time

	mu    sync.Mutex
	peers map[netip.Prefix]time.Time // when the peer's tries are whole again
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, peers: map[netip.Prefix]time.Time{}}
}

// allow takes one try of the peer of r.
func (l *limiter) allow(r *http.Request) error {
	if l.take(peerOf(r)) {
		return nil
	}
	return tooMany()
}

// spent reports whether the peer of r has no try left, and takes none.
func (l *limiter) spent(r *http.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[peerOf(r)].Add(limitEvery).Sub(l.now()) > limitBurst*limitEvery
}

func tooMany() error {
	return problem(http.StatusTooManyRequests, codeRateLimited, "Too many tries", "too many tries from this address: try again in a few seconds")
}

func (l *limiter) take(peer netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	whole := l.peers[peer]
	if whole.Before(now) {
		whole = now
	}
	whole = whole.Add(limitEvery)
	if whole.Sub(now) > limitBurst*limitEvery {
		return false
	}
	if len(l.peers) >= limitPeers {
		l.forget(now)
	}
	l.peers[peer] = whole
	return true
}

// forget drops peers that are whole again, and everybody if that is nobody.
func (l *limiter) forget(now time.Time) {
	for p, whole := range l.peers {
		if !whole.After(now) {
			delete(l.peers, p)
		}
	}
	if len(l.peers) >= limitPeers {
		clear(l.peers)
	}
}

// peerOf returns the network that counts as one peer: an IPv4 address, or a /64.
func peerOf(r *http.Request) netip.Prefix {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
