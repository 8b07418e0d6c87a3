package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/trace"
)

// TakeWithin is how long an action may wait to be taken by the hop.
const TakeWithin = 30 * time.Second

// outcomeGrace is how long after an action's deadline its outcome is awaited;
// then it is on record as unknown (design §5.7).
const outcomeGrace = 30 * time.Second

// maxActions bounds the actions under way in one process.
const maxActions = 100_000

// Action is one allowed try, from the decision to its outcome. It lives in the
// process that decided, and nowhere else: a hop of another process knows nothing
// of it and refuses.
type Action struct {
	ID        grant.ActionID
	Grant     grant.GrantID
	App       string
	Operation scope.Operation
	Secret    string // name of the credential, for the hop
	Key       string // kid of the token that was presented, "" without one
	Method    string
	Authority string
	Path      string // with query, as Check saw it
	Body      [32]byte
	HasBody   bool
	Hop       bool
	Guard     bool          // the guard holds its stream
	Observed  bool          // it passes undecided, without a grant and without a credential of ours
	Decided   time.Time     // t
	Deadline  time.Time     // nothing new is sent from here on
	Limit     time.Time     // of a guarded one: the Deadline under whatever other grant
	Trace     *trace.Action // nil: not exported

	Principal identity.Principal

	visit visit
}

type pending struct {
	Action
	taken   bool // by the hop
	guarded bool // by the guard
	cut     *Cut // why the guard cut it
}

// Actions are the ones under way. Each is taken by the hop at most once and
// closed exactly once. It is safe for concurrent use.
type Actions struct {
	mu      sync.Mutex
	pending map[grant.ActionID]*pending
}

// NewActions returns an empty set.
func NewActions() *Actions { return &Actions{pending: map[grant.ActionID]*pending{}} }

// Put adds an action. A full set is a denial: nothing is done that could not be
// followed to its outcome.
func (a *Actions) Put(action Action) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) >= maxActions {
		return grant.Deny(grant.Overloaded, "too many requests are under way")
	}
	a.pending[action.ID] = &pending{Action: action}
	return nil
}

// Take gives the hop the action that it presents, once and for 30 s, if method,
// authority and path are the ones that were decided on.
func (a *Actions) Take(id grant.ActionID, method, authority, path string, now time.Time) (Action, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.pending[id]
	switch {
	case !ok || p.taken || !p.Hop:
		return Action{}, grant.Deny(grant.Internal, "no such action waits to be taken")
	case now.Sub(p.Decided) > TakeWithin:
		return Action{}, grant.Deny(grant.Timeout, "the action was decided too long ago")
	case p.Method != method || p.Authority != authority || p.Path != path:
		return Action{}, grant.Deny(grant.ConflictingHeaders, "the request is not the one that was decided on")
	}
	p.taken = true
	return p.Action, nil
}

// TakeGuarded gives the guard the action whose stream it is to hold, likewise.
func (a *Actions) TakeGuarded(id grant.ActionID, method, authority, path string, now time.Time) (Action, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.pending[id]
	switch {
	case !ok || p.guarded || !p.Guard:
		return Action{}, grant.Deny(grant.Internal, "no such stream waits to be guarded")
	case now.Sub(p.Decided) > TakeWithin:
		return Action{}, grant.Deny(grant.Timeout, "the action was decided too long ago")
	case p.Method != method || p.Authority != authority || p.Path != path:
		return Action{}, grant.Deny(grant.ConflictingHeaders, "the request is not the one that was decided on")
	}
	p.guarded = true
	return p.Action, nil
}

// Rebound notes that the action's stream goes on under another grant.
func (a *Actions) Rebound(next Action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.pending[next.ID]; ok {
		p.Grant, p.Deadline = next.Grant, next.Deadline
	}
}

// Over notes that the guard no longer holds the action's stream, cut or, with nil, by
// itself. Envoy tells the outcome, or it is unknown soon.
func (a *Actions) Over(id grant.ActionID, cut *Cut, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.pending[id]; ok {
		p.cut, p.Deadline = cut, earlier(p.Deadline, now)
	}
}

// Close removes an action and reports whether it was still open: only the first
// call's outcome counts.
func (a *Actions) Close(id grant.ActionID) (open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, open = a.pending[id]
	delete(a.pending, id)
	return open
}

// closeUntaken closes an action unless the hop has it, and reports whether it did. cut
// is why the guard cut it, nil if it did not.
func (a *Actions) closeUntaken(id grant.ActionID) (action Action, cut *Cut, closed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.pending[id]
	if !ok || p.taken {
		return Action{}, nil, false
	}
	delete(a.pending, id)
	return p.Action, p.cut, true
}

// Overdue closes and returns the actions whose outcome is no longer awaited,
// oldest first.
func (a *Actions) Overdue(now time.Time) (unknown, never []Action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, p := range a.pending {
		switch {
		case p.Hop && !p.taken && now.Sub(p.Decided) > TakeWithin+outcomeGrace:
			never = append(never, p.Action)
		case now.After(p.Deadline.Add(outcomeGrace)) && (!p.Hop || p.taken):
			unknown = append(unknown, p.Action)
		default:
			continue
		}
		delete(a.pending, id)
	}
	byAge := func(x, y Action) int { return x.Decided.Compare(y.Decided) }
	slices.SortFunc(unknown, byAge)
	slices.SortFunc(never, byAge)
	return unknown, never
}
