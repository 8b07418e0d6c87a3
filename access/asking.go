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
	mute  map[string]silence                   // by provider
	tided time.Time
}

// silence is how long a provider has answered no question about anybody.
type silence struct{ since, last time.Time } // when the first and the last of them began

// answered notes whether the question that began at an instant had an answer.
func (a *asking) answered(provider string, at time.Time, yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if yes {
		delete(a.mute, provider)
		return
	}
	if a.mute == nil {
		a.mute = map[string]silence{}
	}
	s, ok := a.mute[provider]
	if !ok {
		s.since = at
	}
	if at.After(s.last) {
		s.last = at
	}
	a.mute[provider] = s
}

// silent reports whether a provider answers nobody: for as long as wait at least,
// and tried within it.
func (a *asking) silent(provider string, now time.Time, wait time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.mute[provider]
	return ok && now.Sub(s.since) >= wait && now.Sub(s.last) < wait
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
