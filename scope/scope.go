package scope

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Rule allows one operation, by name, under constraints that must all hold.
type Rule struct {
	Operation string       `json:"name"`
	Where     []Constraint `json:"where"`
}

// Scope is what a grant covers: rules over one app's operations. It is the
// union of its rules. The zero value covers nothing.
type Scope struct {
	App   string `json:"app"`
	Rules []Rule `json:"operations"`
}

// MissKind says how a scope does not cover an operation.
type MissKind uint8

// The kinds of miss. MissConstraint is the nearer one: the operation is
// allowed, but not like this.
const (
	MissOperation MissKind = iota + 1
	MissConstraint
)

// Miss says why a scope does not cover an operation. It is an error.
type Miss struct {
	Kind       MissKind
	Operation  string
	Constraint Constraint // the first one not met, of MissConstraint
	Value      Value      // what the operation had; zero if it had nothing
}

// Error returns a sentence for people. It shows only the attribute that missed.
func (m *Miss) Error() string {
	if m.Kind != MissConstraint {
		return fmt.Sprintf("%s is not among the granted operations", m.Operation)
	}
	if m.Value.IsZero() {
		return fmt.Sprintf("%s must say %s: granted is %s", m.Operation, m.Constraint.Attribute, m.Constraint)
	}
	return fmt.Sprintf("%s has %s %s: granted is %s", m.Operation, m.Constraint.Attribute, m.Value, m.Constraint)
}

// Covers reports whether one rule covers op whole: nil is yes, a *Miss says why
// not. Two rules that each cover a part do not add up.
func (s Scope) Covers(op Operation) error {
	miss, covered := s.miss(op)
	if covered {
		return nil
	}
	out := miss
	return &out
}

// Misses is Covers for whoever asks many scopes: how op is missed, if it is not
// covered. It allocates nothing.
func (s Scope) Misses(op Operation) (kind MissKind, covered bool) {
	miss, covered := s.miss(op)
	return miss.Kind, covered
}

func (s Scope) miss(op Operation) (miss Miss, covered bool) {
	miss = Miss{Kind: MissOperation, Operation: op.Name}
	if op.App == "" || op.Name == "" || s.App != op.App {
		return miss, false
	}
	for _, r := range s.Rules {
		if r.Operation != op.Name {
			continue
		}
		c, met := firstUnmet(r.Where, op.Attributes)
		if met {
			return Miss{}, true
		}
		if miss.Kind == MissOperation {
			miss = Miss{Kind: MissConstraint, Operation: op.Name, Constraint: c, Value: op.Attributes[c.Attribute]}
		}
	}
	return miss, false
}

func firstUnmet(where []Constraint, attrs Attributes) (Constraint, bool) {
	for _, c := range where {
		if !c.Satisfied(attrs[c.Attribute]) {
			return c, false
		}
	}
	return Constraint{}, true
}

// Operations returns the distinct names of the covered operations, sorted.
func (s Scope) Operations() []string {
	names := make([]string, 0, len(s.Rules))
	for _, r := range s.Rules {
		names = append(names, r.Operation)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Canonical returns s with rules and constraints in one order, by operation, then
// by attribute, as Offers show and hash it: equal rules in any order give the same.
func (s Scope) Canonical() Scope {
	out := Scope{App: s.App, Rules: make([]Rule, len(s.Rules))}
	for i, r := range s.Rules {
		where := append([]Constraint{}, r.Where...)
		slices.SortFunc(where, func(a, b Constraint) int { return strings.Compare(a.key(), b.key()) })
		out.Rules[i] = Rule{Operation: r.Operation, Where: where}
	}
	slices.SortFunc(out.Rules, func(a, b Rule) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// key orders constraints; different ones have different keys.
func (c Constraint) key() string {
	parts := []string{c.Attribute, string(c.Comparison)}
	for _, v := range c.Values {
		parts = append(parts, v.Type().String(), strconv.Quote(v.String()))
	}
	return strings.Join(parts, "\x00")
}

// key orders rules.
func (r Rule) key() string {
	parts := []string{r.Operation}
	for _, c := range r.Where {
		parts = append(parts, c.key())
	}
	return strings.Join(parts, "\x00\x00")
}
