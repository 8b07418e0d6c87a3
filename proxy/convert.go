package proxy

import (
	"fmt"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Reader is the newest min_reader that this package understands: 2 knows sessions,
// 3 grants with their proof, and the keys of tokens, 4 guarded streams, 5 observe mode.
const Reader = 5

// newGrant reads a grant as the feed tells it. An error says why it may not be
// held: anything unknown, not whole, or longer than the compiled cap (P1).
func newGrant(r *feed.Resource) (grant.Grant, error) {
	g, err := holderOf(r)
	if err != nil {
		return grant.Grant{}, err
	}
	m := r.GetGrant()
	if err := g.Request.UnmarshalText([]byte(m.GetRequest())); err != nil {
		return grant.Grant{}, fmt.Errorf("request: %w", err)
	}
	if g.Class, err = scope.ParseClass(m.GetClass()); err != nil {
		return grant.Grant{}, err
	}
	g.Pseudonym, g.Entitlement = m.GetPseudonym(), m.GetEntitlement()
	g.NotBefore, g.NotAfter = feed.TimeOf(m.GetNotBeforeUs()), feed.TimeOf(m.GetNotAfterUs())
	g.Scope.Rules = make([]scope.Rule, 0, len(m.GetRules()))
	for _, rule := range m.GetRules() {
		read, err := newRule(rule)
		if err != nil {
			return grant.Grant{}, err
		}
		g.Scope.Rules = append(g.Scope.Rules, read)
	}
	return g, g.Check()
}

// holderOf reads whose grant it is, for which app: what a refused one is
// remembered by.
func holderOf(r *feed.Resource) (g grant.Grant, err error) {
	if err := g.ID.UnmarshalText([]byte(r.GetId())); err != nil {
		return grant.Grant{}, err
	}
	if g.Principal, err = identity.ParsePrincipal(r.GetGrant().GetPrincipal()); err != nil {
		return grant.Grant{}, err
	}
	g.Scope.App = r.GetGrant().GetApp()
	if g.ID.IsZero() || g.Scope.App == "" {
		return grant.Grant{}, fmt.Errorf("grant %q is not whole", r.GetId())
	}
	return g, nil
}

func newRule(m *feed.Rule) (scope.Rule, error) {
	rule := scope.Rule{Operation: m.GetOperation()}
	if rule.Operation == "" {
		return scope.Rule{}, fmt.Errorf("a rule without an operation")
	}
	if n := len(m.GetWhere()); n > 0 {
		rule.Where = make([]scope.Constraint, 0, n)
	}
	for _, c := range m.GetWhere() {
		read, err := newConstraint(c)
		if err != nil {
			return scope.Rule{}, fmt.Errorf("%s: %w", rule.Operation, err)
		}
		rule.Where = append(rule.Where, read)
	}
	return rule, nil
}

// newConstraint reads a constraint whose values are all of one known type.
func newConstraint(m *feed.Constraint) (scope.Constraint, error) {
	c := scope.Constraint{Attribute: m.GetAttribute(), Comparison: scope.Comparison(m.GetOp())}
	c.Values = make([]scope.Value, 0, len(m.GetValues()))
	t := scope.TypeNone
	for _, v := range m.GetValues() {
		typ, err := scope.ParseType(v.GetType())
		if err != nil {
			return scope.Constraint{}, err
		}
		value, err := scope.ParseValue(typ, v.GetValue())
		if err != nil {
			return scope.Constraint{}, err
		}
		c.Values, t = append(c.Values, value), typ
	}
	if err := c.Check(t); err != nil {
		return scope.Constraint{}, err
	}
	return c, nil
}
