package scope

import "slices"

// Within reports whether every operation that s covers is covered by outer too. It
// errs to the side of no: each rule of s must lie within one rule of outer, as it
// is written. A scope that covers nothing is within every scope of its app.
func (s Scope) Within(outer Scope) bool {
	if s.App == "" || s.App != outer.App {
		return false
	}
	for _, r := range s.Rules {
		if !slices.ContainsFunc(outer.Rules, r.within) {
			return false
		}
	}
	return true
}

// within reports whether each constraint of outer follows from one of r.
func (r Rule) within(outer Rule) bool {
	if r.Operation != outer.Operation {
		return false
	}
	for _, o := range outer.Where {
		if !slices.ContainsFunc(r.Where, func(c Constraint) bool { return c.implies(o) }) {
			return false
		}
	}
	return true
}

// implies reports whether every value that meets c meets o.
func (c Constraint) implies(o Constraint) bool {
	if c.Attribute != o.Attribute || len(c.Values) == 0 || len(o.Values) == 0 {
		return false
	}
	t := c.Values[0].Type()
	if c.Check(t) != nil || o.Check(t) != nil {
		return false
	}
	switch c.Comparison {
	case Is, In: // a finite set: each member must do
		return !slices.ContainsFunc(c.Values, func(v Value) bool { return !o.Satisfied(v) })
	case Max:
		return o.Comparison == Max && sameUnit(c.Values[0], o.Values[0]) && c.Values[0].num <= o.Values[0].num
	case Min:
		return o.Comparison == Min && sameUnit(c.Values[0], o.Values[0]) && c.Values[0].num >= o.Values[0].num
	case Under:
		return o.Comparison == Under && under(c.Values[0].text, o.Values[0].text)
	default:
		return false
	}
}
