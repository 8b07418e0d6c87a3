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
	var steps []Step
	for _, e := range s.members(b) {
		m := s.decide(e.share(in))
		d.members = append(d.members, m)
		d.out.Reasons = append(d.out.Reasons, m.out.Reasons...)
		switch m.out.Outcome {
		case Granted:
		case NeedsApproval:
			outcome = NeedsApproval
			steps = append(steps, m.out.Steps...)
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

// mergeSteps leaves out a step that another one holds in itself: whoever satisfies
// that one has satisfied this one too. What is left is asked for in order, and a
// person counts once over all of it.
func mergeSteps(steps []Step) []Step {
	var out []Step
	for i, s := range steps {
		holds := slices.ContainsFunc(steps[:i], func(o Step) bool { return o.holds(s) }) ||
			slices.ContainsFunc(steps[i+1:], func(o Step) bool { return o.holds(s) && !s.holds(o) })
		if !holds {
			out = append(out, s)
		}
	}
	for i := range out {
		for _, s := range steps {
			if out[i].holds(s) { // the shorter time counts
				out[i].Within = min(out[i].Within, s.Within)
			}
		}
	}
	return out
}

// holds reports whether whoever satisfies s satisfies t.
func (s Step) holds(t Step) bool {
	return s.Count >= t.Count && (s.Signed || !t.Signed) &&
		!slices.ContainsFunc(s.Any, func(who string) bool { return !slices.Contains(t.Any, who) })
}
