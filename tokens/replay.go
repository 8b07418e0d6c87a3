package tokens

import (
	"crypto/sha256"
	"sync"
	"time"
)

type verdict uint8

const (
	replayed verdict = iota // the zero value refuses
	full
	fresh
)

// replay remembers the proofs of a window, each until it is too old to be taken
// anyway. It never forgets one to make room: it is full then.
type replay struct {
	mu   sync.Mutex
	room int
	// Two halves: what is in old may be dropped when young is a whole window old.
	young, old map[[sha256.Size]byte]struct{}
	turned     time.Time
	latest     time.Time // never steps back: what was dropped must not become new again
}

func newReplay(room int) *replay {
	return &replay{room: room, young: map[[sha256.Size]byte]struct{}{}, old: map[[sha256.Size]byte]struct{}{}}
}

// take notes a proof, made at issued, by its key and jti: only the first call for it is
// fresh, and none where time has been later than the proof counts.
func (r *replay) take(jkt [sha256.Size]byte, jti string, issued, now time.Time) verdict {
	id := sha256.Sum256(append(jkt[:], jti...))
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.After(r.latest) {
		r.latest = now
	}
	if r.latest.Sub(issued) > ProofLife {
		return replayed
	}
	r.turn(r.latest)
	if _, ok := r.young[id]; ok {
		return replayed
	}
	if _, ok := r.old[id]; ok {
		return replayed
	}
	if len(r.young)+len(r.old) >= r.room {
		return full
	}
	r.young[id] = struct{}{}
	return fresh
}

// turn drops what no proof can be repeated of: a proof counts from ProofLife before
// its time to ProofLife after it, so one that was noted two of these ago is dead.
func (r *replay) turn(now time.Time) {
	const window = 2*ProofLife + time.Second
	switch age := now.Sub(r.turned); {
	case age < window:
		return
	case age >= 2*window: // nobody came for a whole window
		r.old = map[[sha256.Size]byte]struct{}{}
	default:
		r.old = r.young
	}
	r.young = map[[sha256.Size]byte]struct{}{}
	r.turned = now
}
