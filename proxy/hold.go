package proxy

import (
	"context"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// lookEvery is how often a request under way is looked at: timers stand still while
// the machine is suspended, t can move forward, and a lease runs out without a word.
const lookEvery = 100 * time.Millisecond

// What ended a request, as outcomes say it.
const (
	EndedByDeadline = "deadline" // its time, or its grant's
	EndedByGrant    = "grant"    // the grant was revoked, finished, or ended by a change of policy
	EndedBySession  = "session"  // the person's session
	EndedByLock     = "lock"     // the account or the person was locked
	EndedByToken    = "token"    // the key of the token that was presented
	EndedByLease    = "lease"    // the gateway no longer heard the control plane, does not know the time, or was shown another record
	EndedByApp      = "app"      // the app is no longer here, or no longer as it was
	EndedByCaller   = "caller"   // it hung up, or took no more
	EndedByUpstream = "upstream" // the app's side broke off, or answered what cannot be passed on
	EndedByEcho     = "echo"     // the answer held the credential
)

// Cut is why a request under way is over before it was done.
type Cut struct {
	By string
	*grant.Denial
}

// Error is the Denial's, so that a Cut can be the cause of a context.
func (c *Cut) Error() string { return c.Denial.Error() }

// Unwrap returns the Denial.
func (c *Cut) Unwrap() error { return c.Denial }

// Hold is a request under way that ends when its access does. It belongs to one
// goroutine, which lets go of it when the request is over or was cut: until then a
// revocation's receipt waits.
type Hold struct {
	table  *Table
	action Action
	app    *App // as it was when the request was let through
	grant  *life
	lives  []*life // that count this request: of the grant, and of a session
}

// Hold begins to hold a's request.
func (t *Table) Hold(a Action) *Hold { return t.hold(t.state.Load(), a) }

func (t *Table) hold(s *state, a Action) *Hold {
	a.visit.kid = a.Key
	h := &Hold{table: t, action: a, app: s.apps[a.App]}
	if held, ok := s.byID.get(a.Grant); ok && !held.past() && !a.Observed {
		h.grant = held.life()
		h.lives = append(h.lives, h.grant)
	}
	if a.visit.session != nil {
		if seat, ok := s.seats.get(a.visit.session.Hash); ok && !seat.past {
			h.lives = append(h.lives, seat.life)
		}
	}
	for _, l := range h.lives {
		l.hold()
	}
	return h
}

// Wait returns why the access ended, as soon as it has; nil if ctx ends first.
func (h *Hold) Wait(ctx context.Context) *Cut {
	for {
		now := h.table.Now()
		if cut := h.look(now); cut != nil {
			return cut
		}
		timer := time.NewTimer(min(h.action.Deadline.Sub(now), lookEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-h.gone(0):
		case <-h.gone(1):
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (h *Hold) gone(n int) <-chan struct{} {
	if n < len(h.lives) {
		return h.lives[n].gone
	}
	return nil
}

// look returns what ended the access by now, nil if nothing did.
func (h *Hold) look(now time.Time) *Cut {
	// Asked before the look: what ended a life was in the table by then, with its reason.
	if h.action.Observed {
		return h.watch(now)
	}
	granted, seated := h.grant != nil && !h.grant.over(), !slices.ContainsFunc(h.lives, (*life).over)
	s := h.table.state.Load() // one for all, or the app could be gone that the look still found
	_, _, err := h.table.lookIn(s, h.action.Grant, h.action.visit, now)
	late := !now.Before(h.action.Deadline)
	switch {
	case late && grant.ReasonOf(err) == grant.Ended:
		return &Cut{EndedByDeadline, grant.Of(err)}
	case late:
		return &Cut{EndedByDeadline, grant.Deny(grant.Timeout, "the request took as long as it may")}
	case err != nil:
		return &Cut{endedBy(grant.ReasonOf(err)), grant.Of(err)}
	case !granted:
		return &Cut{EndedByGrant, grant.Deny(grant.Ended, "the access is not what it was")}
	case !seated:
		return &Cut{EndedBySession, grant.Deny(grant.SessionEnded, "the session is not what it was")}
	}
	app := s.apps[h.action.App]
	if app != h.app && !h.app.front(app) {
		return &Cut{EndedByApp, grant.Deny(grant.PolicyChanged, "the app is not what it was")}
	}
	h.app = app
	return nil
}

func endedBy(r grant.Reason) string {
	switch r {
	case grant.SessionEnded:
		return EndedBySession
	case grant.Locked:
		return EndedByLock
	case grant.BadToken:
		return EndedByToken
	case grant.Stale, grant.Clock, grant.RecordUnavailable:
		return EndedByLease
	case grant.UnknownApp:
		return EndedByApp
	default:
		return EndedByGrant
	}
}

// LetGo ends the hold; cut is whether the access's end cut the request. Again, it does
// nothing.
func (h *Hold) LetGo(cut bool) {
	for _, l := range h.lives {
		counted := cut && l.over()
		l.letGo(counted)
		cut = cut && !counted // one request is one cut, whatever ended with it
	}
	h.lives = nil
}

// front reports whether two versions of an app stand at the same place with the same
// upstream, so that what goes on under one may go on under the other.
func (a *App) front(b *App) bool {
	return a != nil && b != nil && a.Kind == b.Kind && a.Upstream.String() == b.Upstream.String() && a.Guard == b.Guard &&
		slices.Equal(a.Hosts, b.Hosts) && slices.Equal(a.Callers, b.Callers)
}
