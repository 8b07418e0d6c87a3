package scope

import (
	"fmt"
	"strings"
)

// Comparison is how a Constraint compares an attribute with its values.
type Comparison string

// The comparisons. An unknown one is satisfied by nothing.
const (
	Is    Comparison = "is"    // equal to the one value
	In    Comparison = "in"    // equal to one of the values
	Max   Comparison = "max"   // a number not above the value; money only in its currency; no amount below zero
	Min   Comparison = "min"   // a number not below the value; money only in its currency
	Under Comparison = "under" // a path equal to the value or below it, by whole segments
)

// Constraint narrows one attribute of an operation. It only ever narrows: what
// it does not know, it refuses.
type Constraint struct {
	Attribute  string     `json:"attribute"`
	Comparison Comparison `json:"op"`
	Values     []Value    `json:"values"`
}

// Check reports whether c can be applied to an attribute of type t: a known
// comparison, the right number of values, each of type t.
func (c Constraint) Check(t Type) error {
	if c.Attribute == "" {
		return fmt.Errorf("constraint without an attribute")
	}
	ordered := t == TypeInteger || t == TypeMinorUnits || t == TypeMoney
	switch c.Comparison {
	case Is:
		if len(c.Values) != 1 {
			return fmt.Errorf("%s: is takes one value", c.Attribute)
		}
	case In:
		if len(c.Values) == 0 {
			return fmt.Errorf("%s: in takes at least one value", c.Attribute)
		}
	case Max, Min:
		if len(c.Values) != 1 || !ordered {
			return fmt.Errorf("%s: %s takes one integer, minor_units or money value, and %s is %s", c.Attribute, c.Comparison, c.Attribute, t)
		}
	case Under:
		if len(c.Values) != 1 || t != TypePath {
			return fmt.Errorf("%s: under takes one path, and %s is %s", c.Attribute, c.Attribute, t)
		}
	default:
		return fmt.Errorf("%s: unknown comparison %q: want is, in, max, min or under", c.Attribute, c.Comparison)
	}
	for _, v := range c.Values {
		if v.Type() != t {
			return fmt.Errorf("%s: value %s is %s, the attribute is %s", c.Attribute, v, v.Type(), t)
		}
	}
	return nil
}

// Satisfied reports whether v meets c. An absent attribute is the zero Value
// and meets nothing.
func (c Constraint) Satisfied(v Value) bool {
	if v.IsZero() || c.Check(v.Type()) != nil {
		return false
	}
	switch c.Comparison {
	case Is, In:
		for _, want := range c.Values {
			if v == want {
				return true
			}
		}
		return false
	case Max:
		if v.typ != TypeInteger && v.num < 0 { // a negative amount moves money the other way
			return false
		}
		return sameUnit(v, c.Values[0]) && v.num <= c.Values[0].num
	case Min:
		return sameUnit(v, c.Values[0]) && v.num >= c.Values[0].num
	case Under:
		return under(v.text, c.Values[0].text)
	default:
		return false
	}
}

// String returns words for people: "amount at most 50.00 usd".
func (c Constraint) String() string {
	texts := make([]string, len(c.Values))
	for i, v := range c.Values {
		texts[i] = v.String()
	}
	joined := strings.Join(texts, ", ")
	switch c.Comparison {
	case Is:
		return c.Attribute + " is " + joined
	case In:
		return c.Attribute + " is one of " + joined
	case Max:
		return c.Attribute + " at most " + joined
	case Min:
		return c.Attribute + " at least " + joined
	case Under:
		return c.Attribute + " at or below " + joined
	default:
		return c.Attribute + " " + string(c.Comparison) + " " + joined
	}
}

func sameUnit(a, b Value) bool {
	return a.typ == b.typ && (a.typ != TypeMoney || a.text == b.text)
}

// under compares whole segments, so that /v1/charge is not above /v1/charges.
func under(path, root string) bool {
	if !strings.HasPrefix(root, "/") {
		return false
	}
	if path == root {
		return true
	}
	return strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
