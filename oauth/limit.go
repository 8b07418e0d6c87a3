package oauth

import (
	"net/http"
	"time"

	"github.com/mayflyproxy/mayfly/limit"
)

const (
	addressBurst = 120 // of one client address, whoever speaks from there
	addressEvery = 100 * time.Millisecond
	callerBurst  = 120 // of one principal, from wherever it speaks
	callerEvery  = 100 * time.Millisecond
)

// take takes one try of key, or says after what time there is one.
func take(l *limit.Limiter, key string) error {
	wait, ok := l.Take(key)
	if ok {
		return nil
	}
	return &Error{Code: TemporarilyUnavailable, Description: "too many requests: try again later", Status: http.StatusTooManyRequests, RetryAfter: max(wait, time.Second)}
}
