package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Outlook is what a policy would mean in place of another, as far as the files say it.
type Outlook struct {
	Comparison
	Reach     []Reach
	Overlaps  []Overlap   // that a changed entitlement has a part in
	Unreached []Unreached // operations of apps that no entitlement gives
}

// Reach is what somebody who is named as who may ask gains and loses: operations as
// "app operation", under whatever rule. Sorted by Who, their members sorted.
type Reach struct {
	Who   string // a group, a person, an account or a workload
	Gains []string
	Loses []string
	Known []string // of a group: members that somebody knows of; Look knows of none
}

// Overlap is two entitlements under which the same may be asked for by the same. A
// request names one of them, and that one's rule decides.
type Overlap struct {
	App        string
	Operations []string
	Who        []string
	One, Other string   // entitlements
	Stricter   []string // by which values which of them is the stricter, for people
}

// Unreached are operations of an app that no entitlement gives to anybody.
type Unreached struct {
	App        string
	Operations []string
}

// Look compares two policies, and looks at what the second one makes possible. With
// before nil everything is new.
func Look(before, after *Set) Outlook {
	out := Outlook{Comparison: Compare(before, after)}
	if before == nil {
		before = newSet(nil, "")
	}
	out.Reach = reach(before, after)
	changed := map[string]bool{}
	for _, c := range out.Changes {
		if name, ok := strings.CutPrefix(c.What, "entitlement "); ok {
			changed[name] = true
		}
	}
	out.Overlaps = after.overlaps(changed)
	out.Unreached = after.unreached()
	return out
}

// asks returns what each subject may ask for at all.
func (s *Set) asks() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, e := range s.entitlements {
		for _, who := range e.Who {
			name := who.String()
			if out[name] == nil {
				out[name] = map[string]bool{}
			}
			for _, operation := range e.Operations() {
				out[name][e.App+" "+operation] = true
			}
		}
	}
	return out
}

func reach(before, after *Set) []Reach {
	was, now := before.asks(), after.asks()
	var out []Reach
	for _, who := range both(was, now) {
		r := Reach{Who: who, Gains: without(keys(now[who]), keys(was[who])), Loses: without(keys(was[who]), keys(now[who]))}
		if len(r.Gains)+len(r.Loses) > 0 {
			out = append(out, r)
		}
	}
	return out
}

// overlaps lists the pairs of which one is among those named.
func (s *Set) overlaps(named map[string]bool) []Overlap {
	type place struct{ app, operation, who string }
	at := map[place][]*Entitlement{}
	for _, e := range s.Entitlements() {
		for _, operation := range e.Operations() {
			for _, who := range e.Who {
				p := place{e.App, operation, who.String()}
				at[p] = append(at[p], e)
			}
		}
	}
	found := map[[2]string]*Overlap{}
	for p, list := range at {
		for i, one := range list {
			for _, other := range list[i+1:] {
				if !named[one.Name] && !named[other.Name] {
					continue
				}
				pair := [2]string{one.Name, other.Name}
				if found[pair] == nil {
					found[pair] = &Overlap{App: p.app, One: one.Name, Other: other.Name, Stricter: stricter(one, other)}
				}
				found[pair].Operations = append(found[pair].Operations, p.operation)
				found[pair].Who = append(found[pair].Who, p.who)
			}
		}
	}
	var out []Overlap
	for _, o := range found {
		slices.Sort(o.Operations)
		slices.Sort(o.Who)
		o.Operations, o.Who = slices.Compact(o.Operations), slices.Compact(o.Who)
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Overlap) int {
		return cmp.Or(strings.Compare(a.One, b.One), strings.Compare(a.Other, b.Other))
	})
	return out
}

// stricter says which of two entitlements has the stricter value, for each by which
// they differ.
func stricter(a, b *Entitlement) []string {
	var out []string
	say := func(what, is string, strict *Entitlement, other string) {
		out = append(out, fmt.Sprintf("%s: %s has %s, the other %s", what, strict.Name, is, other))
	}
	first := func(less bool) (strict, other *Entitlement) {
		if less {
			return a, b
		}
		return b, a
	}
	if a.Class != b.Class {
		x, y := first(a.Class > b.Class)
		say("class", x.Class.String(), x, y.Class.String())
	}
	if a.Max != b.Max {
		x, y := first(a.Max < b.Max)
		say("grant.max", durationText(x.Max), x, durationText(y.Max))
	}
	if a.Auto != b.Auto && (a.Auto == "") != (b.Auto == "") {
		x, y := first(a.Auto == "")
		say("approve", stepWords(x.Steps), x, "the rule "+y.Auto)
	}
	if n, m := approvalsOf(a), approvalsOf(b); n != m && n > 0 && m > 0 {
		x, y := first(n > m)
		say("approvals", fmt.Sprint(max(n, m)), x, fmt.Sprint(approvalsOf(y)))
	}
	if a.Justify != b.Justify {
		x, _ := first(a.Justify)
		say("justification", "text", x, "none")
	}
	return out
}

func approvalsOf(e *Entitlement) int {
	n := 0
	for _, s := range e.Steps {
		n += s.Count
	}
	return n
}

func (s *Set) unreached() []Unreached {
	given := map[string]map[string]bool{}
	for _, e := range s.entitlements {
		if given[e.App] == nil {
			given[e.App] = map[string]bool{}
		}
		for _, operation := range e.Operations() {
			given[e.App][operation] = true
		}
	}
	var out []Unreached
	for _, a := range s.Apps() {
		if missing := without(specNames(s.catalogues[a.Name]), keys(given[a.Name])); len(missing) > 0 {
			out = append(out, Unreached{App: a.Name, Operations: missing})
		}
	}
	return out
}
