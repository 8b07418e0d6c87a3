package policy

import (
	"cmp"
	"maps"
	"slices"
)

// Joint is what a bundle would grant of one of its entitlements.
type Joint struct {
	Entitlement string
	Expansion
}

// decideBundle asks each entitlement of b, each by its own rules. What one of them
// refuses is refused; where all rules approve it is granted at once; else every step
// that one of them asks for is asked for.
func (s *Set) decideBundle(b Bundle, in Input) *deciding {
	d := &deciding{set: s, in: in, out: Decision{Inputs: s.snapshot(in)}}
	if in.Duration == 0 {
		terms, _ := s.Terms(b.Name)
		in.Duration = terms.Default
	}
	if r := s.paramOfNobody(b, in.Params); r != nil {
		d.refuse(r)
	}
	outcome := Granted
	var steps [][]Step
	for _, e := range s.members(b) {
		m := s.decide(e.share(in))
		d.members = append(d.members, m)
		d.out.Reasons = append(d.out.Reasons, m.out.Reasons...)
		switch m.out.Outcome {
		case Granted:
		case NeedsApproval:
			outcome = NeedsApproval
			steps = append(steps, m.out.Steps)
		default:
			d.out.Code, d.out.Sentence = cmp.Or(d.out.Code, m.out.Code), cmp.Or(d.out.Sentence, m.out.Sentence)
		}
	}
	switch {
	case d.out.Code != "" || len(d.members) == 0:
		return d
	case outcome == Granted:
		d.out.Outcome, d.out.Sentence = Granted, "approved by the rule of each of its entitlements"
	default:
		d.out.Outcome, d.out.Steps = NeedsApproval, mergeSteps(steps)
		d.out.Sentence = "waits for " + d.out.Steps[0].Words()
	}
	d.out.Duration = in.Duration
	d.join(b)
	return d
}

// share is the part of a bundle's question that is about e.
func (e *Entitlement) share(in Input) Input {
	in.Entitlement = e.Name
	in.Params = e.Takes(in.Params)
	return in
}

// Takes returns those of the parameters that e has.
func (e *Entitlement) Takes(params map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range params {
		if _, ok := e.Param(name); ok {
			out[name] = text
		}
	}
	return out
}

// paramOfNobody refuses a parameter that no entitlement of b has.
func (s *Set) paramOfNobody(b Bundle, given map[string]string) *Refusal {
	terms, _ := s.Terms(b.Name)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := terms.Param(name); !ok {
			return &Refusal{Code: DenyParam, Sentence: terms.unknownParam(name), File: b.File, Line: b.Line}
		}
	}
	return nil
}

// join puts together what the members would grant: each in full, and over all of them
// the strictest class and idle time, so that they end as one.
func (d *deciding) join(b Bundle) {
	terms, _ := d.set.Terms(b.Name)
	out := Expansion{Class: terms.Class, IdleAfter: terms.IdleAfter, Params: map[string]string{}, Catalogue: d.set.CatalogueOf(b.Name)}
	for _, m := range d.members {
		x := m.out.Expansion
		x.IdleAfter = terms.IdleAfter
		maps.Copy(out.Params, x.Params)
		out.ShownAny = append(out.ShownAny, x.ShownAny...)
		d.out.Members = append(d.out.Members, Joint{m.e.Name, x})
	}
	slices.Sort(out.ShownAny)
	out.ShownAny = slices.Compact(out.ShownAny)
	d.out.Expansion = out
}

// merged is a step that stands for one of each of some entitlements.
type merged struct {
	Step
	of map[int]bool // which of them, by their place
}

// mergeSteps puts the steps of several entitlements into one list. It leaves out a step
// that one of another entitlement holds in itself: whoever satisfies that one has
// satisfied this one too. Two steps of one entitlement always stay two, since each wants
// people of its own. What is left is asked for in order, and a person counts once over
// all of it.
func mergeSteps(each [][]Step) []Step {
	var all []merged
	for i, steps := range each {
		for _, s := range steps {
			all = append(all, merged{s, map[int]bool{i: true}})
		}
	}
	for i := 0; i < len(all); {
		j := standsFor(all, i)
		if j < 0 {
			i++
			continue
		}
		maps.Copy(all[j].of, all[i].of)
		all[j].Within = min(all[j].Within, all[i].Within) // the shorter time counts
		all = slices.Delete(all, i, i+1)
	}
	out := make([]Step, len(all))
	for i, m := range all {
		out[i] = m.Step
	}
	return out
}

// standsFor returns the place of a step that can stand for the one at i, -1 if none can.
// Of two that are alike the first does.
func standsFor(all []merged, i int) int {
	one := all[i]
	stands := func(o merged) bool { return o.apart(one) && o.holds(one.Step) }
	if j := slices.IndexFunc(all[:i], stands); j >= 0 {
		return j
	}
	return slices.IndexFunc(all, func(o merged) bool { return stands(o) && !one.holds(o.Step) })
}

// apart reports whether no entitlement has a step in both.
func (m merged) apart(o merged) bool {
	return !slices.ContainsFunc(slices.Collect(maps.Keys(m.of)), func(i int) bool { return o.of[i] })
}

// holds reports whether whoever satisfies s satisfies t.
func (s Step) holds(t Step) bool {
	return s.Count >= t.Count && (s.Signed || !t.Signed) &&
		!slices.ContainsFunc(s.Any, func(who string) bool { return !slices.Contains(t.Any, who) })
}
