package proxy

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// holder is who may use a grant, on which app: the key of every look-up.
type holder struct {
	app       string
	principal identity.Principal
}

// held is one grant in the table, in force by what the feed said, or past: kept
// for a while so that a refusal can say what became of it. It is never changed, but
// for what happens to it.
type held struct {
	packed
	fate  *fate                // nil: it is in force as it was told
	lived atomic.Pointer[life] // nil: nothing happened to it yet
}

// fate is what became of a grant, or has to become of it before it counts.
type fate struct {
	past     bool
	refused  grant.Reason // past because it was never taken in: not understood, or not proven
	waits    *pendingLeaf // in force once this was shown on the record; nil: nothing is waited for
	until    time.Time    // a past one is forgotten then
	revoked  time.Time    // the marks of grant.Grant
	finished time.Time
	early    grant.Reason
}

// newPast returns what is kept of a grant that ended for the reason that a removal
// gave. It is never in force.
func newPast(p packed, why grant.Reason, at, until time.Time) *held {
	f := &fate{past: true, until: until}
	switch why {
	case grant.Ended:
		f.finished = at
	case grant.Revoked:
		f.revoked = at
	default:
		f.revoked, f.early = at, why
	}
	return &held{packed: p, fate: f}
}

func (h *held) past() bool { return h.fate != nil && h.fate.past }

func (h *held) waits() *pendingLeaf {
	if h.fate == nil {
		return nil
	}
	return h.fate.waits
}

func (h *held) refused() grant.Reason {
	if h.fate == nil {
		return ""
	}
	return h.fate.refused
}

// open returns the grant with its marks.
func (h *held) open() grant.Grant { return h.marked(h.unpack()) }

func (h *held) marked(g grant.Grant) grant.Grant {
	if f := h.fate; f != nil {
		g.Revoked, g.Finished, g.EndedEarly = f.revoked, f.finished, f.early
	}
	return g
}

// life returns what happens to it, from the first time on that anything does.
func (h *held) life() *life {
	if l := h.lived.Load(); l != nil {
		return l
	}
	h.lived.CompareAndSwap(nil, newLife())
	return h.lived.Load()
}

func (h *held) holder() holder { return holder{h.app(), h.who.Value().principal} }

// order puts the grant that is chosen first: ending last, then the smallest id
// (contracts §4).
func order(a, b *held) int {
	if c := cmp.Compare(b.notAfter, a.notAfter); c != 0 {
		return c
	}
	return a.id.Compare(b.id)
}

// forgotten puts the past grant that is forgotten first.
func forgotten(a, b *held) int {
	if c := a.fate.until.Compare(b.fate.until); c != 0 {
		return c
	}
	return a.id.Compare(b.id)
}

// life is what happens to a grant or a session while it is held.
type life struct {
	gone chan struct{} // closed when it is no longer held as it was

	mu     sync.Mutex
	passed passing
	under  int           // requests under way that are held
	cut    uint32        // that its end cut
	empty  chan struct{} // closed when none is held any more; nil: nobody waits for that
}

// passing is what was let through under a grant or a session.
type passing struct {
	last   time.Time
	action grant.ActionID
	bound  time.Time // when the last direct request reaches its deadline
}

func newLife() *life { return &life{gone: make(chan struct{})} }

// over reports whether it is no longer held as it was.
func (l *life) over() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

func (l *life) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under++
}

func (l *life) letGo(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.under--; cut {
		l.cut++
	}
	if l.under == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

// settled waits until what was under way has ended or goes on under another grant,
// and returns how many requests were cut. It is called once gone is closed, by one
// goroutine.
func (l *life) settled(ctx context.Context) uint32 {
	l.mu.Lock()
	empty := l.empty
	if l.under > 0 && empty == nil {
		empty = make(chan struct{})
		l.empty = empty
	}
	l.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// pass notes that an action is let through: deadline is when Envoy ends it, zero if
// it goes through the hop.
func (l *life) pass(now time.Time, action grant.ActionID, deadline time.Time) {
	p := passing{last: now, action: action}
	if !deadline.IsZero() {
		p.bound = deadline.Add(answerLimit)
	}
	l.note(p)
}

func (l *life) note(p passing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed = l.passed.merge(p)
}

func (l *life) noted() passing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed
}

func (p passing) merge(q passing) passing {
	if q.last.After(p.last) {
		p.last, p.action = q.last, q.action
	}
	if q.bound.After(p.bound) {
		p.bound = q.bound
	}
	return p
}
