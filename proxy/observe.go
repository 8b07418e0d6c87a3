package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/trace"
)

// ObserveAtMost is how far away the end of an observation may be at a gateway in
// production. It is compiled in, whatever the feed says.
const ObserveAtMost = 30 * 24 * time.Hour

// Observation is that an app is in observe mode: who calls it is proven and what is
// asked is recorded, as for any app, but for want of a grant nobody is denied. An app
// without one is enforced. It is never changed once its app is in the table.
type Observation struct {
	Until time.Time // exclusive: the app is enforced from then on; zero: no end

	production bool
}

// inProduction reads the one thing that decides how strict a gateway is about
// observing: its own SPIFFE ID. Policy and feed have no say in it.
func inProduction(sidecar string) bool {
	p, _ := identity.ParsePrincipal(sidecar) // nobody is in production
	return identity.Production(p)
}

// admit refuses what a gateway in production must not hold, at now, which may not be
// known yet: counts asks again, for every request.
func (o *Observation) admit(production bool, now time.Time) error {
	if o == nil {
		return nil
	}
	o.production = production
	switch {
	case !production:
		return nil
	case o.Until.IsZero():
		return errors.New("observe mode without an end: this gateway is in production, as its own SPIFFE ID says")
	case !now.IsZero() && o.Until.Sub(now) > ObserveAtMost:
		return fmt.Errorf("observe mode until %s: this gateway is in production, where the end is at most %s away", o.Until.Format(time.RFC3339), ObserveAtMost)
	}
	return nil
}

// counts reports whether the app is observed at now, and else enforced.
func (o *Observation) counts(now time.Time) bool {
	switch {
	case now.IsZero():
		return false
	case o.Until.IsZero():
		return !o.production
	default:
		return now.Before(o.Until) && (!o.production || o.Until.Sub(now) <= ObserveAtMost)
	}
}

// observed reports whether a's requests pass undecided at now. An app that is enforced
// costs the one look at a pointer.
func (a *App) observed(now time.Time) bool {
	return a != nil && a.Observe != nil && a.Observe.counts(now)
}

// Observes reports whether the app is in observe mode at now: no credential of ours is
// used for it then.
func (a *App) Observes(now time.Time) bool { return a.observed(now) }

// Observed returns the names of the apps that are in observe mode now, sorted.
func (t *Table) Observed() []string {
	var out []string
	for _, a := range t.Apps() {
		if a.observed(t.Now()) {
			out = append(out, a.Name)
		}
	}
	return out
}

// observe lets a request pass that nobody decides about: it is decided as if the app
// were enforced, and that is on the record before the request goes on. What the lease,
// the clock, the record, HTTP or the proof of who calls has against it stays a no.
func (c *Checker) observe(ctx context.Context, v *ruling) error {
	would := c.would(v)
	if would != nil && !waived(grant.ReasonOf(would)) {
		return would
	}
	name := v.caller.pseudonym(v.grant)
	if _, hop := v.kind.(app.Credentialed); hop != v.r.Hop {
		return grant.Deny(grant.Internal, "the route does not fit the kind of app")
	} else if name == "" { // it could not be said who it was
		return grant.Deny(grant.NoGrant, "nothing is known here under which the caller stands on the record")
	}
	v.watch(c.c.Minter.NewActionID(v.now))
	var said audit.Observed
	if until := v.app.Observe.Until; !until.IsZero() {
		said.Until = audit.At(until)
	}
	if would == nil {
		said.Grant, v.verdict = v.grant.ID.String(), "would_allow"
	} else {
		said.Code, v.verdict = reasonText(would), reasonText(would)
	}
	c.beginTrace(v, false)
	said.Try = c.try(v)
	began := v.action.Trace.Now()
	err := c.c.Journal.Observed(ctx, said, v.class.Writes())
	if err != nil {
		err = c.unwritten(ctx, v, err)
	}
	v.action.Trace.Step(trace.Intent, began, reasonText(err))
	v.written = err == nil
	return err
}

// would says what would become of the request if the app were enforced; nil: it would
// be allowed, under v's grant.
func (c *Checker) would(v *ruling) error {
	for _, step := range [...]func(*ruling) error{c.classify, c.findGrant, c.stepUp} {
		if err := step(v); err != nil {
			v.stepUp = nil
			return err
		}
	}
	return nil
}

// waived reports whether a denial for that reason is only noted where an app is
// observed: what policy, the catalogue or a grant say. Any other stays.
func waived(r grant.Reason) bool {
	switch r {
	case grant.UnknownOperation, grant.AmbiguousOperation, grant.Malformed, grant.ConflictingHeaders, // of the kind's strict parser: HTTP's own were refused before
		grant.NoGrant, grant.NotYet, grant.Ended, grant.Revoked, grant.Idle, grant.PolicyChanged, grant.Locked,
		grant.OutOfScope, grant.ConstraintUnmet, grant.Unresolved, grant.Budget,
		grant.UnsupportedGrant, grant.GrantUnproven, grant.LoginAgain:
		return true
	default:
		return false
	}
}

// watch makes v's action one that passes undecided: without a grant, without a secret,
// and no longer than the app is observed.
func (v *ruling) watch(id grant.ActionID) {
	body, hasBody := v.r.BodyHash()
	v.action = Action{
		ID: id, App: v.app.Name, Operation: v.op, Key: v.caller.kid, Observed: true,
		Method: v.r.HTTP.Method, Authority: v.r.HTTP.Authority, Path: v.r.HTTP.Path, Body: body, HasBody: hasBody,
		Hop: v.r.Hop, Guard: v.r.Guard && !v.r.Hop, Decided: v.now, Principal: v.caller.principal, visit: v.caller.visit,
	}
	v.action.Limit = v.now.Add(v.app.longest(v.action.Guard))
	if s := v.caller.session; s != nil {
		v.action.Limit = earlier(v.action.Limit, s.Ends)
	}
	if until := v.app.Observe.Until; !until.IsZero() {
		v.action.Limit = earlier(v.action.Limit, until)
	}
	v.action.Deadline = v.action.Limit
}

// lastPass is lastLook for an action that nobody decided about: what has to be so for
// it is that its app is still observed. Who has the app enforced waits, in its
// acknowledgement, for whoever is in here.
func (t *Table) lastPass(a Action, v visit, deadline time.Time, act func() error) error {
	section := t.Enter()
	defer section.Leave()
	s := t.state.Load()
	now := t.clock.Now()
	sitting, err := t.watched(s, a, v, now)
	if err != nil {
		return err
	}
	if sitting != nil {
		sitting.life.pass(now, a.ID, deadline)
	}
	return act()
}

// lastWord is why nothing is done any more for an action that waited: what it was to be
// done by is gone. Nil: it is there.
func (t *Table) lastWord(a Action, id grant.GrantID, v visit, now time.Time) error {
	if !a.Observed {
		return t.lookBoth(id, v, now)
	}
	_, err := t.watched(t.state.Load(), a, v, now)
	return err
}

// watched is nil while an observed action may pass: a Denial says why not.
func (t *Table) watched(s *state, a Action, v visit, now time.Time) (*seat, error) {
	if err := t.fresh(s, a.App); err != nil {
		return nil, err
	}
	if !s.apps[a.App].observed(now) {
		return nil, grant.Deny(grant.PolicyChanged, "the app is enforced now")
	}
	if err := s.verifies(v.kid); err != nil {
		return nil, err
	}
	return s.attend(v, now)
}

// watch returns what ends an observed request by now, nil if nothing does: that its app
// is enforced does, and whatever ends a session.
func (h *Hold) watch(now time.Time) *Cut {
	seated := len(h.lives) == 0 || !h.lives[0].over()
	s := h.table.state.Load()
	_, err := h.table.watched(s, h.action, h.action.visit, now)
	app := s.apps[h.action.App]
	switch {
	case !now.Before(h.action.Deadline):
		return &Cut{EndedByDeadline, grant.Deny(grant.Timeout, "the request took as long as it may")}
	case grant.ReasonOf(err) == grant.PolicyChanged:
		return &Cut{EndedByApp, grant.Of(err)}
	case err != nil:
		return &Cut{endedBy(grant.ReasonOf(err)), grant.Of(err)}
	case !seated:
		return &Cut{EndedBySession, grant.Deny(grant.SessionEnded, "the session is not what it was")}
	case app != h.app && !h.app.front(app):
		return &Cut{EndedByApp, grant.Deny(grant.PolicyChanged, "the app is not what it was")}
	}
	h.app = app
	return nil
}
