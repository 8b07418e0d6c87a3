package scope

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Type is the type of an attribute's value.
type Type uint8

// The types of value. TypePath is an absolute URL path whose segments were
// split once and unambiguously by the app kind.
const (
	TypeNone Type = iota
	TypeString
	TypeInteger
	TypeBoolean
	TypeMinorUnits // an amount in a currency that the request does not name
	TypeMoney      // an amount with its currency
	TypePath
)

func typeNames() [7]string {
	return [7]string{"", "string", "integer", "boolean", "minor_units", "money", "path"}
}

// ParseType reads the word that policy and catalogues use.
func ParseType(s string) (Type, error) {
	for i, name := range typeNames() {
		if i > 0 && name == s {
			return Type(i), nil
		}
	}
	return TypeNone, fmt.Errorf("type %q: want string, integer, boolean, minor_units, money or path", s)
}

// String returns the word, "" for TypeNone.
func (t Type) String() string {
	names := typeNames()
	if int(t) >= len(names) {
		return ""
	}
	return names[t]
}

// MarshalText writes the word.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the word.
func (t *Type) UnmarshalText(b []byte) error {
	v, err := ParseType(string(b))
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// Value is one typed value. It is comparable; the zero value is no value and
// satisfies no constraint.
type Value struct {
	typ  Type
	text string // string, path, currency of money
	num  int64  // integer, minor units, boolean as 0 or 1
}

// Text returns a string value.
func Text(s string) Value { return Value{typ: TypeString, text: s} }

// Path returns a path value. The caller has normalised s.
func Path(s string) Value { return Value{typ: TypePath, text: s} }

// Integer returns an integer value.
func Integer(n int64) Value { return Value{typ: TypeInteger, num: n} }

// MinorUnits returns an amount in the smallest unit of a currency that is not named.
func MinorUnits(n int64) Value { return Value{typ: TypeMinorUnits, num: n} }

// Boolean returns a boolean value.
func Boolean(b bool) Value {
	v := Value{typ: TypeBoolean}
	if b {
		v.num = 1
	}
	return v
}

// OfMoney returns an amount with its currency.
func OfMoney(m Money) Value { return Value{typ: TypeMoney, num: m.Minor, text: m.Currency} }

// Type returns the value's type, TypeNone for the zero value.
func (v Value) Type() Type { return v.typ }

// IsZero reports whether v is no value.
func (v Value) IsZero() bool { return v.typ == TypeNone }

// Int returns the number of an integer, minor units, money or boolean value.
func (v Value) Int() int64 { return v.num }

// Money returns the amount of a money value.
func (v Value) Money() (Money, bool) {
	return Money{Minor: v.num, Currency: v.text}, v.typ == TypeMoney
}

// String returns the canonical text: 50000, true, ch_1, 42.00 usd. ParseValue
// with the same type reads it back.
func (v Value) String() string {
	switch v.typ {
	case TypeString, TypePath:
		return v.text
	case TypeInteger, TypeMinorUnits:
		return strconv.FormatInt(v.num, 10)
	case TypeBoolean:
		return strconv.FormatBool(v.num == 1)
	case TypeMoney:
		return Money{Minor: v.num, Currency: v.text}.String()
	default:
		return ""
	}
}

// ParseValue reads the canonical text of a value of type t. Numbers have no
// sign but a minus, no leading zeros and fit into int64.
func ParseValue(t Type, s string) (Value, error) {
	switch t {
	case TypeString:
		return Text(s), nil
	case TypePath:
		if !strings.HasPrefix(s, "/") {
			return Value{}, fmt.Errorf("path %q: want an absolute path", s)
		}
		return Path(s), nil
	case TypeInteger, TypeMinorUnits:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != s {
			return Value{}, fmt.Errorf("%s %q: want a whole number", t, s)
		}
		return Value{typ: t, num: n}, nil
	case TypeBoolean:
		if s != "true" && s != "false" {
			return Value{}, fmt.Errorf("boolean %q: want true or false", s)
		}
		return Boolean(s == "true"), nil
	case TypeMoney:
		m, ok := parseMinor(s)
		if ok {
			return OfMoney(m), nil
		}
		m, err := ParseMoney(s)
		if err != nil {
			return Value{}, err
		}
		return OfMoney(m), nil
	default:
		return Value{}, fmt.Errorf("value %q has no type", s)
	}
}

type valueJSON struct {
	Type  Type   `json:"type"`
	Value string `json:"value"`
}

// MarshalJSON writes {"type": …, "value": …} with the value as a string, as
// records want it.
func (v Value) MarshalJSON() ([]byte, error) {
	return json.Marshal(valueJSON{v.typ, v.String()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(b []byte) error {
	var j valueJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	got, err := ParseValue(j.Type, j.Value)
	if err != nil {
		return err
	}
	*v = got
	return nil
}
