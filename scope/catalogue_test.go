package scope

import (
	"reflect"
	"testing"
)

func specs() []Spec {
	return []Spec{
		{Name: "refunds.create", Class: ClassMoney, Attributes: []AttributeSpec{{Name: "charge", Type: TypeString}}},
		{Name: "charges.retrieve", Class: ClassRead},
		{Name: "charges.refunds.list", Class: ClassRead},
		{Name: "chargeback.list", Class: ClassRead},
		{Name: "keys.create", Class: ClassSecret},
	}
}

func TestExpand(t *testing.T) {
	c, err := NewCatalogue(specs())
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string][]string{
		"refunds.create":    {"refunds.create"},
		"charges.*":         {"charges.refunds.list", "charges.retrieve"},
		"charges.refunds.*": {"charges.refunds.list"},
		"@read":             {"chargeback.list", "charges.refunds.list", "charges.retrieve"},
		"@money":            {"refunds.create"},
		"@secret":           {"keys.create"},
		// What stands for nothing is an error, and a class is exactly that class.
		"@write": nil, "@admin": nil, "@all": nil, "@": nil, "@*": nil, "*": nil, ".*": nil, "": nil, "charge.*": nil, "charges": nil, "charges.": nil,
		"charges.*.*": nil, "*.create": nil, "ref*": nil, "refunds.create ": nil, "Refunds.create": nil, "keys.*.create": nil,
	} {
		got, err := c.Expand(pattern)
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) {
			t.Errorf("Expand(%q) = %v, %v; want %v", pattern, got, err, want)
		}
	}
}

func TestNewCatalogueRefuses(t *testing.T) {
	for name, s := range map[string]Spec{
		"no name":         {Class: ClassRead},
		"no class":        {Name: "a"},
		"a pattern":       {Name: "a.*", Class: ClassRead},
		"a class":         {Name: "@read", Class: ClassRead},
		"a space":         {Name: "a b", Class: ClassRead},
		"a name again":    {Name: "refunds.create", Class: ClassRead},
		"no attribute":    {Name: "a", Class: ClassRead, Attributes: []AttributeSpec{{Type: TypeString}}},
		"no type":         {Name: "a", Class: ClassRead, Attributes: []AttributeSpec{{Name: "b"}}},
		"attribute twice": {Name: "a", Class: ClassRead, Attributes: []AttributeSpec{{Name: "b", Type: TypeString}, {Name: "b", Type: TypeInteger}}},
	} {
		if _, err := NewCatalogue(append(specs(), s)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTheDigestIsOfTheMeaning(t *testing.T) {
	digest := func(change func([]Spec) []Spec) string {
		c, err := NewCatalogue(change(specs()))
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest()
	}
	same := digest(func(s []Spec) []Spec { return s })
	if got := digest(func(s []Spec) []Spec { s[0], s[1] = s[1], s[0]; return s }); got != same {
		t.Error("another order has another digest")
	}
	for name, change := range map[string]func([]Spec) []Spec{
		"one fewer":         func(s []Spec) []Spec { return s[1:] },
		"another class":     func(s []Spec) []Spec { s[0].Class = ClassWrite; return s },
		"another type":      func(s []Spec) []Spec { s[0].Attributes[0].Type = TypePath; return s },
		"another attribute": func(s []Spec) []Spec { s[0].Attributes[0].Name = "x"; return s },
		"required":          func(s []Spec) []Spec { s[0].Attributes[0].Required = true; return s },
	} {
		if digest(change) == same {
			t.Errorf("%s: the same digest", name)
		}
	}
}

func TestANilCatalogueIsEmpty(t *testing.T) {
	var c *Catalogue
	if _, ok := c.Lookup("a"); ok || c.Specs() != nil || c.Digest() != "" {
		t.Error("a nil catalogue has something")
	}
	if _, err := c.Expand("@read"); err == nil {
		t.Error("a pattern stands for something in a nil catalogue")
	}
}
