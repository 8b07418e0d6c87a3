package scope

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestP2_AConstraintIsMetOnlyByWhatItNames has a row for each way to be met, and
// for each way to look alike.
func TestP2_AConstraintIsMetOnlyByWhatItNames(t *testing.T) {
	usd := func(n int64) Value { return OfMoney(Money{n, "usd"}) }
	eur := func(n int64) Value { return OfMoney(Money{n, "eur"}) }
	for _, c := range []struct {
		name   string
		op     Comparison
		values []Value
		have   Value
		met    bool
	}{
		{"is", Is, []Value{Text("ch_1")}, Text("ch_1"), true},
		{"is another", Is, []Value{Text("ch_1")}, Text("ch_2"), false},
		{"is in capitals", Is, []Value{Text("ch_1")}, Text("CH_1"), false},
		{"is of another type", Is, []Value{Text("1")}, Integer(1), false},
		{"path is no string", Is, []Value{Path("/a")}, Text("/a"), false},
		{"is absent", Is, []Value{Text("")}, Value{}, false},
		{"is nothing", Is, []Value{{}}, Value{}, false},
		{"is empty", Is, []Value{Text("")}, Text(""), true},
		{"is without a value", Is, nil, Text("ch_1"), false},
		{"is with two values", Is, []Value{Text("a"), Text("b")}, Text("a"), false},
		{"is a boolean", Is, []Value{Boolean(false)}, Boolean(false), true},
		{"is no integer zero", Is, []Value{Boolean(false)}, Integer(0), false},
		{"in", In, []Value{Text("a"), Text("b")}, Text("b"), true},
		{"not in", In, []Value{Text("a"), Text("b")}, Text("c"), false},
		{"in nothing", In, nil, Text("a"), false},
		{"in mixed types", In, []Value{Text("a"), Integer(1)}, Text("a"), false},
		{"at the most", Max, []Value{MinorUnits(5000)}, MinorUnits(5000), true},
		{"below the most", Max, []Value{MinorUnits(5000)}, MinorUnits(0), true},
		{"above the most", Max, []Value{MinorUnits(5000)}, MinorUnits(5001), false},
		{"an amount below zero", Max, []Value{MinorUnits(5000)}, MinorUnits(-1), false},
		{"money below zero", Max, []Value{usd(5000)}, usd(-1), false},
		{"an integer below zero", Max, []Value{Integer(5)}, Integer(-1), true},
		{"absent is not below", Max, []Value{MinorUnits(5000)}, Value{}, false},
		{"an integer is no amount", Max, []Value{MinorUnits(5000)}, Integer(1), false},
		{"minor units are no money", Max, []Value{usd(5000)}, MinorUnits(1), false},
		{"money", Max, []Value{usd(5000)}, usd(5000), true},
		{"more money", Max, []Value{usd(5000)}, usd(5001), false},
		{"money in another currency", Max, []Value{usd(5000)}, eur(1), false},
		{"most of a string", Max, []Value{Text("b")}, Text("a"), false},
		{"most of a boolean", Max, []Value{Boolean(true)}, Boolean(false), false},
		{"at the least", Min, []Value{Integer(5)}, Integer(5), true},
		{"below the least", Min, []Value{Integer(5)}, Integer(4), false},
		{"least money in another currency", Min, []Value{usd(1)}, eur(5), false},
		{"the path itself", Under, []Value{Path("/v1/charge")}, Path("/v1/charge"), true},
		{"below the path", Under, []Value{Path("/v1/charge")}, Path("/v1/charge/ch_1"), true},
		{"with a slash", Under, []Value{Path("/v1/charge")}, Path("/v1/charge/"), true},
		{"a longer name", Under, []Value{Path("/v1/charge")}, Path("/v1/charges"), false},
		{"above the path", Under, []Value{Path("/v1/charge")}, Path("/v1"), false},
		{"in capitals", Under, []Value{Path("/v1/charge")}, Path("/V1/charge"), false},
		{"root with a slash at its end", Under, []Value{Path("/v1/")}, Path("/v1/a"), true},
		{"root with a slash and the path without", Under, []Value{Path("/v1/")}, Path("/v1"), false},
		{"everything", Under, []Value{Path("/")}, Path("/a"), true},
		{"under an empty root", Under, []Value{Path("")}, Path("/a"), false},
		{"a string under a path", Under, []Value{Path("/")}, Text("/a"), false},
		{"unknown comparison", "matches", []Value{Text("a")}, Text("a"), false},
		{"no comparison", "", []Value{Text("a")}, Text("a"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			constraint := Constraint{Attribute: "a", Comparison: c.op, Values: c.values}
			if constraint.Satisfied(c.have) != c.met {
				t.Errorf("%s with %s %q: met %v, want %v", constraint, c.have.Type(), c.have, !c.met, c.met)
			}
		})
	}
	if (Constraint{Comparison: Is, Values: []Value{Text("a")}}).Satisfied(Text("a")) {
		t.Error("a constraint on no attribute is met")
	}
}

func TestConstraintCheckSaysWhatIsWrong(t *testing.T) {
	for want, c := range map[string]Constraint{
		"without an attribute":   {"", Is, []Value{Text("a")}},
		"one value":              {"charge", Is, nil},
		"at least one":           {"charge", In, nil},
		"minor_units or money":   {"charge", Max, []Value{Text("a")}},
		"under takes one path":   {"charge", Under, []Value{Text("/a")}},
		"unknown comparison":     {"charge", "like", []Value{Text("a")}},
		"the attribute is strin": {"charge", Is, []Value{Integer(1)}},
	} {
		if err := c.Check(TypeString); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want …%s…", c, err, want)
		}
	}
}

func refunds() Scope {
	return Scope{App: "stripe", Rules: []Rule{
		{Operation: "refunds.create", Where: []Constraint{
			{Attribute: "charge", Comparison: Is, Values: []Value{Text("ch_1")}},
			{Attribute: "amount", Comparison: Max, Values: []Value{MinorUnits(5000)}},
		}},
		{Operation: "charges.retrieve"},
	}}
}

func refund(attributes Attributes) Operation {
	return Operation{App: "stripe", Name: "refunds.create", Class: ClassMoney, Attributes: attributes}
}

func TestP2_AScopeCoversAnOperationWholeOrNotAtAll(t *testing.T) {
	good := Attributes{"charge": Text("ch_1"), "amount": MinorUnits(4200)}
	twoHalves := Scope{App: "stripe", Rules: []Rule{
		{Operation: "refunds.create", Where: []Constraint{{"charge", Is, []Value{Text("ch_1")}}, {"amount", Max, []Value{MinorUnits(1)}}}},
		{Operation: "refunds.create", Where: []Constraint{{"charge", Is, []Value{Text("ch_2")}}, {"amount", Max, []Value{MinorUnits(9000)}}}},
	}}
	for _, c := range []struct {
		name  string
		scope Scope
		op    Operation
		miss  string // "" is covered
	}{
		{"as granted", refunds(), refund(good), ""},
		{"without constraints", refunds(), Operation{App: "stripe", Name: "charges.retrieve"}, ""},
		{"another operation", refunds(), Operation{App: "stripe", Name: "payouts.create"}, "payouts.create is not among the granted operations"},
		{"another charge", refunds(), refund(Attributes{"charge": Text("ch_2"), "amount": MinorUnits(1)}), "refunds.create has charge ch_2: granted is charge is ch_1"},
		{"too much", refunds(), refund(Attributes{"charge": Text("ch_1"), "amount": MinorUnits(5001)}), "refunds.create has amount 5001: granted is amount at most 5000"},
		{"amount left out, a refund of all", refunds(), refund(Attributes{"charge": Text("ch_1")}), "refunds.create must say amount: granted is amount at most 5000"},
		{"nothing said", refunds(), refund(nil), "refunds.create must say charge: granted is charge is ch_1"},
		{"another app", refunds(), Operation{App: "wiki", Name: "charges.retrieve"}, "charges.retrieve is not among the granted operations"},
		{"no app", Scope{Rules: refunds().Rules}, Operation{Name: "charges.retrieve"}, "charges.retrieve is not among the granted operations"},
		{"no operation", Scope{App: "stripe", Rules: []Rule{{}}}, Operation{App: "stripe"}, " is not among the granted operations"},
		{"empty scope", Scope{}, refund(good), "refunds.create is not among the granted operations"},
		{"scope without rules", Scope{App: "stripe"}, refund(good), "refunds.create is not among the granted operations"},
		{"a prefix is no rule", Scope{App: "stripe", Rules: []Rule{{Operation: "refunds.*"}}}, refund(good), "refunds.create is not among the granted operations"},
		{"two rules do not add up", twoHalves, refund(good), "refunds.create has amount 4200: granted is amount at most 1"},
		{"the second rule covers", twoHalves, refund(Attributes{"charge": Text("ch_2"), "amount": MinorUnits(9000)}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.scope.Covers(c.op)
			if c.miss == "" && err != nil || c.miss != "" && (err == nil || err.Error() != c.miss) {
				t.Fatalf("got %v, want %q", err, c.miss)
			}
			var miss *Miss
			if err != nil && (!errors.As(err, &miss) || (miss.Kind == MissConstraint) != strings.Contains(c.miss, "granted is")) {
				t.Errorf("the miss is %+v", miss)
			}
		})
	}
}

func TestCanonicalIsOneOrderAndChangesNothing(t *testing.T) {
	shuffled := Scope{App: "stripe", Rules: []Rule{refunds().Rules[0], refunds().Rules[1]}}
	sorted := shuffled.Canonical()
	if got := []string{sorted.Rules[0].Operation, sorted.Rules[1].Operation, sorted.Rules[1].Where[0].Attribute, sorted.Rules[1].Where[1].Attribute}; !reflect.DeepEqual(got, []string{"charges.retrieve", "refunds.create", "amount", "charge"}) {
		t.Errorf("the order is %v", got)
	}
	if !reflect.DeepEqual(shuffled, refunds()) {
		t.Error("Canonical changed its receiver")
	}
	other := Scope{App: "stripe", Rules: []Rule{shuffled.Rules[1], {Operation: "refunds.create", Where: []Constraint{shuffled.Rules[0].Where[1], shuffled.Rules[0].Where[0]}}}}
	if !reflect.DeepEqual(other.Canonical(), sorted) || !reflect.DeepEqual(sorted.Canonical(), sorted) {
		t.Error("two orders of one scope have two canonical forms")
	}
	twice := func(a, b Value) Scope {
		return Scope{App: "a", Rules: []Rule{{"x", []Constraint{{"b", Is, []Value{a}}, {"b", Is, []Value{b}}}}, {"x", nil}}}.Canonical()
	}
	if !reflect.DeepEqual(twice(Text("1"), Text("2")), twice(Text("2"), Text("1"))) {
		t.Error("two constraints on one attribute have no order")
	}
	if sorted.Rules[0].Where == nil {
		t.Error("no constraints are an empty list, not null")
	}
}

func TestOperations(t *testing.T) {
	s := Scope{App: "a", Rules: []Rule{{Operation: "b"}, {Operation: "a"}, {Operation: "b"}}}
	if got := s.Operations(); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}
