package trace

import (
	"encoding/binary"
	"math"
	"sync"
	"time"
)

// What a process exports at most in a second beyond its share, whoever asks for it.
const (
	callerRate  = 50 // actions whose caller said that the trace is sampled
	refusalRate = 50 // refusals
)

// chosen reports whether a trace is in the share: the same everywhere, by its id
// alone. The id is one of ours: of one that a caller chose, it could choose any.
func chosen(id ID, share float64) bool {
	if share >= 1 {
		return true
	}
	return float64(binary.BigEndian.Uint64(id[8:])>>11) < share*math.Exp2(53)
}

// allowance lets through so many a second, and as many at once. It is safe for
// concurrent use.
type allowance struct {
	rate float64

	mu   sync.Mutex
	left float64
	at   time.Time
}

func newAllowance(rate float64) *allowance { return &allowance{rate: rate, left: rate} }

func (a *allowance) take(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if past := now.Sub(a.at); past > 0 {
		a.left, a.at = min(a.rate, a.left+past.Seconds()*a.rate), now
	}
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}
