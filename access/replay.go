package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// ReplayStep is one piece of news of a replay.
type ReplayStep struct {
	Done float64 // how much of the time has been looked at, of 1
	Flip *Flip   // a request that flips; nil: only Done
}

// ReplaySum is what came of a replay.
type ReplaySum struct {
	Since    time.Time
	Requests int // decided again
	Flips    int
	Refused  int // actions that would have been denied
	Unsure   int // actions of which the record does not hold enough to tell
	Lost     int // requests whose inputs cannot be read any more
	Engines  int // requests that another engine decided
}

// Use is what was done under a grant that another policy would not have given as it was.
type Use struct {
	Actions    int      // looked at
	Refused    int      // of them would have been denied
	Unsure     int      // of them the record does not hold enough to tell
	Operations []string // of the refused ones, sorted
	Truncated  bool     // there are more than were looked at
}

// maxReplay is how far back a replay goes.
const maxReplay = 366 * 24 * time.Hour

// ReplayPolicy decides again, by a policy, what was asked for since an instant: each
// request from its stored inputs, with the groups and the login of then. It tells the
// requests that it decides otherwise, newest first, and looks on the record at what
// was done under the grants that came of them. Pages are read one by one: what is asked
// for meanwhile is not looked at, and a replay holds nobody up.
func (s *Service) ReplayPolicy(ctx context.Context, c Caller, files map[string][]byte, since time.Time, told func(ReplayStep) error) (ReplaySum, error) {
	now, err := s.now(ctx)
	if err != nil {
		return ReplaySum{}, err
	}
	if since.After(now) || now.Sub(since) > maxReplay {
		return ReplaySum{}, fault(CodeInvalid, "mayfly policy replay --since 30d DIR", "a replay begins in the past, at most a year ago")
	}
	set, err := s.asked(ctx, c, files, audit.Stamp(since))
	if err != nil {
		return ReplaySum{}, err
	}
	r := &replaying{set: set, sum: ReplaySum{Since: since}}
	f := RequestFilter{Limit: planPage}
	for more := true; more; {
		r.news = nil
		err := s.store.View(ctx, func(tx Tx) error {
			page, err := tx.Requests().List(ctx, f)
			if err != nil {
				return fmt.Errorf("requests: %w", err)
			}
			more = len(page) == f.Limit
			for _, one := range page {
				if one.CreatedAt.Before(since) {
					more = false
					break
				}
				f.Before = one.ID
				r.done = float64(now.Sub(one.CreatedAt)) / float64(now.Sub(since))
				if err := r.request(ctx, tx, one); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return ReplaySum{}, err
		}
		if !more {
			r.done = 1
		}
		// Not before the page is read: who is told may be slow.
		for _, step := range append(r.news, ReplayStep{Done: r.done}) {
			if err := told(step); err != nil {
				return ReplaySum{}, err
			}
		}
	}
	return r.sum, nil
}

// now is the clock of transactions.
func (s *Service) now(ctx context.Context) (now time.Time, err error) {
	err = s.store.View(ctx, func(tx Tx) error { now = tx.Now(); return nil })
	return now, err
}

// replaying is one run of ReplayPolicy.
type replaying struct {
	set  *policy.Set
	sum  ReplaySum
	done float64
	news []ReplayStep // of this page
}

func (r *replaying) request(ctx context.Context, tx Tx, one Request) error {
	again, err := decideAgain(r.set, one)
	if err != nil {
		r.sum.Lost++ // erased, or written by a version that is gone
		return nil
	}
	r.sum.Requests++
	if again.was.Inputs.Engine != policy.EngineVersion() {
		r.sum.Engines++
	}
	use, err := again.use(ctx, tx, one)
	if err != nil {
		return err
	}
	if !again.flips() && use.Refused+use.Unsure == 0 {
		return nil
	}
	name, err := shown(ctx, tx, one.Requester)
	if err != nil {
		return err
	}
	f := again.flip(one, name)
	f.Use = use
	r.sum.Flips++
	r.sum.Refused += use.Refused
	r.sum.Unsure += use.Unsure
	r.news = append(r.news, ReplayStep{Flip: &f})
	return nil
}

// again is a request that was decided, and is decided by another policy.
type again struct {
	was BasisDecision
	now policy.Decision
	set *policy.Set
	in  policy.Input
}

// decideAgain decides a request by another policy, from the inputs of its first
// decision: the groups and the login of then, at the time of then. Who is whose person
// is the other policy's word.
func decideAgain(set *policy.Set, r Request) (again, error) {
	basis, err := readBasis(r.Inputs)
	if err != nil {
		return again{}, err
	}
	was := basis.Decisions[0]
	in, err := was.Inputs.Input()
	if err != nil {
		return again{}, fmt.Errorf("request %s: %w", r.ID, err)
	}
	in.Requester.Person = set.PersonOf(in.Requester.Principal)
	return again{was: was, now: set.Decide(in), set: set, in: in}, nil
}

// flips reports whether it comes out otherwise: another outcome, another reason to deny,
// or other approvals.
func (a again) flips() bool {
	if a.now.Outcome.String() != a.was.Outcome {
		return true
	}
	var steps []BasisStep
	for _, s := range a.now.Steps {
		steps = append(steps, BasisStep{Any: s.Any, Count: strconv.Itoa(s.Count), Within: seconds(s.Within), Signed: s.Signed})
	}
	return !slices.EqualFunc(steps, a.was.Steps, func(x, y BasisStep) bool {
		return slices.Equal(x.Any, y.Any) && x.Count == y.Count && x.Within == y.Within && x.Signed == y.Signed
	})
}

func (a again) flip(r Request, name string) Flip {
	text := a.now.Sentence
	if place := placeOf(a.now); place != "" {
		text += " (" + place + ")"
	}
	return Flip{
		Request: r.ID, At: r.CreatedAt, Requester: r.Requester, Shown: name, Entitlement: r.Entitlement,
		Was: a.was.Outcome, Now: a.now.Outcome.String(), Text: text, Grant: r.Grant,
	}
}

// placeOf names the line of the finding that decided.
func placeOf(d policy.Decision) string {
	for _, r := range slices.Backward(d.Reasons) {
		if d.Code != "" && r.Code != d.Code || r.File == "" || r.Line == 0 {
			continue
		}
		return r.File + ":" + strconv.Itoa(r.Line)
	}
	return ""
}

// maxUsed bounds the places that are looked at for one grant.
const maxUsed = 1000

// use looks at what was done under the grant of a request that the other policy would
// have denied, or given less for. What it would have given as it was is not looked at.
func (a again) use(ctx context.Context, tx Tx, r Request) (Use, error) {
	if r.Grant.IsZero() {
		return Use{}, nil
	}
	given, err := tx.Grants().OfRequest(ctx, r.ID)
	if err != nil {
		return Use{}, err
	}
	var out Use
	for _, g := range given {
		would := a.would(g.Entitlement)
		if within(g.Scope, would) {
			continue
		}
		use, err := usedBeyond(ctx, tx, g.ID, a.set, would)
		if err != nil {
			return Use{}, err
		}
		out.join(use)
	}
	return out, nil
}

// would is what the other policy would have given of an entitlement: nothing, if it
// denies, or if the bundle that was asked for goes without it.
func (a again) would(entitlement string) scope.Scope {
	if a.now.Outcome == policy.Denied {
		return scope.Scope{}
	}
	for _, j := range a.now.Members {
		if j.Entitlement == entitlement {
			return j.Scope
		}
	}
	return a.now.Expansion.Scope // of a bundle none
}

func (u *Use) join(other Use) {
	u.Actions += other.Actions
	u.Refused += other.Refused
	u.Unsure += other.Unsure
	u.Operations = append(u.Operations, other.Operations...)
	slices.Sort(u.Operations)
	u.Operations = slices.Compact(u.Operations)
	u.Truncated = u.Truncated || other.Truncated
}

// usedBeyond counts the recorded actions under a grant that a scope would not have
// covered.
func usedBeyond(ctx context.Context, tx Tx, id grant.GrantID, set *policy.Set, would scope.Scope) (Use, error) {
	places, err := tx.Spools().Find(ctx, id.String())
	if err != nil {
		return Use{}, fmt.Errorf("find: %w", err)
	}
	var out Use
	if out.Truncated = len(places) > maxUsed; out.Truncated {
		places = places[:maxUsed]
	}
	read, last := reader{tx: tx}, Place{}
	for _, p := range places {
		if p.Spool == "" || p.Spool == last.Spool && p.Seq <= last.Seq {
			continue
		}
		records, err := read.named(ctx, p, id.String())
		if err != nil {
			return Use{}, err
		}
		for _, one := range records {
			last = one.Place
			if one.Record.Type != audit.TypeActionIntent {
				continue
			}
			var intent audit.Intent
			if err := one.Record.Into(&intent); err != nil {
				return Use{}, err
			}
			if intent.Grant == id.String() {
				out.add(set, would, intent.Try)
			}
		}
	}
	slices.Sort(out.Operations)
	out.Operations = slices.Compact(out.Operations)
	return out, nil
}

// add counts one action.
func (u *Use) add(set *policy.Set, would scope.Scope, t audit.Try) {
	u.Actions++
	op, whole := operationOf(set, t)
	var miss *scope.Miss
	switch err := would.Covers(op); {
	case err == nil:
		return
	case errors.As(err, &miss) && miss.Kind == scope.MissConstraint && !whole:
		u.Unsure++
	default:
		u.Refused++
		u.Operations = append(u.Operations, strings.TrimSpace(t.App+" "+t.Operation))
	}
}

// operationOf makes the operation of a try again, as far as the record holds it: values
// that are not recordable are there by their HMAC only, and whole is false then.
func operationOf(set *policy.Set, t audit.Try) (op scope.Operation, whole bool) {
	op, whole = scope.Operation{App: t.App, Name: t.Operation, Attributes: scope.Attributes{}}, true
	catalogue := set.Catalogue(t.App)
	if catalogue == nil {
		return op, true // there is no such app: nothing covers it
	}
	spec, ok := catalogue.Lookup(t.Operation)
	if !ok {
		return op, true
	}
	for name, kept := range t.Attributes {
		attribute, ok := spec.Attribute(name)
		v, err := scope.ParseValue(attribute.Type, kept.Value)
		if !ok || err != nil || kept.HMAC != "" {
			whole = false
			continue
		}
		op.Attributes[name] = v
	}
	return op, whole
}
