package limit

import (
	"sync"
	"time"
)

// maxKeys is how many keys are remembered.
const maxKeys = 10_000

// strangers is the one key of all that there is no room for: nobody gets their own
// tries back by showing up under many names.
const strangers = ""

// Limiter counts tries. Make it with New. It is safe for concurrent use, and its
// memory is bounded: once it is full, keys that are new share the tries of one.
type Limiter struct {
	now   func() time.Time
	burst int
	every time.Duration

	mu    sync.Mutex
	whole map[string]time.Time // when the tries of a key are whole again
}

// New returns a Limiter that gives each key burst tries, and one back after each
// period.
func New(now func() time.Time, burst int, every time.Duration) *Limiter {
	return &Limiter{now: now, burst: burst, every: every, whole: map[string]time.Time{}}
}

// Take takes one try of key. If there is none it takes nothing, and says how long it
// is until there is one: always above 0.
func (l *Limiter) Take(key string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, whole := l.next(key)
	if wait := l.over(whole); wait > 0 {
		return wait, false
	}
	l.whole[key] = whole
	return 0, true
}

// Spent reports whether key has no try left, and takes none.
func (l *Limiter) Spent(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, whole := l.next(key)
	return l.over(whole) > 0
}

// next returns under which key a try counts, and when its tries would be whole again
// after one more.
func (l *Limiter) next(key string) (string, time.Time) {
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
	return key, whole.Add(l.every)
}

// over returns by how much that is more than the burst.
func (l *Limiter) over(whole time.Time) time.Duration {
	return whole.Sub(l.now()) - time.Duration(l.burst)*l.every
}

// forget drops keys that are whole again.
func (l *Limiter) forget(now time.Time) {
	for k, whole := range l.whole {
		if !whole.After(now) {
			delete(l.whole, k)
		}
	}
}
