package access

import (
	"slices"

	"github.com/mayflyproxy/mayfly/scope"
)

// within reports whether everything that inner covers, outer covers too, as far
// as can be told rule by rule: what cannot be told is no.
func within(inner, outer scope.Scope) bool {
	if inner.App != outer.App {
		return false
	}
	for _, r := range inner.Rules {
		if !slices.ContainsFunc(outer.Rules, func(o scope.Rule) bool { return ruleWithin(r, o) }) {
			return false
		}
	}
	return true
}

// ruleWithin: every constraint of outer is met by whatever meets inner's.
func ruleWithin(inner, outer scope.Rule) bool {
	if inner.Operation != outer.Operation {
		return false
	}
	for _, o := range outer.Where {
		if !slices.ContainsFunc(inner.Where, func(i scope.Constraint) bool { return implies(i, o) }) {
			return false
		}
	}
	return true
}

// implies reports whether every value that meets a meets b.
func implies(a, b scope.Constraint) bool {
	if a.Attribute != b.Attribute {
		return false
	}
	switch a.Comparison {
	case scope.Is, scope.In: // a lists all that meets it
		return len(a.Values) > 0 && !slices.ContainsFunc(a.Values, func(v scope.Value) bool { return !b.Satisfied(v) })
	case scope.Max, scope.Min, scope.Under: // ordered: the bound itself is the furthest
		return a.Comparison == b.Comparison && len(a.Values) == 1 && b.Satisfied(a.Values[0])
	default:
		return false
	}
}
