package oauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Bounds of one authorization detail.
const (
	maxOperations = 200
	maxWhere      = 32
	maxValues     = 64
)

// parseDetails reads authorization_details as RFC 9396 §2 has them: a list, here of
// exactly one, since a token is for one grant. What the schema of its kind does not
// know is refused: an unknown type, member, operation or attribute, and any value of
// another type (§5).
func (s *Server) parseDetails(text string) (*access.DetailAsk, error) {
	if text == "" {
		return nil, nil
	}
	tree, err := parseTree(text)
	if err != nil {
		return nil, badDetails("they are not JSON that can be read in one way only")
	}
	list, ok := tree.([]any)
	if !ok || len(list) != 1 {
		return nil, badDetails("want a list of exactly one: a token is for one grant")
	}
	out, err := s.parseDetail(list[0])
	if err != nil {
		return nil, badDetails(err.Error())
	}
	return out, nil
}

func badDetails(why string) *Error {
	return refuse(InvalidAuthorizationDetails, "authorization_details: "+why)
}

func (s *Server) parseDetail(v any) (*access.DetailAsk, error) {
	m, err := members(v, "type", "locations", "app", "entitlement", "grant", "operations")
	if err != nil {
		return nil, err
	}
	out := &access.DetailAsk{}
	if out.Type, err = word(m, "type", true); err != nil {
		return nil, err
	}
	kind, ours := strings.CutPrefix(out.Type, tokens.TypePrefix)
	catalogue, known := s.c.Kinds[kind]
	if !ours || !known {
		return nil, errors.New("the type is not one of authorization_details_types_supported")
	}
	if out.App, err = word(m, "app", false); err != nil {
		return nil, err
	}
	if out.Entitlement, err = word(m, "entitlement", false); err != nil {
		return nil, err
	}
	id, err := word(m, "grant", false)
	if err != nil {
		return nil, err
	}
	if out.Grant.UnmarshalText([]byte(id)) != nil {
		return nil, errors.New("grant is not an id such as grt_…")
	}
	if list, ok := m["locations"]; ok {
		if out.Locations, err = words(list, "locations", 1); err != nil {
			return nil, err
		}
	}
	if list, ok := m["operations"]; ok {
		out.Rules, err = parseRules(list, catalogue)
	}
	return out, err
}

func parseRules(v any, catalogue *scope.Catalogue) ([]scope.Rule, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxOperations {
		return nil, fmt.Errorf("operations is not a list of 1 to %d", maxOperations)
	}
	var out []scope.Rule
	for _, one := range list {
		m, err := members(one, "name", "where")
		if err != nil {
			return nil, err
		}
		name, err := word(m, "name", true)
		if err != nil {
			return nil, err
		}
		spec, ok := catalogue.Lookup(name)
		if !ok {
			return nil, errors.New("an operation is not one of its kind")
		}
		r := scope.Rule{Operation: name}
		if where, ok := m["where"]; ok {
			if r.Where, err = parseWhere(where, spec); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func parseWhere(v any, spec scope.Spec) ([]scope.Constraint, error) {
	list, ok := v.([]any)
	if !ok || len(list) > maxWhere {
		return nil, fmt.Errorf("where is not a list of at most %d", maxWhere)
	}
	var out []scope.Constraint
	for _, one := range list {
		m, err := members(one, "attribute", "op", "values")
		if err != nil {
			return nil, err
		}
		var c scope.Constraint
		if c.Attribute, err = word(m, "attribute", true); err != nil {
			return nil, err
		}
		attribute, ok := spec.Attribute(c.Attribute)
		if !ok {
			return nil, errors.New("an attribute is not one of its operation")
		}
		op, err := word(m, "op", true)
		if err != nil {
			return nil, err
		}
		c.Comparison = scope.Comparison(op)
		if c.Values, err = parseValues(m["values"]); err != nil {
			return nil, err
		}
		if c.Check(attribute.Type) != nil {
			return nil, errors.New("a constraint does not fit its attribute")
		}
		out = append(out, c)
	}
	return out, nil
}

func parseValues(v any) ([]scope.Value, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxValues {
		return nil, fmt.Errorf("values is not a list of 1 to %d", maxValues)
	}
	var out []scope.Value
	for _, one := range list {
		m, err := members(one, "type", "value")
		if err != nil {
			return nil, err
		}
		typeText, err := word(m, "type", true)
		if err != nil {
			return nil, err
		}
		text, ok := m["value"].(string)
		if !ok {
			return nil, errors.New("value is missing, or not text")
		}
		t, err := scope.ParseType(typeText)
		if err != nil {
			return nil, errors.New("a value is of no type of ours")
		}
		value, err := scope.ParseValue(t, text)
		if err != nil || value.String() != text {
			return nil, errors.New("a value is not written as its type is")
		}
		out = append(out, value)
	}
	return out, nil
}

// members returns the members of an object that has no others than those named.
func members(v any, names ...string) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("something is not an object")
	}
	for name := range m {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is a member that is none of %s", strings.Join(names, ", "))
		}
	}
	return m, nil
}

// word returns a text that is not empty, or "" for one that may be left out.
func word(m map[string]any, name string, needed bool) (string, error) {
	v, ok := m[name]
	if !ok && !needed {
		return "", nil
	}
	s, isText := v.(string)
	if !ok || !isText || s == "" || len(s) > maxWord {
		return "", errors.New(name + " is missing, or not a text")
	}
	return s, nil
}

func words(v any, name string, most int) ([]string, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > most {
		return nil, fmt.Errorf("%s is not a list of 1 to %d", name, most)
	}
	var out []string
	for _, one := range list {
		s, ok := one.(string)
		if !ok || s == "" {
			return nil, errors.New(name + " holds something that is not a text")
		}
		out = append(out, s)
	}
	return out, nil
}

// granted is the detail of a token as an answer shows it (RFC 9396 §7), with the
// grant beside what the token says of it.
type granted struct {
	Type        string       `json:"type"`
	Locations   []string     `json:"locations"`
	Entitlement string       `json:"entitlement"`
	Grant       string       `json:"grant"`
	App         string       `json:"app"`
	Operations  []scope.Rule `json:"operations"`
}

func grantedOf(c tokens.Claims) []granted {
	var out []granted
	for _, d := range c.Details {
		out = append(out, granted{Type: d.Type, Locations: d.Locations, Entitlement: d.Entitlement, Grant: c.Grant.String(), App: d.Scope.App, Operations: rules(d.Scope.Rules)})
	}
	return out
}

// rules writes no constraint as an empty list, as the schema wants it.
func rules(in []scope.Rule) []scope.Rule {
	out := slices.Clone(in)
	for i := range out {
		if out[i].Where == nil {
			out[i].Where = []scope.Constraint{}
		}
	}
	return out
}
