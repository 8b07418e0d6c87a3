package policy

import (
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
