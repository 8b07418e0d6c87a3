// Package tokenstest draws what tokens say, for properties: details, what narrows or
// widens them, and operations that lie near their edges. It is for tests.
package tokenstest

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Resource is the audience of every detail that is drawn.
const Resource = "https://pay.acme.example"

// attributes are few, with few values, so that what is drawn often meets.
func attributes() []scope.AttributeSpec {
	return []scope.AttributeSpec{
		{Name: "charge", Type: scope.TypeString}, {Name: "amount", Type: scope.TypeMinorUnits}, {Name: "total", Type: scope.TypeMoney},
		{Name: "count", Type: scope.TypeInteger}, {Name: "live", Type: scope.TypeBoolean}, {Name: "path", Type: scope.TypePath},
	}
}

// Value draws a value of a type.
func Value(t *rapid.T, typ scope.Type) scope.Value {
	number := func() int64 { return rapid.Int64Range(-3, 6).Draw(t, "number") }
	switch typ {
	case scope.TypeInteger:
		return scope.Integer(number())
	case scope.TypeMinorUnits:
		return scope.MinorUnits(number())
	case scope.TypeMoney:
		return scope.OfMoney(scope.Money{Minor: number(), Currency: rapid.SampledFrom([]string{"usd", "eur"}).Draw(t, "currency")})
	case scope.TypeBoolean:
		return scope.Boolean(rapid.Bool().Draw(t, "bool"))
	case scope.TypePath:
		return scope.Path(rapid.SampledFrom([]string{"/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/a//b"}).Draw(t, "path"))
	default:
		return scope.Text(rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "text"))
	}
}

// Constraint draws one that fits its attribute.
func Constraint(t *rapid.T) scope.Constraint {
	a := rapid.SampledFrom(attributes()).Draw(t, "attribute")
	ops := []scope.Comparison{scope.Is, scope.In}
	switch a.Type {
	case scope.TypeInteger, scope.TypeMinorUnits, scope.TypeMoney:
		ops = append(ops, scope.Max, scope.Min)
	case scope.TypePath:
		ops = append(ops, scope.Under)
	}
	c := scope.Constraint{Attribute: a.Name, Comparison: rapid.SampledFrom(ops).Draw(t, "op")}
	n := 1
	if c.Comparison == scope.In {
		n = rapid.IntRange(1, 3).Draw(t, "values")
	}
	for range n {
		c.Values = append(c.Values, Value(t, a.Type))
	}
	return c
}

// Scope draws a scope over one app.
func Scope(t *rapid.T) scope.Scope {
	return scope.Scope{App: "pay", Rules: rapid.SliceOfN(rapid.Custom(rule), 1, 3).Draw(t, "rules")}
}

func rule(t *rapid.T) scope.Rule {
	return scope.Rule{
		Operation: rapid.SampledFrom([]string{"refunds.create", "charges.retrieve", "payouts.create"}).Draw(t, "operation"),
		Where:     rapid.SliceOfN(rapid.Custom(Constraint), 0, 3).Draw(t, "where"),
	}
}

// Detail draws one that could stand in a token for Resource.
func Detail(t *rapid.T) tokens.Detail {
	return tokens.Detail{
		Type: tokens.TypePrefix + "web", Locations: []string{Resource},
		Entitlement: rapid.SampledFrom([]string{"pay/refunds", "pay/all"}).Draw(t, "entitlement"), Scope: Scope(t),
	}
}

// Details draws what a token is good for.
func Details(t *rapid.T) []tokens.Detail {
	return rapid.SliceOfN(rapid.Custom(Detail), 1, 3).Draw(t, "details")
}

// Step draws what a holder asks for next: a part of what it has, more than it has, or
// something else. Whether it is a part is not said: that is what is being tried.
func Step(t *rapid.T, have []tokens.Detail) []tokens.Detail {
	if rapid.IntRange(0, 9).Draw(t, "kind of step") == 0 {
		return Details(t)
	}
	var out []tokens.Detail
	for _, d := range have {
		if len(have) > 1 && rapid.Bool().Draw(t, "leave out") {
			continue
		}
		d.Scope = stepScope(t, d.Scope)
		out = append(out, d)
	}
	if len(out) == 0 {
		return have
	}
	return out
}

func stepScope(t *rapid.T, s scope.Scope) scope.Scope {
	out := scope.Scope{App: s.App}
	for _, r := range s.Rules {
		next := scope.Rule{Operation: r.Operation}
		for _, c := range r.Where {
			switch rapid.IntRange(0, 5).Draw(t, "constraint") {
			case 0: // dropped: more than before
			case 1:
				next.Where = append(next.Where, Constraint(t))
			default:
				next.Where = append(next.Where, Near(t, c))
			}
		}
		if rapid.Bool().Draw(t, "one more") {
			next.Where = append(next.Where, Constraint(t))
		}
		out.Rules = append(out.Rules, next)
	}
	return out
}

// Near draws a constraint on the same attribute, with values of the same type.
func Near(t *rapid.T, c scope.Constraint) scope.Constraint {
	out := scope.Constraint{Attribute: c.Attribute, Comparison: c.Comparison}
	if rapid.IntRange(0, 3).Draw(t, "to one value") == 0 {
		out.Comparison = scope.Is
	}
	for i, v := range c.Values {
		if i > 0 && out.Comparison != scope.In {
			break
		}
		if rapid.Bool().Draw(t, "another value") {
			v = Value(t, v.Type())
		}
		out.Values = append(out.Values, v)
	}
	return out
}

// Operation draws one that some of these details may well cover.
func Operation(t *rapid.T) scope.Operation {
	op := scope.Operation{App: rapid.SampledFrom([]string{"pay", "pay", "pay", "wiki"}).Draw(t, "app"), Name: rule(t).Operation, Attributes: scope.Attributes{}}
	for _, a := range attributes() {
		if rapid.IntRange(0, 4).Draw(t, fmt.Sprintf("has %s", a.Name)) > 0 {
			op.Attributes[a.Name] = Value(t, a.Type)
		}
	}
	return op
}
