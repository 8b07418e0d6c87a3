package proxy

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync"
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
// for a while so that a refusal can say what became of it. It is never changed.
type held struct {
	grant   grant.Grant
	life    *life
	past    bool
	refused grant.Reason // past because it was never taken in: not understood, or not proven
	waits   *pendingLeaf // in force once this was shown on the record; nil: nothing is waited for
	until   time.Time    // a past one is forgotten then
}

func (h *held) holder() holder { return holder{h.grant.Scope.App, h.grant.Principal} }

// order puts the grant that is chosen first: ending last, then the smallest id
// (contracts §4).
func order(a, b *held) int {
	if c := b.grant.NotAfter.Compare(a.grant.NotAfter); c != 0 {
		return c
	}
	return strings.Compare(a.grant.ID.String(), b.grant.ID.String())
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

// ended returns g marked by the reason that a removal gave. It is never in force.
func ended(g grant.Grant, why grant.Reason, at time.Time) grant.Grant {
	switch why {
	case grant.Ended:
		g.Finished = at
	case grant.Revoked:
		g.Revoked = at
	default:
		g.Revoked, g.EndedEarly = at, why
	}
	return g
}

// put returns list with h in place of the one with its id.
func put(list []*held, h *held) []*held {
	out := drop(list, h.grant.ID)
	at, _ := slices.BinarySearchFunc(out, h, order)
	return slices.Insert(out, at, h)
}

// drop returns a new list without the one with that id.
func drop(list []*held, id grant.GrantID) []*held {
	out := make([]*held, 0, len(list)+1)
	for _, h := range list {
		if h.grant.ID != id {
			out = append(out, h)
		}
	}
	return out
}

func same(a, b grant.Grant) bool { return reflect.DeepEqual(a, b) }
