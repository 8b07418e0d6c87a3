package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	maxNear   = 5              // grants that are told
	nearPast  = 24 * time.Hour // before the try, within which one ended that is told
	maxLooked = 500            // grants that are looked at
	maxAsks   = 3              // entitlements that are told
	nearSoon  = nearPast       // after it, within which one began
)

// ExplainedTry is one try of an operation at a gateway, as the record tells it.
type ExplainedTry struct {
	Place       Place
	Record      audit.Record
	Denial      string // "" if it was allowed
	Action      string
	Observed    bool         // passed undecided: Code and Grant are what it would have been
	Until       time.Time    // of an observed one: the app is enforced from then on; zero: no end was set
	Code        grant.Reason // "" if it was allowed
	Grant       string       // of an allowed one
	App         string
	Operation   string
	Resource    string
	Class       string
	Attributes  []TriedAttribute // by name
	Epoch       uint64
	Revision    uint64
	FreshnessMS int64
	Near        []NearMiss // what the holder held about then, nearest first
	Asks        []Covering // what could be asked for, fewest operations first
	Advice      string     // of a denial that no grant could have helped
}

// TriedAttribute is an attribute of the operation. Hidden: the record keeps only its
// HMAC, and nobody can say here what it was.
type TriedAttribute struct {
	Name, Value string
	Hidden      bool
}

// NearMiss is a grant that the holder had about then, and why it did not cover the try.
type NearMiss struct {
	Grant       grant.GrantID
	Entitlement string
	From, To    time.Time
	Reason      grant.Reason // "": as mayflyd knows it, it covered the try
	Sentence    string
	Attribute   string // that failed, of a constraint
	Granted     string // what was granted of it, in words
	Value       string // what the try had; "" if it had none, or it is hidden
	Hidden      bool   // whether it failed cannot be told: the record keeps only an HMAC

	rank int
}

// Covering is an entitlement that covers the operation.
type Covering struct {
	Ask
	Missing []string // required parameters that the record does not tell
	Owner   string
	// Outcome is what policy says today if the holder asks for just this, for the
	// default duration; Tried is false where somebody else looks, or parameters are missing.
	Outcome policy.Outcome
	Tried   bool
	Why     string // of a denied one
}

// explainTry explains an action, decided or observed, or a denial.
func (s *Service) explainTry(ctx context.Context, c Caller, id string) (Explanation, error) {
	if err := s.mayTry(ctx, c, id); err != nil {
		return Explanation{}, err
	}
	var out Explanation
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		v.security = true // mayTry has asked
		out = Explanation{ID: id, Now: v.now}
		try, who, err := s.tryOf(ctx, tx, v, id)
		if err != nil {
			return err
		}
		out.Try, out.App = try, try.App
		if try.Grant == "" {
			return s.explainDenied(ctx, tx, v, who, &out)
		}
		granted, err := parseGrantID(try.Grant)
		if err != nil {
			return err
		}
		g, err := v.grant(ctx, tx, granted)
		if err != nil {
			return hide(err, id)
		}
		out.Grant = &g
		return hide(s.explainRequest(ctx, tx, v, g.Request, &out), id)
	})
	if err != nil {
		return Explanation{}, err
	}
	return out, nil
}

// mayTry lets a try be explained to whom its trace is shown: at once to who may read
// others', else once the record of an own one has arrived. Whether there is one of
// somebody else's does not show, in the answer or in the time that it takes.
func (s *Service) mayTry(ctx context.Context, c Caller, id string) error {
	_, err := s.Trace(ctx, c, id)
	if CodeOf(err) != CodeNotFound {
		return err
	}
	limit := time.NewTimer(s.denialWait)
	defer limit.Stop()
	for {
		rung := s.ingested.wait()
		own := s.store.View(ctx, func(tx Tx) error {
			v, err := s.viewer(ctx, tx, c)
			if err != nil {
				return err
			}
			v.security = false
			_, err = newTracer(v, tx, id).run(ctx, id)
			return err
		})
		if code := CodeOf(own); code != CodeNotFound && code != CodeLoginAgain {
			return own
		}
		select {
		case <-rung:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryOf reads the intent, the denial or what passed undecided with that id, and whose it is: the zero
// Principal if that cannot be told any more.
func (s *Service) tryOf(ctx context.Context, tx Tx, v *viewer, id string) (*ExplainedTry, identity.Principal, error) {
	records, err := newTracer(v, tx, id).records(ctx, id)
	if err != nil {
		return nil, identity.Principal{}, err
	}
	for _, r := range records {
		out := &ExplainedTry{Place: r.Place, Record: r.Record}
		var t audit.Try
		switch r.Record.Type {
		case audit.TypeActionDenied:
			var d audit.Denied
			if err := r.Record.Into(&d); err != nil {
				return nil, identity.Principal{}, err
			}
			out.Denial, out.Code, t = d.Denial, grant.Reason(d.Code), d.Try
		case audit.TypeActionIntent:
			var i audit.Intent
			if err := r.Record.Into(&i); err != nil {
				return nil, identity.Principal{}, err
			}
			out.Grant, t = i.Grant, i.Try
		case audit.TypeActionObserved:
			var o audit.Observed
			if err := r.Record.Into(&o); err != nil {
				return nil, identity.Principal{}, err
			}
			out.Observed, out.Until, out.Code, out.Grant, t = true, o.Until.Time, grant.Reason(o.Code), o.Grant, o.Try
		default:
			continue
		}
		if out.Denial != id && t.Action != id {
			continue
		}
		out.fill(t)
		who, err := tx.Persons().ByPseudonym(ctx, t.Principal)
		if errors.Is(err, ErrNotFound) {
			who, err = identity.Principal{}, nil
			if p, bad := identity.ParsePrincipal(t.Principal); bad == nil { // one that never asked
				who = p
			}
		}
		return out, who, err
	}
	return nil, identity.Principal{}, notFound(id)
}

func (x *ExplainedTry) fill(t audit.Try) {
	x.Action, x.App, x.Operation, x.Resource, x.Class = t.Action, t.App, t.Operation, t.Resource, t.Class
	x.Epoch, x.Revision, x.FreshnessMS = t.Epoch, t.Revision, t.FreshnessMS
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		a := t.Attributes[name]
		x.Attributes = append(x.Attributes, TriedAttribute{Name: name, Value: a.Value, Hidden: a.HMAC != ""})
	}
}

// hidden are the attributes that the record keeps by HMAC only.
func (x *ExplainedTry) hidden() map[string]bool {
	out := map[string]bool{}
	for _, a := range x.Attributes {
		if a.Hidden {
			out[a.Name] = true
		}
	}
	return out
}

// operation is the try as grants are asked about it, without what is hidden.
func (x *ExplainedTry) operation(set *policy.Set) scope.Operation {
	op := scope.Operation{App: x.App, Name: x.Operation, Resource: x.Resource, Attributes: scope.Attributes{}}
	cat := set.Catalogue(x.App)
	if cat == nil {
		return op
	}
	spec, _ := cat.Lookup(x.Operation)
	for _, a := range x.Attributes {
		one, ok := spec.Attribute(a.Name)
		if !ok || a.Hidden {
			continue
		}
		if value, err := scope.ParseValue(one.Type, a.Value); err == nil {
			op.Attributes[a.Name] = value
		}
	}
	return op
}

// explainDenied adds what was near, and what could be asked for.
func (s *Service) explainDenied(ctx context.Context, tx Tx, v *viewer, who identity.Principal, out *Explanation) error {
	try := out.Try
	try.Advice = adviceOn(try.Code)
	if a, ok := appNamed(v.set, try.App); ok {
		out.AppOwner = a.Owner
	}
	if v.set == nil || who.IsZero() || try.Operation == "" {
		return nil
	}
	op := try.operation(v.set)
	var err error
	if try.Near, err = near(ctx, tx, who, op, try.hidden(), try.Record.Time); err != nil {
		return err
	}
	w := &work{Service: s, tx: tx, now: tx.Now()}
	for _, e := range v.set.Ask(try.App) { // fewest operations first
		if len(try.Asks) < maxAsks && slices.Contains(e.Operations, try.Operation) && slices.Contains(e.Kinds, who.Kind().String()) {
			c, err := w.covering(ctx, v, who, op, try.hidden(), e)
			if err != nil {
				return err
			}
			try.Asks = append(try.Asks, c)
		}
	}
	if out.AppOwner != "" {
		out.Help = append(out.Help, fmt.Sprintf("app %s is owned by %s", try.App, out.AppOwner))
	}
	for _, a := range try.Asks {
		out.Help = append(out.Help, fmt.Sprintf("who may ask for %s, and who approves, is %s's to say", a.Entitlement, a.Owner))
	}
	if len(try.Asks) == 0 {
		out.Help = append(out.Help, fmt.Sprintf("no entitlement that you may ask for covers %s: it takes a change of policy", clip(try.Operation)))
	}
	return nil
}

func appNamed(set *policy.Set, name string) (policy.App, bool) {
	if set == nil {
		return policy.App{}, false
	}
	return set.App(name)
}

// covering is what to ask for of one entitlement. If it is the holder who looks, policy
// was asked, and what would be granted covers the try.
func (w *work) covering(ctx context.Context, v *viewer, who identity.Principal, op scope.Operation, hidden map[string]bool, e policy.AskEntry) (Covering, error) {
	out := Covering{Ask: Ask{Entitlement: e.Entitlement, Params: map[string]string{}}}
	out.Owner, _, _, _, _ = v.set.Owners(e.Entitlement)
	for _, b := range e.Bindings {
		if value, ok := op.Attributes[b.Attribute]; b.Operation == op.Name && ok {
			out.Params[b.Param] = value.String()
		}
	}
	for _, name := range e.Required {
		if _, ok := out.Params[name]; !ok {
			out.Missing = append(out.Missing, name)
		}
	}
	if who != v.Principal || len(out.Missing) > 0 {
		return out, nil
	}
	ask := out.Ask
	ask.Reason = "given"
	in, err := w.question(ctx, v.set, v.Caller, ask)
	if err != nil {
		return Covering{}, err
	}
	d := v.set.Decide(in)
	out.Outcome, out.Tried, out.Why = d.Outcome, true, ""
	switch {
	case d.Outcome == policy.Denied:
		out.Why = d.Sentence
	case missOf(d.Expansion.Scope, op, hidden).kind != missNothing:
		out.Outcome, out.Why = policy.Denied, "what it allows does not reach this far"
	}
	return out, nil
}

// near are the grants on the app that somebody held about at, nearest first.
func near(ctx context.Context, tx Tx, who identity.Principal, op scope.Operation, hidden map[string]bool, at time.Time) ([]NearMiss, error) {
	list, err := tx.Grants().List(ctx, GrantFilter{Principal: who, App: op.App, Limit: maxLooked})
	if err != nil {
		return nil, fmt.Errorf("grants: %w", err)
	}
	var out []NearMiss
	for _, g := range list {
		if g = asOf(g, at); g.NotBefore.After(at.Add(nearSoon)) || g.EndsAt().Before(at.Add(-nearPast)) {
			continue
		}
		out = append(out, nearMiss(g, who, op, hidden, at))
	}
	slices.SortStableFunc(out, func(a, b NearMiss) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return b.To.Compare(a.To)
	})
	return out[:min(len(out), maxNear)], nil
}

// asOf takes off the marks that came after at.
func asOf(g grant.Grant, at time.Time) grant.Grant {
	if g.Revoked.After(at) {
		g.Revoked, g.EndedEarly = time.Time{}, ""
	}
	if g.Finished.After(at) {
		g.Finished = time.Time{}
	}
	return g
}

// nearMiss says why g did not permit op at an instant.
func nearMiss(g grant.Grant, who identity.Principal, op scope.Operation, hidden map[string]bool, at time.Time) NearMiss {
	out := NearMiss{Grant: g.ID, Entitlement: g.Entitlement, From: g.NotBefore, To: g.EndsAt()}
	m := missOf(g.Scope, op, hidden)
	if m.kind == missAttribute || m.kind == missHidden {
		out.Attribute, out.Granted, out.Hidden = m.constraint.Attribute, m.constraint.String(), m.kind == missHidden
		if v, ok := op.Attributes[out.Attribute]; ok {
			out.Value = v.String()
		}
	}
	err := g.InForce(at)
	switch d := grant.Of(err); {
	case err != nil && m.kind == missOperation:
		out.rank, out.Reason, out.Sentence = 6, d.Reason, d.Sentence+", and does not cover "+op.Name
	case err != nil:
		out.rank, out.Reason, out.Sentence = 3, d.Reason, d.Sentence
	case m.kind == missHidden:
		out.rank, out.Reason = 1, grant.ConstraintUnmet
		out.Sentence = fmt.Sprintf("granted is %s: the record keeps %s by HMAC only, so that it cannot be compared here", out.Granted, out.Attribute)
	case m.kind == missAttribute:
		out.rank, out.Reason = 1, grant.ConstraintUnmet
		out.Sentence = (&scope.Miss{Kind: scope.MissConstraint, Operation: op.Name, Constraint: m.constraint, Value: op.Attributes[out.Attribute]}).Error()
	default:
		if err = g.Permits(who, op, at); err == nil {
			out.Sentence = "as mayflyd knows it, this grant covered the request: see the reason that the gateway gave"
			break
		}
		d = grant.Of(err)
		out.rank, out.Reason, out.Sentence = 4, d.Reason, strings.TrimPrefix(d.Sentence, "grant "+g.ID.String()+": ")
	}
	return out
}

// The kinds of miss.
const (
	missNothing   = iota
	missHidden    // of an attribute whose value the record does not keep
	missAttribute // of one whose value it does
	missOperation
)

type scopeMiss struct {
	kind       int
	constraint scope.Constraint
}

// missOf says how a scope misses an operation of which some attributes are hidden: of
// several rules the one that comes nearest; what is hidden is taken to fit.
func missOf(s scope.Scope, op scope.Operation, hidden map[string]bool) scopeMiss {
	best := scopeMiss{kind: missOperation}
	for _, r := range s.Rules {
		if s.App != op.App || r.Operation != op.Name {
			continue
		}
		one := scopeMiss{kind: missNothing}
		for _, c := range r.Where {
			switch {
			case hidden[c.Attribute] && one.kind == missNothing:
				one = scopeMiss{missHidden, c}
			case !hidden[c.Attribute] && !c.Satisfied(op.Attributes[c.Attribute]) && one.kind < missAttribute:
				one = scopeMiss{missAttribute, c}
			}
		}
		if one.kind < best.kind {
			best = one
		}
	}
	return best
}

// adviceOn says what helps against a denial that is not about what is granted; "" of
// one that is.
func adviceOn(code grant.Reason) string {
	return map[grant.Reason]string{
		grant.Stale:                 "the gateway had not heard from mayflyd for too long, and denied what it could not be sure of: try again, and tell who runs the gateway if it stays (mayfly nodes)",
		grant.Clock:                 "the gateway's clock cannot be trusted: whoever runs it looks at mayfly-sidecar status",
		grant.RecordUnavailable:     "the gateway could not write its record, or does not believe mayflyd's: whoever runs it looks at mayfly-sidecar status",
		grant.CredentialUnavailable: "the gateway has no usable credential for this: whoever runs it looks at its configuration",
		grant.SessionEnded:          "the login at the app has ended: log in again",
		grant.LoginAgain:            "the entitlement asks for a newer or stronger login than there was: log in again as it asks",
		grant.Locked:                "the holder is locked: the security group can say why, and take the lock off",
		grant.Budget:                "the budget of the grant is used up: ask for another grant",
		grant.UnknownOperation:      "the app has no such operation: look at the method, the path and the body",
		grant.Malformed:             "the request can be read in more than one way: send it plainly",
		grant.ConflictingHeaders:    "the request's headers contradict each other: send it plainly",
		grant.BodyTooLarge:          "the body is larger than can be decided on",
		grant.CrossSite:             "the request came from a page of another site",
		grant.Timeout:               "the decision or the app took too long: try again",
		grant.Overloaded:            "the gateway had too much to do: try again",
		grant.GrantUnproven:         "the gateway takes only grants that are proven, and this one is not: whoever runs it looks at its log",
	}[code]
}
