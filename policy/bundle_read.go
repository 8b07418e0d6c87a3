package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

func (l *loader) readBundle(n *node) {
	f := l.object(n, schema{
		what: "bundle", known: []string{"bundle", "owner", "entitlements", "tests"},
		later: []string{"agents", "budget", "conflicts", "emergency", "params", "renew", "review", "window"},
	})
	if f == nil {
		return
	}
	b := Bundle{File: l.file, Line: n.line}
	at := f.need("bundle")
	b.Name = l.name(at, "bundle", true)
	l.named(at, "bundle", b.Name, bundlesFolder)
	if e, ok := l.set.entitlements[b.Name]; ok && b.Name != "" {
		l.fail(at, CodeDuplicate, "bundle: an entitlement of the name %s stands in %s, and both are asked for by name", b.Name, e.File)
		return
	}
	if other, ok := l.set.bundles[b.Name]; ok && b.Name != "" {
		l.fail(at, CodeDuplicate, "bundle: %s already stands in %s", b.Name, other.File)
		return
	}
	b.Owner = l.name(f.need("owner"), "owner", false)
	at = f.need("entitlements")
	b.Entitlements = l.texts(at, "entitlements")
	if before := len(l.errs); at != nil {
		l.checkMembers(b, at)
		if before == len(l.errs) && len(b.Entitlements) == len(l.set.members(b)) {
			l.set.bundles[b.Name] = b
			l.checkTogether(b, at)
			terms, _ := l.set.Terms(b.Name)
			b.Tests = l.readTests(terms, f.opt("tests"))
		}
	}
	if b.Name != "" {
		l.set.bundles[b.Name] = b
	}
}

// checkMembers refuses what is no list of entitlements.
func (l *loader) checkMembers(b Bundle, n *node) {
	switch {
	case len(b.Entitlements) == 1:
		l.fail(n, CodeValue, "entitlements: one, and a bundle is two or more that start and end as one")
	case len(b.Entitlements) > MaxBundle:
		l.fail(n, CodeCap, "entitlements: %d, want at most %d", len(b.Entitlements), MaxBundle)
	}
	for _, item := range n.items {
		e, ok := l.set.entitlements[item.text]
		switch {
		case item.text == "":
		case !ok && slices.Contains(l.bundleFiles, path.Join(bundlesFolder, item.text+".yaml")):
			l.fail(item, CodeUnknownName, "entitlements: %s is a bundle, and a bundle is of entitlements: name those of it", item.text)
		case !ok && !l.someEntitlements:
			l.fail(item, CodeUnknownName, "entitlements: no entitlement %q%s", item.text, didYouMean(item.text, keys(l.set.entitlements)))
		case ok && e.Signed:
			l.fail(item, CodeValue, "entitlements: %s is approved by signature (signed: true), and a signature is on the offer of one entitlement: ask for it by itself", e.Name)
		}
	}
}

// checkTogether refuses entitlements that nobody could ever be granted as one.
func (l *loader) checkTogether(b Bundle, n *node) {
	members := l.set.members(b)
	l.checkSameParams(members, n)
	l.checkSameAskers(members, n)
	var steps [][]Step
	for _, e := range members {
		if e.Auto == "" {
			steps = append(steps, e.Steps)
		}
	}
	if short, ok := l.tooFew(mergeSteps(steps)); ok {
		l.fail(n, CodeNobody, "entitlements: %s, and a person counts once over all steps: nobody could ever satisfy it", short.Words())
	}
}

// checkSameParams refuses parameters of one name that are not one thing.
func (l *loader) checkSameParams(members []*Entitlement, n *node) {
	for i, e := range members {
		for _, p := range e.Params {
			for _, other := range members[:i] {
				q, ok := other.Param(p.Name)
				if !ok {
					continue
				}
				if p.Type != q.Type {
					l.fail(n, CodeValue, "entitlements: param %s is %s in %s and %s in %s, and is given once: name it otherwise in one of them", p.Name, q.Type, other.Name, p.Type, e.Name)
				} else if p.apart(q) {
					l.fail(n, CodeNobody, "entitlements: param %s has no value that both %s and %s take", p.Name, other.Name, e.Name)
				}
			}
		}
	}
}

// apart reports whether no value can be given for both, as far as their lists and
// bounds tell.
func (p Param) apart(q Param) bool {
	disjoint := func(list []scope.Value, other Param) bool {
		return len(list) > 0 && !slices.ContainsFunc(list, func(v scope.Value) bool { return other.check(v) == nil })
	}
	return disjoint(p.Values, q) || disjoint(q.Values, p) ||
		!p.Max.IsZero() && !q.Min.IsZero() && !p.maxConstraint().Satisfied(q.Min) ||
		!q.Max.IsZero() && !p.Min.IsZero() && !q.maxConstraint().Satisfied(p.Min)
}

// checkSameAskers refuses entitlements that no one may ask for all of: none is a
// person's and a workload's, and where no group is named the names tell.
func (l *loader) checkSameAskers(members []*Entitlement, n *node) {
	for i, e := range members {
		for _, other := range members[:i] {
			if len(e.Who) > 0 && len(other.Who) > 0 && !slices.ContainsFunc(e.Who, func(a Subject) bool {
				return slices.ContainsFunc(other.Who, func(b Subject) bool { return l.meets(a, b) })
			}) {
				l.fail(n, CodeNobody, "entitlements: nobody may ask for both %s and %s", other.Name, e.Name)
			}
		}
	}
}

// meets reports whether somebody can be both.
func (l *loader) meets(a, b Subject) bool {
	switch {
	case a.kind() != b.kind():
		return false
	case a.IsGroup() || b.IsGroup():
		return true
	case !a.person.IsZero() || !b.person.IsZero():
		return l.personOf(a) == l.personOf(b)
	default:
		return a == b
	}
}

// tooFew returns a step for which persons are lacking, if everybody who approves is
// named and each of them counts once over all steps. Groups have members that policy
// does not know.
func (l *loader) tooFew(steps []Step) (Step, bool) {
	taken := map[identity.Person]int{} // by which seat
	var seats [][]identity.Person
	var of []Step
	for _, s := range steps {
		var persons []identity.Person
		for _, text := range s.Any {
			who, err := ParseSubject(text)
			if err != nil || strings.HasPrefix(text, "group:") {
				persons = nil
				break
			}
			persons = append(persons, l.personOf(who))
		}
		if persons == nil {
			continue
		}
		for range s.Count {
			seats, of = append(seats, persons), append(of, s)
		}
	}
	for i := range seats {
		if !seat(i, seats, taken, map[identity.Person]bool{}) {
			return of[i], true
		}
	}
	return Step{}, false
}

// seat finds a person for a seat, moving others if it must (bipartite matching).
func seat(i int, seats [][]identity.Person, taken map[identity.Person]int, seen map[identity.Person]bool) bool {
	for _, p := range seats[i] {
		if seen[p] {
			continue
		}
		seen[p] = true
		other, held := taken[p]
		if !held || seat(other, seats, taken, seen) {
			taken[p] = i
			return true
		}
	}
	return false
}
