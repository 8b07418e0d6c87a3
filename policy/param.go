package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/scope"
)

// maxParamText is the longest text of a parameter, in bytes.
const maxParamText = 512

func paramName() *regexp.Regexp { return regexp.MustCompile(`\A[a-z][a-z0-9_]{0,31}\z`) }

// reservedParams are names that ask: gives another meaning, and CEL's own words
// (CEL specification, syntax: KEYWORD and RESERVED).
func reservedParams() []string {
	return []string{
		"duration", "justification", "reason", "for",
		"false", "in", "null", "true",
		"as", "break", "const", "continue", "else", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
	}
}

func (l *loader) readParams(n *node) []Param {
	if n == nil {
		return nil
	}
	if n.shape != shapeMap {
		l.fail(n, CodeValue, "params: want names and what they are, found %s", n.shape)
		return nil
	}
	var out []Param
	for i, k := range n.keys {
		switch {
		case !paramName().MatchString(k.text):
			l.fail(k, CodeValue, "params: %q, want a name of a-z, 0-9 and _ that begins with a letter", k.text)
		case slices.Contains(reservedParams(), k.text):
			l.fail(k, CodeValue, "params: %q has another meaning, choose another name", k.text)
		default:
			if p, ok := l.readParam(k, n.items[i]); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

func (l *loader) readParam(key, n *node) (Param, bool) {
	what := "param " + key.text
	f := l.object(n, schema{what: what, known: []string{"type", "pattern", "required", "any", "max", "min", "values"}, later: []string{"default", "from", "shown"}})
	p := Param{Name: key.text, Line: key.line}
	at := f.need("type")
	var err error
	if text := l.text(at, what+": type"); text != "" {
		if p.Type, err = scope.ParseType(text); err != nil {
			l.fail(at, CodeValue, "%s: %v", what, err)
		}
	}
	if p.Type == scope.TypeNone {
		return p, false
	}
	p.Required = f.has("required") && l.boolean(f.opt("required"), what+": required")
	p.Any = f.has("any") && l.boolean(f.opt("any"), what+": any")
	switch {
	case p.Required && p.Any:
		l.fail(key, CodeValue, "%s: a required parameter is never any", what)
	case !p.Required && !p.Any:
		l.fail(key, CodeValue, "%s: without it its constraints are not there: say required: true, or any: true to allow that", what)
	}
	l.readPattern(&p, f.opt("pattern"), what)
	l.readBounds(&p, f, what)
	return p, true
}

func (l *loader) readPattern(p *Param, n *node, what string) {
	text := l.text(n, what+": pattern")
	if text == "" {
		return
	}
	if p.Type != scope.TypeString && p.Type != scope.TypePath {
		l.fail(n, CodeValue, "%s: a pattern is for string and path, not %s", what, p.Type)
		return
	}
	re, err := regexp.Compile(`\A(?:` + text + `)\z`)
	if err != nil || len(text) > maxParamText || !balanced(text) {
		l.fail(n, CodeValue, "%s: pattern %q is no RE2 expression of at most %d bytes", what, text, maxParamText)
		return
	}
	p.Pattern, p.pattern = text, re
}

// balanced reports whether a pattern stands alone: x)|(y does not, and would
// leave the group that anchors it.
func balanced(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil
}

func (l *loader) readBounds(p *Param, f *fields, what string) {
	ordered := p.Type == scope.TypeInteger || p.Type == scope.TypeMinorUnits || p.Type == scope.TypeMoney
	for key, into := range map[string]*scope.Value{"max": &p.Max, "min": &p.Min} {
		n := f.opt(key)
		if n == nil {
			continue
		}
		if !ordered {
			l.fail(n, CodeValue, "%s: %s is for integer, minor_units and money, not %s", what, key, p.Type)
			continue
		}
		*into = l.value(n, p.Type, what+": "+key)
	}
	if !p.Max.IsZero() && !p.Min.IsZero() && !p.maxConstraint().Satisfied(p.Min) {
		l.fail(f.n, CodeValue, "%s: min %s is above max %s, or in another currency", what, p.Min, p.Max)
	}
	n := f.opt("values")
	if n == nil {
		return
	}
	for _, text := range l.list(n, what+": values") {
		v := l.value(text, p.Type, what+": values")
		if v.IsZero() {
			continue
		}
		if slices.Contains(p.Values, v) {
			l.fail(text, CodeDuplicate, "%s: value %s is there twice", what, v)
		}
		if err := p.check(v); err != nil && len(p.Values) == 0 {
			l.fail(text, CodeValue, "%s: value %s can never be given: %v", what, v, err)
		}
		p.Values = append(p.Values, v)
	}
}

// value reads a literal of type t.
func (l *loader) value(n *node, t scope.Type, what string) scope.Value {
	text := l.text(n, what)
	if text == "" {
		return scope.Value{}
	}
	v, err := parseValue(t, text)
	if err != nil {
		l.fail(n, CodeValue, "%s: %v", what, err)
		return scope.Value{}
	}
	return v
}

// parseValue is scope.ParseValue with the limits of what people write: bounded,
// printable, and paths that stand for themselves.
func parseValue(t scope.Type, text string) (scope.Value, error) {
	switch {
	case len(text) > maxParamText:
		return scope.Value{}, fmt.Errorf("want at most %d bytes", maxParamText)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return scope.Value{}, fmt.Errorf("%q has a character that does not print", text)
	case t == scope.TypePath && !plainPath(text):
		return scope.Value{}, fmt.Errorf("path %q: want an absolute, decoded path without empty or dot segments, query, semicolons or percent signs", text)
	}
	return scope.ParseValue(t, text)
}

// plainPath reports whether s is a path as app kinds write it after decoding:
// one that they would never make could never be met, or worse, be met by another.
func plainPath(s string) bool {
	if s == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(s, "/")
	if !ok || strings.ContainsAny(s, `%?#;\`) {
		return false
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// read reads what somebody gave for p. The error names what is allowed.
func (p Param) read(text string) (scope.Value, error) {
	v, err := parseValue(p.Type, text)
	if err != nil {
		return scope.Value{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	if err := p.check(v); err != nil {
		return scope.Value{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	return v, nil
}

func (p Param) check(v scope.Value) error {
	switch {
	case v.IsZero():
		return fmt.Errorf("no value")
	case p.pattern != nil && !p.pattern.MatchString(v.String()):
		return fmt.Errorf("%q does not match %s", v, p.Pattern)
	case len(p.Values) > 0 && !slices.Contains(p.Values, v):
		return fmt.Errorf("%s is not allowed, want one of %s", v, texts(p.Values))
	case !p.Max.IsZero() && !p.maxConstraint().Satisfied(v):
		return fmt.Errorf("%s is over the cap, want at most %s (%s)", v, p.Max, p.Type)
	case !p.Min.IsZero() && !p.minConstraint().Satisfied(v):
		return fmt.Errorf("%s is too small, want at least %s (%s)", v, p.Min, p.Type)
	}
	return nil
}

func (p Param) maxConstraint() scope.Constraint {
	return scope.Constraint{Attribute: p.Name, Comparison: scope.Max, Values: []scope.Value{p.Max}}
}

func (p Param) minConstraint() scope.Constraint {
	return scope.Constraint{Attribute: p.Name, Comparison: scope.Min, Values: []scope.Value{p.Min}}
}

// Words says what p takes, for people: "minor_units, at most 50000".
func (p Param) Words() string {
	words := p.Type.String()
	if p.Pattern != "" {
		words += " matching " + p.Pattern
	}
	if len(p.Values) > 0 {
		words += ", one of " + texts(p.Values)
	}
	if !p.Min.IsZero() {
		words += ", at least " + p.Min.String()
	}
	if !p.Max.IsZero() {
		words += ", at most " + p.Max.String()
	}
	if p.Any {
		words += ", or nothing for any"
	}
	return words
}

func texts(values []scope.Value) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}
