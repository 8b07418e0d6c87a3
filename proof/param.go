package proof

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/mayflyproxy/mayfly/scope"
)

// param is what may be given for a parameter.
type param struct {
	typ           scope.Type
	required, any bool
	pattern       *regexp.Regexp
	max, min      scope.Value
	values        []scope.Value
}

func (e *entitlement) readParams(v value) error {
	params, err := v.opt("params", keys)
	if err != nil {
		return err
	}
	e.params = map[string]param{}
	for name, one := range params.keys {
		p, err := readParam(one)
		if err != nil {
			return fmt.Errorf("param %s: %w", name, err)
		}
		e.params[name] = p
	}
	return nil
}

func readParam(v value) (p param, err error) {
	if err := v.only("type", "pattern", "required", "any", "max", "min", "values"); err != nil {
		return p, err
	}
	t, err := v.word("type")
	if err != nil {
		return p, err
	}
	if p.typ, err = scope.ParseType(t); err != nil {
		return p, err
	}
	for key, into := range map[string]*bool{"required": &p.required, "any": &p.any} {
		flag, err := v.opt(key, text)
		if err != nil || flag.kind != nothing && flag.text != "true" && flag.text != "false" {
			return p, fmt.Errorf("%s: want true or false", key)
		}
		*into = flag.text == "true"
	}
	if pattern, err := v.opt("pattern", text); err != nil {
		return p, err
	} else if pattern.kind != nothing {
		if _, err := regexp.Compile(pattern.text); err != nil {
			return p, err
		}
		if p.pattern, err = regexp.Compile(`\A(?:` + pattern.text + `)\z`); err != nil {
			return p, err
		}
	}
	for key, into := range map[string]*scope.Value{"max": &p.max, "min": &p.min} {
		limit, err := v.opt(key, text)
		if err != nil {
			return p, err
		}
		if limit.kind == nothing {
			continue
		}
		if *into, err = scope.ParseValue(p.typ, limit.text); err != nil {
			return p, err
		}
	}
	values, err := v.opt("values", list)
	if err != nil {
		return p, err
	}
	for _, item := range values.list {
		one, err := scope.ParseValue(p.typ, item.text)
		if err != nil {
			return p, err
		}
		p.values = append(p.values, one)
	}
	return p, nil
}

// read reads what was given for p, within what the file allows.
func (p param) read(text string) (scope.Value, error) {
	v, err := scope.ParseValue(p.typ, text)
	if err != nil {
		return v, err
	}
	limit := func(op scope.Comparison, by scope.Value) bool {
		return by.IsZero() || scope.Constraint{Attribute: "it", Comparison: op, Values: []scope.Value{by}}.Satisfied(v)
	}
	switch {
	case p.pattern != nil && !p.pattern.MatchString(v.String()):
		return v, fmt.Errorf("%q does not match its pattern", v)
	case len(p.values) > 0 && !slices.Contains(p.values, v):
		return v, fmt.Errorf("%s is not among its values", v)
	case !limit(scope.Max, p.max), !limit(scope.Min, p.min):
		return v, fmt.Errorf("%s is beyond its bounds", v)
	}
	return v, nil
}
