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
	err := s.update(ctx, func(w *work) error {
		var err error
		out, err = w.observeReport(ctx, c, q)
		return err
	})
	if err != nil {
		return ObserveReport{}, err
	}
	return out, nil
}

func (w *work) observeReport(ctx context.Context, c Caller, q ObserveQuery) (ObserveReport, error) {
	v, err := w.viewer(ctx, w.tx, c)
	if err != nil {
		return ObserveReport{}, err
	}
	if v.set == nil {
		return ObserveReport{}, fault(CodeNoPolicy, "", "no policy is in force")
	}
	out := ObserveReport{From: w.now.Add(-q.Since).UTC().Truncate(24 * time.Hour)}
	for _, o := range v.set.Observations(w.now) {
		if q.App == "" || q.App == o.App {
			out.Apps = append(out.Apps, o)
		}
	}
	uses, err := w.tx.Observed().Since(ctx, q.App, out.From)
	if err != nil {
		return ObserveReport{}, fmt.Errorf("what was observed: %w", err)
	}
	people, err := w.observedPeople(ctx, uses)
	if err != nil {
		return ObserveReport{}, err
	}
	if !v.security {
		if uses, err = w.observedByGrant(ctx, v, uses, people); err != nil {
			return ObserveReport{}, err
		}
	}
	out.Rows = observedRows(uses, people)
	if q.Owner != "" {
		w.propose(v.set, &out, q.Owner, uses, people)
	}
	return out, nil
}

// seenPerson is who stands behind a name of the record.
type seenPerson struct {
	principal identity.Principal
	shown     string
}

func (w *work) observedPeople(ctx context.Context, uses []ObservedUse) (map[string]seenPerson, error) {
	out := map[string]seenPerson{}
	for _, u := range uses {
		if _, ok := out[u.Name]; ok {
			continue
		}
		one := seenPerson{shown: u.Name}
		if p, err := identity.ParsePrincipal(u.Name); err == nil {
			one.principal = p
		} else {
			p, err := w.tx.Persons().ByPseudonym(ctx, u.Name)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return nil, fmt.Errorf("pseudonym: %w", err)
			}
			one.principal = p
		}
		if !one.principal.IsZero() {
			var err error
			if one.shown, err = shown(ctx, w.tx, one.principal); err != nil {
				return nil, err
			}
		}
		out[u.Name] = one
	}
	return out, nil
}

// observedByGrant keeps what c may read the traces of, and writes down that it did.
func (w *work) observedByGrant(ctx context.Context, v *viewer, uses []ObservedUse, people map[string]seenPerson) ([]ObservedUse, error) {
	type about struct{ app, name string }
	under, refusal := map[about]grant.GrantID{}, error(nil)
	var kept []ObservedUse
	for _, u := range uses {
		key := about{u.App, u.Name}
		id, asked := under[key]
		if !asked {
			text := people[u.Name].principal.String()
			if text == "" {
				text = u.Name
			}
			g, err := w.acting(ctx, w.tx, v.set, v.Caller, own(policy.OwnTracesRead, map[string]string{policy.OwnAttributeApp: u.App, policy.OwnAttributePrincipal: text}))
			if err != nil && CodeOf(err) == CodeInternal {
				return nil, err
			}
			if err == nil {
				id = g.ID
			} else {
				refusal = err
			}
			under[key] = id
		}
		if !id.IsZero() {
			kept = append(kept, u)
		}
	}
	if len(kept) == 0 {
		if refusal == nil {
			refusal = fault(CodeNoGrant, "", "the report is for the security group, and under a grant of %s", policy.OwnTracesRead)
		}
		return nil, refusal
	}
	by, err := w.pseudonym(ctx, v.Principal)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.SortedFunc(maps.Keys(under), func(a, b about) int { return strings.Compare(a.app+a.name, b.app+b.name) }) {
		if id := under[key]; !id.IsZero() {
			_, err := w.leaf(ctx, audit.TypeAdministration, id.String(), traceRead{
				Operation: policy.OwnTracesRead, Under: id.String(), By: by, About: "observed on " + clip(key.app), Principal: key.name,
			}, id.String())
			if err != nil {
				return nil, err
			}
		}
	}
	return kept, nil
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
func (w *work) propose(set *policy.Set, out *ObserveReport, owner string, uses []ObservedUse, people map[string]seenPerson) {
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
	_, err := w.load(files, "", false)
	var all policy.Errors
	if errors.As(err, &all) {
		for _, e := range all {
			if slices.ContainsFunc(proposals, func(p policy.Proposal) bool { return p.Path == e.File }) {
				out.Problems = append(out.Problems, e)
			}
		}
	}
}
