package oauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Schema returns the JSON Schema (draft 2020-12) of the authorization details of a
// kind of app: of those that a client asks for and of those that a token holds. It is
// the same for the same catalogue.
func Schema(kind string, c *scope.Catalogue) []byte {
	object := func(required []string, properties map[string]any) map[string]any {
		return map[string]any{"type": "object", "additionalProperties": false, "required": required, "properties": properties}
	}
	operation := object([]string{"name"}, map[string]any{
		"name":  map[string]any{"enum": operationNames(c)},
		"where": map[string]any{"type": "array", "maxItems": maxWhere, "items": map[string]any{"$ref": "#/$defs/constraint"}},
	})
	operation["allOf"] = attributeRules(c)
	schema := object([]string{"type"}, map[string]any{
		"type":        map[string]any{"const": tokens.TypePrefix + kind},
		"locations":   map[string]any{"type": "array", "minItems": 1, "maxItems": 1, "items": map[string]any{"type": "string", "minLength": 1}},
		"app":         map[string]any{"type": "string", "minLength": 1, "maxLength": maxWord},
		"entitlement": map[string]any{"type": "string", "minLength": 1, "maxLength": maxWord},
		"grant":       map[string]any{"type": "string", "pattern": "^grt_[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
		"operations":  map[string]any{"type": "array", "minItems": 1, "maxItems": maxOperations, "items": map[string]any{"$ref": "#/$defs/operation"}},
	})
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["$id"] = "urn:mayfly:schema:" + kind
	schema["title"] = "Authorization details of apps of kind " + kind
	schema["$defs"] = map[string]any{
		"operation": operation,
		"constraint": object([]string{"attribute", "op", "values"}, map[string]any{
			"attribute": map[string]any{"type": "string", "minLength": 1},
			"op":        map[string]any{"enum": []string{string(scope.In), string(scope.Is), string(scope.Max), string(scope.Min), string(scope.Under)}},
			"values":    map[string]any{"type": "array", "minItems": 1, "maxItems": maxValues, "items": map[string]any{"$ref": "#/$defs/value"}},
		}),
		"value": map[string]any{"oneOf": valueSchemas(object)},
	}
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic(err) // texts, numbers and lists of them always marshal
	}
	return append(out, '\n')
}

func operationNames(c *scope.Catalogue) []string {
	var out []string
	for _, s := range c.Specs() {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

// attributeRules say which attributes the constraints of an operation may name:
// operations with the same attributes share one rule.
func attributeRules(c *scope.Catalogue) []any {
	shared := map[string][]string{}
	for _, s := range c.Specs() {
		var names []string
		for _, a := range s.Attributes {
			names = append(names, a.Name)
		}
		slices.Sort(names)
		key := strings.Join(names, " ")
		shared[key] = append(shared[key], s.Name)
	}
	out := []any{}
	for _, key := range slices.Sorted(maps.Keys(shared)) {
		slices.Sort(shared[key])
		attribute := map[string]any{"enum": strings.Fields(key)}
		if key == "" {
			attribute = map[string]any{"not": map[string]any{}}
		}
		out = append(out, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"name": map[string]any{"enum": shared[key]}}},
			"then": map[string]any{"properties": map[string]any{"where": map[string]any{"items": map[string]any{"properties": map[string]any{"attribute": attribute}}}}},
		})
	}
	return out
}

func valueSchemas(object func([]string, map[string]any) map[string]any) []any {
	text := func(pattern string) map[string]any {
		if pattern == "" {
			return map[string]any{"type": "string"}
		}
		return map[string]any{"type": "string", "pattern": pattern}
	}
	const whole = "^(0|-?[1-9][0-9]{0,18})$"
	var out []any
	for _, v := range []struct {
		t     scope.Type
		value map[string]any
	}{
		{scope.TypeString, text("")}, {scope.TypePath, text("^/")}, {scope.TypeInteger, text(whole)}, {scope.TypeMinorUnits, text(whole)},
		{scope.TypeBoolean, map[string]any{"enum": []string{"true", "false"}}}, {scope.TypeMoney, text(`^-?[0-9]+(\.[0-9]+)? [a-z]{3}$`)},
	} {
		out = append(out, object([]string{"type", "value"}, map[string]any{"type": map[string]any{"const": v.t.String()}, "value": v.value}))
	}
	return out
}
