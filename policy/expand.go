package policy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/scope"
)

// Expansion is what an entitlement means with parameters filled in: exactly what
// an Offer shows and a Grant holds.
type Expansion struct {
	App       string
	Scope     scope.Scope // canonical
	Class     scope.Class
	Params    map[string]string // canonical texts, by name
	ShownAny  []string          // parameters left out, sorted; shown as any
	Catalogue string            // digest
	IdleAfter time.Duration     // unused for so long, the grant ends; 0: it does not
}

// Refusal is a no with its code and a sentence that names what is allowed.
type Refusal struct {
	Code     string // a Deny… code
	Sentence string
	File     string
	Line     int
}

// Error returns code: sentence.
func (r *Refusal) Error() string { return r.Code + ": " + r.Sentence }

// Expand fills parameters in. Its error is a *Refusal with DenyParam or
// DenyUnknownEntitlement.
func (s *Set) Expand(entitlement string, params map[string]string) (Expansion, error) {
	e, ok := s.entitlements[entitlement]
	if !ok {
		return Expansion{}, s.unknownEntitlement(entitlement)
	}
	values, refusal := e.readParams(params)
	if refusal != nil {
		return Expansion{}, refusal
	}
	return s.expand(e, values), nil
}

func (s *Set) unknownEntitlement(name string) *Refusal {
	shown := name
	if len(shown) > 128 {
		shown = strings.ToValidUTF8(shown[:128], "") + "…"
	}
	return &Refusal{Code: DenyUnknownEntitlement, Sentence: "no entitlement " + quote(shown) + didYouMean(name, s.names())}
}

// readParams reads everything that was given, and names everything wrong at once.
func (e *Entitlement) readParams(given map[string]string) (map[string]scope.Value, *Refusal) {
	var wrong []string
	values := map[string]scope.Value{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		p, ok := e.Param(name)
		if !ok {
			wrong = append(wrong, e.unknownParam(name))
			continue
		}
		v, err := p.read(given[name])
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		values[name] = v
	}
	for _, p := range e.Params {
		if _, ok := given[p.Name]; !ok && p.Required {
			wrong = append(wrong, p.Name+" is missing: "+p.Words())
		}
	}
	if len(wrong) > 0 {
		return nil, &Refusal{Code: DenyParam, Sentence: strings.Join(wrong, "; "), File: e.File, Line: e.lines.params}
	}
	return values, nil
}

func (e *Entitlement) unknownParam(name string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	if len(e.Params) == 0 {
		return e.Name + " takes no parameters, " + quote(name) + " was given"
	}
	return e.Name + " has no parameter " + quote(name) + ", it takes " + strings.Join(e.paramNames(), ", ")
}

func (s *Set) expand(e *Entitlement, values map[string]scope.Value) Expansion {
	out := Expansion{App: e.App, Class: e.Class, Params: map[string]string{}, Catalogue: s.apps[e.App].Catalogue, IdleAfter: e.IdleAfter}
	for name, v := range values {
		out.Params[name] = v.String()
	}
	for _, p := range e.Params {
		if _, ok := values[p.Name]; !ok {
			out.ShownAny = append(out.ShownAny, p.Name)
		}
	}
	slices.Sort(out.ShownAny)
	sc := scope.Scope{App: e.App}
	for _, r := range e.expanded {
		spec, _ := s.catalogues[e.App].Lookup(r.operation)
		sc.Rules = append(sc.Rules, scope.Rule{Operation: r.operation, Where: fill(r.where, spec, values)})
	}
	out.Scope = sc.Canonical()
	return out
}

// fill makes constraints of bounds. A bound by a parameter that was left out,
// which its any: true allows, is not there; every other value was checked at load.
func fill(where []Bound, spec scope.Spec, values map[string]scope.Value) []scope.Constraint {
	out := []scope.Constraint{}
	for _, b := range where {
		attr, _ := spec.Attribute(b.Attribute)
		c := scope.Constraint{Attribute: b.Attribute, Comparison: b.Comparison}
		open := false
		for _, o := range b.Values {
			v, given := values[o.Param]
			if o.Param == "" {
				// It parsed at load. Should it not now, the zero Value makes a
				// constraint that nothing meets.
				v, _ = parseValue(attr.Type, o.Literal)
				given = true
			}
			open = open || !given
			c.Values = append(c.Values, v)
		}
		if !open {
			out = append(out, c)
		}
	}
	return out
}
