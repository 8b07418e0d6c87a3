package server

import (
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/limit"
)

const (
	limitBurst = 30              // tries that a peer address has at once
	limitEvery = 2 * time.Second // and one more each
)

// allow takes one try of the peer of r. It only slows guessing down, and guessing 256
// bits is hopeless without it.
func allow(l *limit.Limiter, r *http.Request) error {
	if _, ok := l.Take(limit.Peer(r)); ok {
		return nil
	}
	return tooMany()
}

func tooMany() error {
	return problem(http.StatusTooManyRequests, codeRateLimited, "Too many tries", "too many tries from this address: try again in a few seconds")
}
