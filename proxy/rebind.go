package proxy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// rebindWithin is how long the record of a stream that goes on is waited for. Until
// then the stream is under a grant that has ended, and nothing may pass later than
// 250 ms after an end (P3); an end that a moved clock brings is seen after up to lookEvery.
const rebindWithin = 100 * time.Millisecond

// ErrNoOther is the answer of Rebind where nothing else covers the stream.
var ErrNoOther = errors.New("no other grant covers the stream")

// Rebind puts a stream whose grant has ended under another one of the same holder that
// covers all of it, once that is on the record, and returns the action as it is from
// then on. Ask it after Wait has returned a Cut; an error means that the stream ends.
//
// Only guarded streams are rebound (contracts §4), and none that began with a token: it
// was for one grant. None goes on under a grant that asks for more than is known here,
// an acknowledgement or another login, or that began after the end of the one before.
func (h *Hold) Rebind(ctx context.Context, j Journal) (Action, error) {
	s := h.table.state.Load()
	g, ok := h.successor(s, h.table.Now())
	if !ok {
		return Action{}, ErrNoOther
	}
	next := h.action
	next.Grant, next.Deadline = g.ID, earlier(g.NotAfter, next.Limit)
	ctx, cancel := context.WithTimeout(ctx, rebindWithin)
	defer cancel()
	err := j.Rebound(ctx, audit.Rebound{
		Action: next.ID.String(), From: h.action.Grant.String(), Grant: g.ID.String(),
		Epoch: uint64(s.at.Epoch), Revision: uint64(s.at.Revision), Deadline: audit.At(next.Deadline),
	}, next.Operation.Class.Stricter(g.Class).Writes())
	if err != nil {
		return Action{}, err
	}
	return next, h.move(next)
}

// move holds the stream under next's grant, if that is still there after the wait for
// the record. Look and hold are one section in one state: whoever takes the grant away
// after it waits for this stream.
func (h *Hold) move(next Action) error {
	section := h.table.Enter()
	defer section.Leave()
	s, now := h.table.state.Load(), h.table.Now()
	held, ok := s.byID.get(next.Grant)
	if !ok || !h.mayGoOn(s, now) || !h.continues(s, held, now) {
		return ErrNoOther
	}
	under := h.table.hold(s, next)
	under.grant.pass(now, next.ID, time.Time{})
	h.LetGo(false)
	*h = *under
	return nil
}

// successor returns the grant that the stream may go on under, of several the one that
// ends last.
func (h *Hold) successor(s *state, now time.Time) (grant.Grant, bool) {
	if !h.mayGoOn(s, now) {
		return grant.Grant{}, false
	}
	l, _ := s.lists.get(holder{h.action.App, h.action.Principal})
	for held := range l.all {
		if h.continues(s, held, now) {
			return held.open(), true
		}
	}
	return grant.Grant{}, false
}

// mayGoOn reports whether all that the stream was let through by is still as it was,
// but for its grant.
func (h *Hold) mayGoOn(s *state, now time.Time) bool {
	a := h.action
	if !a.Guard || a.Observed || a.Key != "" || !now.Before(a.Limit) || h.table.fresh(s, a.App) != nil || !h.app.front(s.apps[a.App]) {
		return false
	}
	if held, ok := s.byID.get(a.Grant); ok && held.life() == h.grant && s.inForce(held, now) == nil {
		return false // it is not the grant that ended
	}
	if slices.ContainsFunc(h.lives, func(l *life) bool { return l != h.grant && l.over() }) {
		return false // the session did
	}
	_, err := s.attend(a.visit, now)
	return err == nil
}

// continues reports whether the stream may go on under a grant.
func (h *Hold) continues(s *state, other *held, now time.Time) bool {
	a, g, app := h.action, other.open(), s.apps[h.action.App]
	if g.ID == a.Grant || !app.counts(g.Entitlement) || s.permits(other, g, a.Principal, a.Operation, now) != nil {
		return false
	}
	if g.NotBefore.After(a.Deadline) {
		return false // between the two there was none
	}
	_, login := app.StepUp[g.Entitlement]
	return !login && !a.Operation.Class.Stricter(g.Class).Acknowledged()
}
