package access

import (
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// asking keeps providers from being asked twice at once about one person. The zero
// value is ready.
type asking struct {
	mu    sync.Mutex
	now   map[identity.Principal]chan struct{} // closed when the answer is in
	last  map[identity.Principal]time.Time     // of the last question
	tided time.Time
}

// enter begins a question about p at now, if none is under way and the last one
// began at least rest ago: the caller calls leave when the answer is in. Otherwise
// leave is nil, and busy, unless it is nil too, is closed when the question under
// way has its answer.
func (a *asking) enter(p identity.Principal, now time.Time, rest time.Duration) (leave func(), busy <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch, ok := a.now[p]; ok {
		return nil, ch
	}
	if last, ok := a.last[p]; ok && now.Sub(last) < rest {
		return nil, nil
	}
	if a.now == nil {
		a.now, a.last = map[identity.Principal]chan struct{}{}, map[identity.Principal]time.Time{}
	}
	ch := make(chan struct{})
	a.now[p], a.last[p] = ch, now
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.now, p)
		close(ch)
	}, nil
}

// tidy forgets questions of long ago and reports whether it is time to tidy more:
// once in idleEvery.
func (a *asking) tidy(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.tided) < idleEvery {
		return false
	}
	a.tided = now
	for p, at := range a.last {
		if now.Sub(at) >= refreshRest {
			delete(a.last, p)
		}
	}
	return true
}
