package tokens

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
)

// Limits of what a token may say, so that none is longer than MaxSize and reading
// one costs little.
const (
	maxDetails = 8
	maxRules   = 256
	maxWhere   = 16
	maxValues  = 32
	maxText    = 512 // bytes of a name, a value or an address
)

// TypePrefix is that of the types of authorization_details (contracts §7): after
// it comes the kind of the app.
const TypePrefix = "urn:mayfly:"

// Detail is one element of authorization_details (RFC 9396): a part of a grant, on
// one app. It is part of the decision: an operation that no detail covers is denied
// whatever the grant says.
type Detail struct {
	Type        string      // TypePrefix and the kind
	Locations   []string    // exactly the audience
	Entitlement string      // of the grant
	Scope       scope.Scope // App and its rules
}

// wireDetail is how a Detail is written.
type wireDetail struct {
	Type        string       `json:"type"`
	Locations   []string     `json:"locations"`
	App         string       `json:"app"`
	Entitlement string       `json:"entitlement"`
	Operations  []scope.Rule `json:"operations"`
}

func (d Detail) wire() wireDetail {
	rules := make([]scope.Rule, len(d.Scope.Rules))
	for i, r := range d.Scope.Rules {
		rules[i] = scope.Rule{Operation: r.Operation, Where: append([]scope.Constraint{}, r.Where...)}
	}
	return wireDetail{Type: d.Type, Locations: d.Locations, App: d.Scope.App, Entitlement: d.Entitlement, Operations: rules}
}

// check reports whether d can stand in a token for audience.
func (d Detail) check(audience string) error {
	switch kind, ok := strings.CutPrefix(d.Type, TypePrefix); {
	case !ok || kind == "":
		return fmt.Errorf("type %s is not of the profile", shown(d.Type))
	case len(d.Locations) != 1 || d.Locations[0] != audience:
		return errors.New("locations is not the audience alone")
	case d.Scope.App == "" || d.Entitlement == "":
		return errors.New("it names no app, or no entitlement")
	case len(d.Scope.Rules) == 0 || len(d.Scope.Rules) > maxRules:
		return fmt.Errorf("want 1 to %d operations", maxRules)
	}
	for _, r := range d.Scope.Rules {
		if r.Operation == "" || len(r.Where) > maxWhere {
			return errors.New("an operation without a name, or with too many constraints")
		}
		for _, c := range r.Where {
			if len(c.Values) == 0 || len(c.Values) > maxValues {
				return fmt.Errorf("a constraint has 1 to %d values", maxValues)
			}
			if err := c.Check(c.Values[0].Type()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Narrows reports whether inner allows nothing that outer does not: nil is yes.
// Every detail of inner must lie whole within one detail of outer, which names the
// same app and entitlement. It errs to the side of no.
func Narrows(inner, outer []Detail) error {
	for i, d := range inner {
		if !slices.ContainsFunc(outer, d.within) {
			return fmt.Errorf("authorization detail %d reaches further than what it comes from", i)
		}
	}
	return nil
}

func (d Detail) within(o Detail) bool {
	return d.Type == o.Type && slices.Equal(d.Locations, o.Locations) && d.Entitlement == o.Entitlement && d.Scope.Within(o.Scope)
}

// details reads authorization_details.
func (n *node) details() ([]Detail, error) {
	if n == nil || n.kind != kindArray || len(n.list) == 0 || len(n.list) > maxDetails {
		return nil, fmt.Errorf("want a list of 1 to %d", maxDetails)
	}
	out := make([]Detail, len(n.list))
	for i := range n.list {
		d, err := n.list[i].detail()
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		out[i] = d
	}
	return out, nil
}

func (n *node) detail() (d Detail, err error) {
	if n.kind != kindObject {
		return d, errors.New("it is not an object")
	}
	if err := n.only("type", "locations", "app", "entitlement", "operations"); err != nil {
		return d, err
	}
	for _, f := range [...]struct {
		name string
		to   *string
	}{{"type", &d.Type}, {"app", &d.Scope.App}, {"entitlement", &d.Entitlement}} {
		if *f.to, err = n.get(f.name).text512(); err != nil {
			return d, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	locations := n.get("locations")
	if locations == nil {
		return d, errors.New("locations: it is missing")
	}
	if d.Locations, err = locations.strings(); err != nil {
		return d, fmt.Errorf("locations: %w", err)
	}
	d.Scope.Rules, err = n.get("operations").rules()
	return d, err
}

func (n *node) rules() ([]scope.Rule, error) {
	if n == nil || n.kind != kindArray || len(n.list) > maxRules {
		return nil, fmt.Errorf("operations: want a list of at most %d", maxRules)
	}
	out := make([]scope.Rule, len(n.list))
	for i := range n.list {
		r, err := n.list[i].rule()
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		out[i] = r
	}
	return out, nil
}

func (n *node) rule() (r scope.Rule, err error) {
	if n.kind != kindObject {
		return r, errors.New("it is not an object")
	}
	if err := n.only("name", "where"); err != nil {
		return r, err
	}
	if r.Operation, err = n.get("name").text512(); err != nil {
		return r, fmt.Errorf("name: %w", err)
	}
	where := n.get("where")
	if where == nil || where.kind != kindArray || len(where.list) > maxWhere {
		return r, fmt.Errorf("where: want a list of at most %d", maxWhere)
	}
	for i := range where.list {
		c, err := where.list[i].constraint()
		if err != nil {
			return r, fmt.Errorf("where: %w", err)
		}
		r.Where = append(r.Where, c)
	}
	return r, nil
}

func (n *node) constraint() (c scope.Constraint, err error) {
	if n.kind != kindObject {
		return c, errors.New("it is not an object")
	}
	if err := n.only("attribute", "op", "values"); err != nil {
		return c, err
	}
	if c.Attribute, err = n.get("attribute").text512(); err != nil {
		return c, fmt.Errorf("attribute: %w", err)
	}
	op, err := n.get("op").text512()
	if err != nil {
		return c, fmt.Errorf("op: %w", err)
	}
	c.Comparison = scope.Comparison(op)
	values := n.get("values")
	if values == nil || values.kind != kindArray || len(values.list) == 0 || len(values.list) > maxValues {
		return c, fmt.Errorf("values: want a list of 1 to %d", maxValues)
	}
	for i := range values.list {
		v, err := values.list[i].typedValue()
		if err != nil {
			return c, fmt.Errorf("values: %w", err)
		}
		c.Values = append(c.Values, v)
	}
	return c, c.Check(c.Values[0].Type())
}

func (n *node) typedValue() (scope.Value, error) {
	if n.kind != kindObject {
		return scope.Value{}, errors.New("it is not an object")
	}
	if err := n.only("type", "value"); err != nil {
		return scope.Value{}, err
	}
	name, err := n.get("type").text512()
	if err != nil {
		return scope.Value{}, err
	}
	t, err := scope.ParseType(name)
	if err != nil {
		return scope.Value{}, errors.New("the type is unknown")
	}
	v := n.get("value")
	if v == nil || v.kind != kindString || len(v.text) > maxText {
		return scope.Value{}, errors.New("the value is no string, or too long")
	}
	out, err := scope.ParseValue(t, v.text)
	if err != nil || out.String() != v.text { // one value, one text
		return scope.Value{}, errors.New("the value is not of its type, in its one spelling")
	}
	return out, nil
}

// text512 is str, bounded.
func (n *node) text512() (string, error) {
	s, err := n.str()
	if err == nil && len(s) > maxText {
		return "", errors.New("it is too long")
	}
	return s, err
}
