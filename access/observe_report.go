package access

import (
	"cmp"
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

// ObserveQuery is what a report is about.
type ObserveQuery struct {
	App   string        // "": every app
	Since time.Duration // back from now, in whole days; 0: 7 days
	Owner string        // of proposed entitlements; "": none are proposed
}

// ObservedRow is what one caller did on an app in observe mode.
type ObservedRow struct {
	App       string
	Principal identity.Principal // zero: erased, or of a gateway's making
	Name      string             // to show
	Operation string
	Code      string // that it would have been denied with; "": it would have been allowed
	Count     int64
	Last      time.Time
}

// ObserveReport says who would be cut off.
type ObserveReport struct {
	From      time.Time
	Apps      []policy.Observation // in observe mode now
	Rows      []ObservedRow        // those that would have been denied first, then by app, caller, operation
	Proposals []policy.Proposal
	Unmet     []string        // needs that no entitlement can cover, in words
	Problems  []*policy.Error // what `policy check` has against the proposals
}

// ObserveReport returns who did what on apps in observe mode, and which entitlements
// would be needed. It is for the security group; others see of whom they may read the
// traces, under a grant of traces.read, and that they did is on the record.
func (s *Service) ObserveReport(ctx context.Context, c Caller, q ObserveQuery) (ObserveReport, error) {
	if q.Since == 0 {
		q.Since = 7 * 24 * time.Hour
	}
	if q.Since < 0 || q.Since > observedFor {
		return ObserveReport{}, fault(CodeInvalid, "", "since: want at most %d days", int(observedFor.Hours()/24))
	}
	if q.Owner != "" && strings.Trim(q.Owner, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ObserveReport{}, fault(CodeInvalid, "", "owner: want a name of a-z, 0-9 and -")
	}
	var out ObserveReport
	var uses []ObservedUse
	var people map[string]seenPerson
	var set *policy.Set
	var read []observedAbout // under a grant
	// All of the work is a reader's: gateways wait for the one writer.
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if v.set == nil {
			return fault(CodeNoPolicy, "", "no policy is in force")
		}
		if _, ok := v.set.App(q.App); q.App != "" && !ok {
			return fault(CodeInvalid, "mayfly whoami", "there is no app %q; mayfly whoami names those in observe mode", clip(q.App))
		}
		held, err := mayReport(ctx, tx, v)
		if err != nil {
			return err
		}
		out, set, read = ObserveReport{From: v.now.Add(-q.Since).UTC().Truncate(24 * time.Hour)}, v.set, nil
		for _, o := range set.Observations(v.now) {
			if q.App == "" || q.App == o.App {
				out.Apps = append(out.Apps, o)
			}
		}
		if uses, err = tx.Observed().Since(ctx, q.App, out.From); err != nil {
			return fmt.Errorf("what was observed: %w", err)
		}
		if people, err = observedPeople(ctx, tx, uses); err != nil || v.security {
			return err
		}
		uses, read, err = v.observedByGrant(held, uses, people)
		return err
	})
	if err != nil {
		return ObserveReport{}, err
	}
	out.Rows = observedRows(uses, people)
	if q.Owner != "" {
		s.propose(set, &out, q.Owner, uses, people)
	}
	for some := range slices.Chunk(read, observedLeaves) {
		if err := s.update(ctx, func(w *work) error { return w.readObserved(ctx, c, some) }); err != nil {
			return ObserveReport{}, err
		}
	}
	return out, nil
}

// observedLeaves is how many leaves one transaction writes: a gateway's Pong waits for no
// more than that.
const observedLeaves = 64

// mayReport returns the live grants of traces.read of who is not of the security group,
// before anything is read: without one the answer is no_grant.
func mayReport(ctx context.Context, tx Tx, v *viewer) ([]grant.Grant, error) {
	if v.security {
		return nil, nil
	}
	held, err := traceGrants(ctx, tx, v.Principal)
	if err == nil && len(held) == 0 {
		err = noGrant(v.set, own(policy.OwnTracesRead, nil))
	}
	return held, err
}

// traceGrants returns the live grants of p that allow traces.read of somebody, the one
// that ends last first.
func traceGrants(ctx context.Context, tx Tx, p identity.Principal) ([]grant.Grant, error) {
	var out []grant.Grant
	err := eachLive(ctx, tx, GrantFilter{Principal: p, App: policy.OwnApp}, func(g grant.Grant) error {
		if g.Principal == p && g.InForce(tx.Now()) == nil && slices.ContainsFunc(g.Scope.Rules, func(r scope.Rule) bool { return r.Operation == policy.OwnTracesRead }) {
			out = append(out, g)
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b grant.Grant) int { return b.NotAfter.Compare(a.NotAfter) })
	return out, err
}

// seenPerson is who stands behind a name of the record.
type seenPerson struct {
	principal identity.Principal
	shown     string
}

func observedPeople(ctx context.Context, tx Tx, uses []ObservedUse) (map[string]seenPerson, error) {
	out := map[string]seenPerson{}
	for _, u := range uses {
		if _, ok := out[u.Name]; ok {
			continue
		}
		one := seenPerson{shown: u.Name}
		if p, err := identity.ParsePrincipal(u.Name); err == nil {
			one.principal = p
		} else {
			p, err := tx.Persons().ByPseudonym(ctx, u.Name)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return nil, fmt.Errorf("pseudonym: %w", err)
			}
			one.principal = p
		}
		if !one.principal.IsZero() {
			var err error
			if one.shown, err = shown(ctx, tx, one.principal); err != nil {
				return nil, err
			}
		}
		out[u.Name] = one
	}
	return out, nil
}

// observedAbout is whose use of an app is read under a grant.
type observedAbout struct {
	app, name string
	who       string // as a grant may name them
}

// under returns which of some grants of p lets it read that; zero for none.
func (a observedAbout) under(held []grant.Grant, p identity.Principal, now time.Time) grant.GrantID {
	op := own(policy.OwnTracesRead, map[string]string{policy.OwnAttributeApp: a.app, policy.OwnAttributePrincipal: a.who})
	for _, g := range held {
		if g.Permits(p, op, now) == nil {
			return g.ID
		}
	}
	return grant.GrantID{}
}

// observedByGrant keeps what the viewer may read the traces of, and tells what that is,
// by app and name.
func (v *viewer) observedByGrant(held []grant.Grant, uses []ObservedUse, people map[string]seenPerson) ([]ObservedUse, []observedAbout, error) {
	may := map[observedAbout]bool{}
	var kept []ObservedUse
	for _, u := range uses {
		about := observedAbout{u.App, u.Name, cmp.Or(people[u.Name].principal.String(), u.Name)}
		if _, asked := may[about]; !asked {
			may[about] = !about.under(held, v.Principal, v.now).IsZero()
		}
		if may[about] {
			kept = append(kept, u)
		}
	}
	if len(kept) == 0 {
		return nil, nil, noGrant(v.set, own(policy.OwnTracesRead, nil))
	}
	maps.DeleteFunc(may, func(_ observedAbout, yes bool) bool { return !yes })
	return kept, slices.SortedFunc(maps.Keys(may), func(a, b observedAbout) int {
		return cmp.Or(cmp.Compare(a.app, b.app), cmp.Compare(a.name, b.name))
	}), nil
}

// readObserved writes down that c reads about some, if a grant still allows it.
func (w *work) readObserved(ctx context.Context, c Caller, some []observedAbout) error {
	v, err := w.viewer(ctx, w.tx, c)
	if err != nil {
		return err
	}
	held, err := traceGrants(ctx, w.tx, c.Principal)
	if err != nil {
		return err
	}
	by, err := w.pseudonym(ctx, c.Principal)
	if err != nil {
		return err
	}
	for _, a := range some {
		id := a.under(held, c.Principal, w.now)
		if id.IsZero() {
			return noGrant(v.set, own(policy.OwnTracesRead, nil))
		}
		_, err := w.leaf(ctx, audit.TypeAdministration, id.String(), traceRead{
			Operation: policy.OwnTracesRead, Under: id.String(), By: by, About: "observed on " + clip(a.app), Principal: a.name,
		}, id.String())
		if err != nil {
			return err
		}
	}
	return nil
}

// observedRows sums the days up.
func observedRows(uses []ObservedUse, people map[string]seenPerson) []ObservedRow {
	rows := map[observedKey]ObservedRow{}
	for _, u := range uses {
		key := u.key()
		key.day = 0
		r := rows[key]
		r.App, r.Operation, r.Code, r.Count = u.App, u.Operation, u.Code, r.Count+u.Count
		r.Principal, r.Name = people[u.Name].principal, people[u.Name].shown
		if u.Last.After(r.Last) {
			r.Last = u.Last
		}
		rows[key] = r
	}
	return slices.SortedFunc(maps.Values(rows), func(a, b ObservedRow) int {
		allowed := func(r ObservedRow) int { return map[bool]int{true: 1}[r.Code == ""] }
		return cmp.Or(cmp.Compare(allowed(a), allowed(b)), cmp.Compare(a.App, b.App), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Code, b.Code))
	})
}

// propose adds the entitlements that would be needed, and what policy check says of them
// beside the policy in force.
func (s *Service) propose(set *policy.Set, out *ObserveReport, owner string, uses []ObservedUse, people map[string]seenPerson) {
	var needs []policy.Need
	for _, u := range uses {
		who := people[u.Name]
		switch {
		case u.Code == "":
		case who.principal.IsZero():
			out.Unmet = append(out.Unmet, fmt.Sprintf("%s on %s by %s, of whom no more is known", u.Operation, u.App, who.shown))
		default:
			needs = append(needs, policy.Need{App: u.App, Operation: u.Operation, Who: who.principal, Attributes: u.Attributes})
		}
	}
	proposals, unmet := set.Propose(owner, needs)
	out.Proposals, out.Unmet = proposals, append(out.Unmet, unmet...)
	files := maps.Clone(set.Files())
	for _, p := range proposals {
		files[p.Path] = []byte(p.YAML)
	}
	_, err := s.load(files, "", false)
	var all policy.Errors
	if errors.As(err, &all) {
		for _, e := range all {
			if slices.ContainsFunc(proposals, func(p policy.Proposal) bool { return p.Path == e.File }) {
				out.Problems = append(out.Problems, e)
			}
		}
	}
}
