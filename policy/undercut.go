package policy

import (
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// checkUndercuts finds entitlements that make another one's stronger rule pointless
// (docs/policy.md, "Undercuts"). Only those with an operation and a subject in common
// are compared, and what they ask for first: there are few different rules.
func (l *loader) checkUndercuts() {
	if l.o.InForce {
		return
	}
	all := l.set.Entitlements()
	type both struct{ app, operation, who string }
	byRule, asks := map[both]map[string][]*Entitlement{}, map[*Entitlement]string{}
	for _, e := range all {
		asks[e] = e.approvalKey()
		for _, op := range e.Operations() {
			for _, who := range e.Who {
				key := both{e.App, op, l.asker(who)}
				if byRule[key] == nil {
					byRule[key] = map[string][]*Entitlement{}
				}
				byRule[key][asks[e]] = append(byRule[key][asks[e]], e)
			}
		}
	}
	more := map[[2]string]bool{}
	asksMore := func(strong, weak *Entitlement) bool {
		key := [2]string{asks[strong], asks[weak]}
		is, known := more[key]
		if !known {
			is = strong.asksMoreThan(weak)
			more[key] = is
		}
		return is
	}
	for _, strong := range all {
		ops := l.strictest(strong)
		if len(ops) == 0 {
			continue
		}
		for _, who := range strong.Who {
			rules := byRule[both{strong.App, ops[0], l.asker(who)}]
			for _, asked := range keys(rules) {
				if !asksMore(strong, rules[asked][0]) {
					continue
				}
				for _, weak := range rules[asked] {
					if l.undercuts(weak, strong, ops) {
						l.file = weak.File
						l.needsException(ExcuseUndercut, weak.Name, &node{line: weak.lines.approve, column: weak.lines.approveColumn},
							"approve: %s gives %s to %s for less than %s, which wants %s: the weaker rule undercuts the stronger", weak.Name, ops[0], who, strong.Name, strong.wants())
					}
				}
			}
		}
	}
}

// strictest lists the operations of e that are of the strictest class among them: for
// their sake its rule is what it is.
func (l *loader) strictest(e *Entitlement) []string {
	var out []string
	top := scope.ClassNone
	for _, op := range e.Operations() {
		spec, _ := l.set.catalogues[e.App].Lookup(op)
		if spec.Class > top {
			top, out = spec.Class, nil
		}
		if spec.Class == top {
			out = append(out, op)
		}
	}
	return out
}

// undercuts reports whether weak surely gives all of ops that strong gives, as long and
// wherever. What they ask for is compared before.
func (l *loader) undercuts(weak, strong *Entitlement, ops []string) bool {
	if weak.Max < strong.Max {
		return false
	}
	if in := l.set.EnvironmentsOf(weak); len(in) > 0 {
		there := l.set.EnvironmentsOf(strong)
		if len(there) == 0 || slices.ContainsFunc(there, func(name string) bool { return !slices.Contains(in, name) }) {
			return false
		}
	}
	for _, op := range ops {
		spec, _ := l.set.catalogues[weak.App].Lookup(op)
		for _, s := range strong.rulesOn(op) {
			if !slices.ContainsFunc(weak.rulesOn(op), func(w rule) bool { return weak.reaches(w, strong, s, spec) }) {
				return false
			}
		}
	}
	return true
}

func (e *Entitlement) rulesOn(op string) []rule {
	i, found := slices.BinarySearchFunc(e.expanded, op, func(r rule, op string) int { return strings.Compare(r.operation, op) })
	if !found {
		return nil
	}
	n := i
	for n < len(e.expanded) && e.expanded[n].operation == op {
		n++
	}
	return e.expanded[i:n]
}

// asksMoreThan reports whether a request under e surely needs all that one under
// other needs, and sometimes more: approvals, signatures, a fresher login. Within what
// time approvals must come does not count.
func (e *Entitlement) asksMoreThan(other *Entitlement) bool {
	return e.asksAtLeast(other) && !other.asksAtLeast(e)
}

func (e *Entitlement) asksAtLeast(other *Entitlement) bool {
	return e.loginAtLeast(other) && e.approvalAtLeast(other)
}

func (e *Entitlement) loginAtLeast(other *Entitlement) bool {
	o := other.StepUp
	if o == nil {
		return true
	}
	s := e.StepUp
	if s == nil {
		return false
	}
	fresh := o.MaxAge == 0 || s.MaxAge > 0 && s.MaxAge <= o.MaxAge
	as := len(o.ACR) == 0 || len(s.ACR) > 0 && !slices.ContainsFunc(s.ACR, func(name string) bool { return !slices.Contains(o.ACR, name) })
	return fresh && as
}

func (e *Entitlement) approvalAtLeast(other *Entitlement) bool {
	switch {
	case strings.TrimSpace(other.Auto) == "true":
		return true
	case e.Auto != "" && e.Auto != other.Auto: // true sometimes, and nobody can tell how often
		return false
	case len(other.Steps) == 0:
		return len(e.Steps) == 0 // by rule only, and the rule is the same
	case len(e.Steps) == 0:
		return e.Auto != "" // by the same rule, which other has too, and by nothing else
	}
	i := 0
	for _, s := range e.Steps {
		if i < len(other.Steps) && s.atLeast(other.Steps[i]) {
			i++
		}
	}
	return i == len(other.Steps)
}

// atLeast reports whether whoever satisfies s satisfies other too.
func (s Step) atLeast(other Step) bool {
	return s.Count >= other.Count && (s.Signed || !other.Signed) &&
		!slices.ContainsFunc(s.Any, func(who string) bool { return !slices.Contains(other.Any, who) })
}

// approvalKey is the same for entitlements that ask for the same.
func (e *Entitlement) approvalKey() string {
	var b strings.Builder
	b.WriteString(e.Auto)
	for _, s := range e.Steps {
		b.WriteString("\x00" + s.Words())
	}
	if e.Signed {
		b.WriteString("\x00signed")
	}
	if e.StepUp != nil {
		b.WriteString("\x00" + strings.Join(e.StepUp.ACR, " ") + " " + e.StepUp.MaxAge.String())
	}
	return b.String()
}

// wants says in words what e asks for.
func (e *Entitlement) wants() string {
	var out []string
	if e.StepUp != nil {
		out = append(out, "a login by step_up")
	}
	for _, s := range e.Steps {
		out = append(out, s.Words())
	}
	if len(out) == 0 {
		return "its rule"
	}
	return strings.Join(out, ", then ")
}

// reaches reports whether a rule of e surely permits every operation that theirs of
// other permits, with the parameters that somebody may choose.
func (e *Entitlement) reaches(r rule, other *Entitlement, theirs rule, spec scope.Spec) bool {
	return !slices.ContainsFunc(r.where, func(b Bound) bool { return !e.allowsAll(b, other, theirs, spec) })
}

// allowsAll reports whether b surely holds for whatever theirs permits.
func (e *Entitlement) allowsAll(b Bound, other *Entitlement, theirs rule, spec scope.Spec) bool {
	for _, o := range b.Values {
		if p, ok := e.Param(o.Param); ok && p.Any {
			return true // it may be left out
		}
	}
	attr, _ := spec.Attribute(b.Attribute)
	for _, t := range theirs.where {
		if t.Attribute != b.Attribute || other.isOpen(t) {
			continue
		}
		if e.same(b, other, t) {
			return true
		}
		if b.Comparison == t.Comparison && (b.Comparison == scope.Max || b.Comparison == scope.Min) {
			if p, ok := e.Param(b.Values[0].Param); ok && len(p.Values) > 0 {
				continue
			}
			mine, free := e.limit(b, attr)
			them, all := other.limit(t, attr)
			if free || !all && (scope.Constraint{Attribute: b.Attribute, Comparison: b.Comparison, Values: []scope.Value{mine}}).Satisfied(them) {
				return true
			}
		}
	}
	return false
}

func (e *Entitlement) isOpen(b Bound) bool {
	return slices.ContainsFunc(b.Values, func(o Operand) bool { p, ok := e.Param(o.Param); return ok && p.Any })
}

// same reports whether two bounds compare alike with values from the same choice.
func (e *Entitlement) same(b Bound, other *Entitlement, t Bound) bool {
	return b.Comparison == t.Comparison && slices.EqualFunc(b.Values, t.Values, func(x, y Operand) bool {
		if x.Param == "" || y.Param == "" {
			return x == y
		}
		p, _ := e.Param(x.Param)
		q, _ := other.Param(y.Param)
		return p.Type == q.Type && (p.Pattern == "" || p.Pattern == q.Pattern) &&
			(len(p.Values) == 0 || slices.Equal(p.Values, q.Values)) && p.Min == q.Min && p.Max == q.Max
	})
}

// limit returns the widest value that a max or min can be given; free if any can.
func (e *Entitlement) limit(b Bound, attr scope.AttributeSpec) (v scope.Value, free bool) {
	o := b.Values[0]
	if o.Param == "" {
		v, _ = parseValue(attr.Type, o.Literal)
		return v, v.IsZero()
	}
	p, _ := e.Param(o.Param)
	v = p.Max
	if b.Comparison == scope.Min {
		v = p.Min
	}
	return v, v.IsZero()
}

// checkSelfApproval refuses steps whose only approvers are those who may ask: nobody
// approves their own request (P6).
func (l *loader) checkSelfApproval(e *Entitlement, n *node) {
	var askers []identity.Person
	for _, s := range e.Who {
		if s.IsGroup() || s.kind() == identity.KindWorkload {
			return
		}
		askers = append(askers, l.personOf(s))
	}
	if len(askers) == 0 {
		return // nobody may ask, and that was told already
	}
	for _, step := range e.Steps {
		persons := map[identity.Person]bool{}
		for _, text := range step.Any {
			who, err := ParseSubject(text)
			if err != nil || who.IsGroup() {
				persons = nil
				break
			}
			persons[l.personOf(who)] = true
		}
		if len(persons) == 0 || len(persons) < step.Count { // not known, or told already
			continue
		}
		if !slices.ContainsFunc(askers, func(p identity.Person) bool {
			left := len(persons)
			if persons[p] {
				left--
			}
			return left >= step.Count
		}) {
			l.fail(n, CodeNobody, "steps: %s, and nobody approves their own request: no request of %s could ever be approved", step.Words(), e.Who[0])
		}
	}
}

// asker is the same for two subjects behind which is surely the same: a group, a
// workload, or a human, by name or by any account.
func (l *loader) asker(s Subject) string {
	if s.IsGroup() || s.kind() == identity.KindWorkload {
		return s.String()
	}
	return "person " + l.personOf(s).String()
}

func (l *loader) personOf(s Subject) identity.Person {
	if !s.person.IsZero() {
		return s.person
	}
	return l.set.PersonOf(s.principal)
}
