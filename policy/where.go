package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
)

// rule is one operation of an entitlement, with what bounds it.
type rule struct {
	operation string
	where     []Bound
}

func (l *loader) readAllow(n *node, e *Entitlement) {
	for _, item := range l.list(n, "allow") {
		f := l.object(item, schema{what: "allow", known: []string{"operations", "where"}, later: []string{"resolve", "budget", "confirm"}})
		if f == nil {
			continue
		}
		a := Allow{Operations: l.texts(f.need("operations"), "operations"), Where: l.readWhere(f.opt("where"), e), Line: item.line}
		e.Allow = append(e.Allow, a)
		l.expand(e, a, f.opt("operations"))
	}
	slices.SortStableFunc(e.expanded, func(a, b rule) int { return strings.Compare(a.operation, b.operation) })
}

func (l *loader) readWhere(n *node, e *Entitlement) []Bound {
	if n == nil {
		return nil
	}
	if n.shape != shapeMap || len(n.keys) == 0 {
		l.fail(n, CodeValue, "where: want attributes and comparisons, such as amount: {max: 100}")
		return nil
	}
	var out []Bound
	for i, k := range n.keys {
		f := l.object(n.items[i], schema{what: "where " + k.text, known: comparisons()})
		if f == nil {
			continue
		}
		if len(f.n.keys) == 0 {
			l.fail(k, CodeMissing, "where %s: want a comparison: is, in, max, min or under", k.text)
		}
		for _, c := range f.n.keys {
			if !slices.Contains(comparisons(), c.text) {
				continue // reported
			}
			if b, ok := l.readBound(k, c, f.opt(c.text), e); ok {
				out = append(out, b)
			}
		}
	}
	return out
}

func comparisons() []string { return []string{"is", "in", "max", "min", "under"} }

func (l *loader) readBound(attribute, comparison, n *node, e *Entitlement) (Bound, bool) {
	what := "where " + attribute.text
	b := Bound{Attribute: attribute.text, Comparison: scope.Comparison(comparison.text), Line: attribute.line, column: attribute.column}
	if n == nil {
		return b, false
	}
	items := []*node{n}
	if b.Comparison == scope.In {
		items = l.list(n, what+": in")
	}
	for _, item := range items {
		text := l.text(item, what)
		if text == "" {
			return b, false
		}
		o := Operand{Literal: text}
		if name, ok := strings.CutPrefix(text, "$"); ok {
			o = Operand{Param: name}
			p, known := e.Param(name)
			if !known {
				l.fail(item, CodeUnknownName, "%s: no parameter %q under params:%s", what, text, didYouMean(name, e.paramNames()))
				return b, false
			}
			if p.Any && b.Comparison == scope.In {
				l.fail(item, CodeConstraint, "%s: %s may be left out, which would leave open what the other values then mean: use is, or make it required", what, text)
			}
			e.bound = append(e.bound, name)
		}
		if slices.Contains(b.Values, o) {
			l.fail(item, CodeDuplicate, "%s: %s is there twice", what, text)
		}
		b.Values = append(b.Values, o)
	}
	return b, len(b.Values) > 0
}

// expand checks a line of allow against the catalogue and adds its operations.
// Two lines may allow one operation as alternatives, both bounding the same
// attributes. Otherwise the line that bounds less would quietly undo the other:
// refused.
func (l *loader) expand(e *Entitlement, a Allow, at *node) {
	cat := l.set.catalogues[e.App]
	if cat == nil || at == nil {
		return
	}
	names := l.expandPatterns(cat, a.Operations, at)
	l.checkWildcard(e, cat, at)
	for _, name := range names {
		for _, other := range e.expanded {
			if other.operation == name && !slices.Equal(attributesOf(other.where), attributesOf(a.Where)) {
				l.fail(at, CodeOverlap, "operations: %s is allowed by two lines that bound different attributes, and the wider one would undo the other", name)
				return
			}
		}
	}
	for _, b := range a.Where {
		l.checkBound(e, cat, names, b)
	}
	l.checkRange(a)
	for _, name := range names {
		e.expanded = append(e.expanded, rule{operation: name, where: a.Where})
	}
}

// checkWildcard finds a pattern that reaches operations which write: it would come to
// mean whatever a later catalogue adds, and nobody reads a list of what it means now.
func (l *loader) checkWildcard(e *Entitlement, cat *scope.Catalogue, at *node) {
	for _, item := range at.items {
		got, err := cat.Expand(item.text)
		if err != nil || slices.Equal(got, []string{item.text}) {
			continue
		}
		i := slices.IndexFunc(got, func(name string) bool { spec, _ := cat.Lookup(name); return spec.Class.Writes() })
		if i >= 0 {
			spec, _ := cat.Lookup(got[i])
			l.needsException(ExcuseWildcard, e.Name, item, "operations: %q is a wildcard that reaches %s (%s): name each operation", item.text, got[i], spec.Class)
			return
		}
	}
}

func attributesOf(where []Bound) []string {
	var out []string
	for _, b := range where {
		out = append(out, b.Attribute)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// expandPatterns returns the sorted operations that patterns stand for.
func (l *loader) expandPatterns(cat *scope.Catalogue, patterns []string, at *node) []string {
	var names []string
	for _, pattern := range patterns {
		got, err := cat.Expand(pattern)
		if err != nil {
			l.fail(at, CodeUnknownName, "operations: %v%s", err, didYouMean(pattern, specNames(cat)))
		}
		names = append(names, got...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func specNames(cat *scope.Catalogue) []string {
	var out []string
	for _, s := range cat.Specs() {
		out = append(out, s.Name)
	}
	return out
}

// checkBound checks one constraint against the schema of every operation that it
// narrows, and reports the first that cannot carry it.
func (l *loader) checkBound(e *Entitlement, cat *scope.Catalogue, names []string, b Bound) {
	for _, name := range names {
		spec, _ := cat.Lookup(name)
		attr, ok := spec.Attribute(b.Attribute)
		if !ok {
			l.failAt(b.Line, b.column, CodeConstraint, "where: %s has no attribute %q, %s", name, b.Attribute, has(spec))
			return
		}
		if err := e.carries(b, attr); err != nil {
			l.failAt(b.Line, b.column, CodeConstraint, "where: %s: %v", name, err)
			return
		}
	}
}

func has(s scope.Spec) string {
	if len(s.Attributes) == 0 {
		return "it has none"
	}
	var out []string
	for _, a := range s.Attributes {
		out = append(out, a.Name+" ("+a.Type.String()+")")
	}
	return "it has " + strings.Join(out, ", ")
}

// carries reports whether an attribute can be compared as b says.
func (e *Entitlement) carries(b Bound, attr scope.AttributeSpec) error {
	c := scope.Constraint{Attribute: b.Attribute, Comparison: b.Comparison}
	for _, o := range b.Values {
		v, err := e.sample(o, attr)
		if err != nil {
			return err
		}
		c.Values = append(c.Values, v)
	}
	return c.Check(attr.Type)
}

// sample returns the literal, or for a parameter some value of its type.
func (e *Entitlement) sample(o Operand, attr scope.AttributeSpec) (scope.Value, error) {
	if o.Param == "" {
		v, err := parseValue(attr.Type, o.Literal)
		if err != nil {
			return v, fmt.Errorf("%s is %s: %w", attr.Name, attr.Type, err)
		}
		return v, nil
	}
	p, _ := e.Param(o.Param)
	if p.Type != attr.Type {
		return scope.Value{}, fmt.Errorf("%s is %s, and $%s is %s", attr.Name, attr.Type, p.Name, p.Type)
	}
	text := map[scope.Type]string{scope.TypePath: "/", scope.TypeBoolean: "true", scope.TypeInteger: "0", scope.TypeMinorUnits: "0", scope.TypeMoney: "0 usd"}[p.Type]
	return scope.ParseValue(p.Type, text)
}

// checkRange refuses a literal range that nothing is in.
func (l *loader) checkRange(a Allow) {
	for _, low := range a.Where {
		for _, high := range a.Where {
			if low.Comparison != scope.Min || high.Comparison != scope.Max || low.Attribute != high.Attribute {
				continue
			}
			lo, hi := low.Values[0], high.Values[0]
			if lo.Param != "" || hi.Param != "" {
				continue
			}
			for _, t := range []scope.Type{scope.TypeInteger, scope.TypeMoney} {
				lv, err1 := scope.ParseValue(t, lo.Literal)
				hv, err2 := scope.ParseValue(t, hi.Literal)
				c := scope.Constraint{Attribute: low.Attribute, Comparison: scope.Max, Values: []scope.Value{hv}}
				if err1 == nil && err2 == nil && !c.Satisfied(lv) {
					l.failAt(low.Line, low.column, CodeNobody, "where %s: nothing is at least %s and at most %s", low.Attribute, lo.Literal, hi.Literal)
				}
			}
		}
	}
}
