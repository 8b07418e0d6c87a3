package stripe

import (
	"maps"
	"slices"
)

// check reports whether v, the field called name, is of a form that Stripe's
// description has: every member known, lists by index or by [] and not by both.
// An error is a *grant.Denial that names the member.
func (r ref) check(v *formValue, name string) error {
	switch {
	case v.leaf:
		return r.checkScalar(v.text, name)
	case v.list != nil:
		if r.shape == nil || !r.shape.items.scalar {
			return malformed("%.64q is no list of plain values", name)
		}
		return nil
	case r.shape == nil:
		return malformed("%.64q is a plain value and has no members", name)
	default:
		return r.shape.checkMembers(v.members, name)
	}
}

// checkScalar lets the empty text, which unsets, stand for a composite.
func (r ref) checkScalar(text, name string) error {
	if r.scalar || text == "" && r.shape != nil {
		return nil
	}
	return malformed("%.64q is no plain value", name)
}

func (s *shape) checkMembers(members map[string]*formValue, name string) error {
	list := !s.items.isZero()
	for key := range members {
		list = list && isIndex(key)
	}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		member, known := s.fields[key]
		switch {
		case list:
			member = s.items
		case !known:
			member = s.values
		}
		full := name + "[" + key + "]"
		if member.isZero() {
			return malformed("the API has no field %.96q here", full)
		}
		if err := member.check(members[key], full); err != nil {
			return err
		}
	}
	return nil
}

// isIndex reports whether s is a decimal index without leading zeros.
func isIndex(s string) bool {
	if s == "" || len(s) > 4 || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
