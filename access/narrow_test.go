package access

import (
	"testing"

	"github.com/mayflyproxy/mayfly/scope"
)

func TestWithin(t *testing.T) {
	is := func(attribute string, values ...scope.Value) scope.Constraint {
		c := scope.Constraint{Attribute: attribute, Comparison: scope.Is, Values: values}
		if len(values) > 1 {
			c.Comparison = scope.In
		}
		return c
	}
	bound := func(op scope.Comparison, v scope.Value) scope.Constraint {
		return scope.Constraint{Attribute: "a", Comparison: op, Values: []scope.Value{v}}
	}
	one := func(where ...scope.Constraint) scope.Scope {
		return scope.Scope{App: "x", Rules: []scope.Rule{{Operation: "op", Where: where}}}
	}
	usd := func(n int64) scope.Value { return scope.OfMoney(scope.Money{Minor: n, Currency: "usd"}) }
	eur := scope.OfMoney(scope.Money{Minor: 1, Currency: "eur"})
	a, b := scope.Text("a"), scope.Text("b")
	for _, c := range []struct {
		name         string
		inner, outer scope.Scope
		want         bool
	}{
		{"equal", one(is("a", a)), one(is("a", a)), true},
		{"nothing in anything", scope.Scope{App: "x"}, one(), true},
		{"another app", scope.Scope{App: "y"}, one(), false},
		{"another operation", one(), scope.Scope{App: "x", Rules: []scope.Rule{{Operation: "other"}}}, false},
		{"constrained in free", one(is("a", a)), one(), true},
		{"free in constrained", one(), one(is("a", a)), false},
		{"another attribute", one(is("b", a)), one(is("a", a)), false},
		{"one of two", one(is("a", a)), one(is("a", a, b)), true},
		{"two in one", one(is("a", a, b)), one(is("a", a)), false},
		{"lower maximum", one(bound(scope.Max, scope.Integer(1))), one(bound(scope.Max, scope.Integer(2))), true},
		{"higher maximum", one(bound(scope.Max, scope.Integer(3))), one(bound(scope.Max, scope.Integer(2))), false},
		{"higher minimum", one(bound(scope.Min, scope.Integer(3))), one(bound(scope.Min, scope.Integer(2))), true},
		{"lower minimum", one(bound(scope.Min, scope.Integer(1))), one(bound(scope.Min, scope.Integer(2))), false},
		{"maximum in minimum", one(bound(scope.Max, scope.Integer(3))), one(bound(scope.Min, scope.Integer(2))), false},
		{"a value below the maximum", one(bound(scope.Is, usd(1))), one(bound(scope.Max, usd(2))), true},
		{"another currency", one(bound(scope.Max, eur)), one(bound(scope.Max, usd(2))), false},
		{"deeper path", one(bound(scope.Under, scope.Path("/a/b"))), one(bound(scope.Under, scope.Path("/a"))), true},
		{"sibling path", one(bound(scope.Under, scope.Path("/ab"))), one(bound(scope.Under, scope.Path("/a"))), false},
		{"path in a value", one(bound(scope.Under, scope.Path("/a"))), one(bound(scope.Is, scope.Path("/a"))), false},
		{"unknown comparison", one(bound("like", a)), one(bound("like", a)), false},
		{"two rules do not add up", one(), scope.Scope{App: "x", Rules: []scope.Rule{{Operation: "op", Where: []scope.Constraint{is("a", a)}}, {Operation: "op", Where: []scope.Constraint{is("a", b)}}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := within(c.inner, c.outer); got != c.want {
				t.Errorf("within = %v, want %v", got, c.want)
			}
		})
	}
}
