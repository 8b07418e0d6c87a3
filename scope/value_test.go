package scope

import (
	"encoding/json"
	"testing"
)

func TestAValueIsWhatItsTextSays(t *testing.T) {
	for _, v := range []Value{
		Text("ch_1"), Text(""), Text("a\"b\n"), Path("/a/b"), Integer(-3), Integer(0), MinorUnits(4200), Boolean(true), Boolean(false),
		OfMoney(Money{4200, "usd"}), OfMoney(Money{-1, "usd"}), OfMoney(Money{5, "isk"}),
	} {
		back, err := ParseValue(v.Type(), v.String())
		if err != nil || back != v {
			t.Errorf("%s %q is read as %v, %v", v.Type(), v, back, err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got Value
		if err := json.Unmarshal(b, &got); err != nil || got != v {
			t.Errorf("%s is read as %v, %v", b, got, err)
		}
		if v.IsZero() {
			t.Errorf("%v is no value", v)
		}
	}
}

func TestParseValueRefuses(t *testing.T) {
	for _, c := range []struct {
		typ Type
		in  string
	}{
		{TypeInteger, ""}, {TypeInteger, "+1"}, {TypeInteger, "01"}, {TypeInteger, "-0"}, {TypeInteger, "1.0"}, {TypeInteger, "1e3"},
		{TypeInteger, "0x1"}, {TypeInteger, " 1"}, {TypeInteger, "1_000"}, {TypeInteger, "9223372036854775808"},
		{TypeMinorUnits, "1.00"}, {TypeMinorUnits, "１"}, {TypeBoolean, "1"}, {TypeBoolean, "True"}, {TypeBoolean, ""},
		{TypePath, "a"}, {TypePath, ""}, {TypeMoney, "5"}, {TypeNone, "x"}, {Type(99), "x"},
	} {
		if v, err := ParseValue(c.typ, c.in); err == nil || !v.IsZero() {
			t.Errorf("%s %q is read as %v", c.typ, c.in, v)
		}
	}
	var v Value
	for _, s := range []string{`{"type":"","value":"x"}`, `{"type":"none","value":"x"}`, `{"value":"x"}`, `{"type":"integer","value":"x"}`, `{"type":"integer","value":1}`, `"x"`} {
		if err := json.Unmarshal([]byte(s), &v); err == nil || !v.IsZero() {
			t.Errorf("%s is read as %v", s, v)
		}
	}
}

func TestTypesAndClassesAreWords(t *testing.T) {
	for typ := TypeString; typ <= TypePath; typ++ {
		if got, err := ParseType(typ.String()); err != nil || got != typ {
			t.Errorf("type %d is written %q and read as %d, %v", typ, typ, got, err)
		}
	}
	for class := ClassRead; class <= ClassAdmin; class++ {
		if got, err := ParseClass(class.String()); err != nil || got != class {
			t.Errorf("class %d is written %q and read as %d, %v", class, class, got, err)
		}
	}
	for _, s := range []string{"", "READ", "none", "reads"} {
		if typ, err := ParseType(s); err == nil || typ != TypeNone {
			t.Errorf("type %q is read as %v", s, typ)
		}
		if class, err := ParseClass(s); err == nil || class != ClassNone {
			t.Errorf("class %q is read as %v", s, class)
		}
	}
	if Type(99).String() != "" || Class(99).String() != "" {
		t.Error("an unknown type or class has a word")
	}
}

// TestP5_WhatIsNotKnownIsTreatedAsTheStrictest: no class means fsynced and
// acknowledged.
func TestP5_WhatIsNotKnownIsTreatedAsTheStrictest(t *testing.T) {
	for _, c := range []struct {
		class                Class
		writes, acknowledged bool
	}{
		{ClassNone, true, true}, {ClassRead, false, false}, {ClassWrite, true, false}, {ClassMoney, true, true},
		{ClassSecret, true, true}, {ClassAdmin, true, true}, {Class(99), true, true},
	} {
		if c.class.Writes() != c.writes || c.class.Acknowledged() != c.acknowledged {
			t.Errorf("class %q: writes %v, acknowledged %v", c.class, c.class.Writes(), c.class.Acknowledged())
		}
	}
	if got := ClassRead.Stricter(ClassMoney); got != ClassMoney {
		t.Errorf("the stricter of read and money is %s", got)
	}
	if ClassAdmin.Stricter(ClassNone) != ClassNone || ClassNone.Stricter(ClassRead) != ClassNone {
		t.Error("with an unknown class the stricter is unknown, the strictest")
	}
}
