package policy

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/scope"
)

// Bundle is several entitlements, across apps, that are asked for, granted and ended
// as one (design §2). It gives nothing by itself: a request for it is one for each of
// its entitlements, with the same duration and the parameters that bear the same name,
// and what any of them refuses is refused whole. Nobody changes it after Load.
type Bundle struct {
	Name         string
	Owner        string
	Entitlements []string // in the order of the file, two or more
	Tests        []Test
	File         string
	Line         int
}

// MaxBundle is how many entitlements a bundle may have.
const MaxBundle = 16

// Bundles returns all bundles, sorted by name.
func (s *Set) Bundles() []Bundle {
	out := make([]Bundle, 0, len(s.bundles))
	for _, name := range slices.Sorted(maps.Keys(s.bundles)) {
		out = append(out, s.bundles[name])
	}
	return out
}

// Bundle returns the bundle of that name.
func (s *Set) Bundle(name string) (Bundle, bool) {
	b, ok := s.bundles[name]
	return b, ok
}

// members returns the entitlements of b. Load has seen that they are there.
func (s *Set) members(b Bundle) []*Entitlement {
	out := make([]*Entitlement, 0, len(b.Entitlements))
	for _, name := range b.Entitlements {
		if e, ok := s.entitlements[name]; ok {
			out = append(out, e)
		}
	}
	return out
}

// askable returns the entitlements that a request for a name is about: that one, or
// those of the bundle; none if there is nothing of that name.
func (s *Set) askable(name string) []*Entitlement {
	if e, ok := s.entitlements[name]; ok {
		return []*Entitlement{e}
	}
	if b, ok := s.bundles[name]; ok {
		return s.members(b)
	}
	return nil
}

// names returns everything that can be asked for, sorted.
func (s *Set) names() []string {
	out := append(keys(s.entitlements), keys(s.bundles)...)
	slices.Sort(out)
	return out
}

// Terms returns what whoever asks for a name is asked for and held to: the
// entitlement of that name; for a bundle an entitlement that has its name, owner and
// place, on no app, with the strictest value of each of its own. That is for showing,
// not for deciding: who may ask and who approves stands in the members only.
func (s *Set) Terms(name string) (*Entitlement, bool) {
	if e, ok := s.entitlements[name]; ok {
		return e, true
	}
	b, ok := s.bundles[name]
	if !ok {
		return nil, false
	}
	out := &Entitlement{Name: b.Name, Owner: b.Owner, Tests: b.Tests, File: b.File, Line: b.Line}
	for _, e := range s.members(b) {
		out.Class = max(out.Class, e.Class)
		out.Max, out.Default = least(out.Max, e.Max), least(out.Default, e.Default)
		out.IdleAfter = least(out.IdleAfter, e.IdleAfter)
		out.Justify = out.Justify || e.Justify
		for _, p := range e.Params {
			out.addParam(p)
		}
	}
	return out, true
}

// least returns the smaller of two durations of which 0 bounds nothing.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// addParam adds a parameter of a member: one of a name that is there is the same one,
// and the stricter values count.
func (e *Entitlement) addParam(p Param) {
	i := slices.IndexFunc(e.Params, func(q Param) bool { return q.Name == p.Name })
	if i < 0 {
		e.Params = append(e.Params, p)
		return
	}
	q := &e.Params[i]
	q.Required = q.Required || p.Required
	q.Any = !q.Required
	if q.Pattern == "" { // of two the first is shown; each member asks for its own
		q.Pattern, q.pattern = p.Pattern, p.pattern
	}
	switch {
	case len(q.Values) == 0:
		q.Values = p.Values
	case len(p.Values) > 0:
		q.Values = slices.DeleteFunc(slices.Clone(q.Values), func(v scope.Value) bool { return !slices.Contains(p.Values, v) })
	}
	if q.Max.IsZero() || !p.Max.IsZero() && q.maxConstraint().Satisfied(p.Max) {
		q.Max = p.Max
	}
	if q.Min.IsZero() || !p.Min.IsZero() && q.minConstraint().Satisfied(p.Min) {
		q.Min = p.Min
	}
}

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
	for j := range all {
		alike := all[i].holds(all[j].Step)
		if j == i || !all[j].holds(all[i].Step) || alike && j > i {
			continue
		}
		shared := func(of int) bool { return all[j].of[of] }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(all[i].of)), shared) {
			return j
		}
	}
	return -1
}

// holds reports whether whoever satisfies s satisfies t.
func (s Step) holds(t Step) bool {
	return s.Count >= t.Count && (s.Signed || !t.Signed) &&
		!slices.ContainsFunc(s.Any, func(who string) bool { return !slices.Contains(t.Any, who) })
}

// CatalogueOf returns what names the operations that a request for a name is expanded
// against: the digest of its app's catalogue; of a bundle one over those of all its
// apps; "" if there is nothing of that name.
func (s *Set) CatalogueOf(name string) string {
	if e, ok := s.entitlements[name]; ok {
		return s.apps[e.App].Catalogue
	}
	b, ok := s.bundles[name]
	if !ok {
		return ""
	}
	files := map[string][]byte{}
	for _, e := range s.members(b) {
		files[e.App] = []byte(s.apps[e.App].Catalogue)
	}
	return Digest(files)
}
