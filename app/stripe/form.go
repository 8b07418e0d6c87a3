package stripe

import (
	"strings"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// Bounds of a form. Stripe's own are not published; its clients stay far below.
const (
	maxPairs = 2000
	maxDepth = 12
)

// formValue is a decoded form field: a scalar, a list (written with []), or
// members by name or index. The zero value is the form without fields.
type formValue struct {
	leaf    bool
	text    string
	list    []string
	members map[string]*formValue
}

// parseForm reads an application/x-www-form-urlencoded body or query with
// Stripe's bracket syntax. It refuses as malformed whatever two parsers may read
// differently: a field given twice, a field that is both a scalar and not, empty
// pairs, semicolons, broken escapes, bytes that are not UTF-8, control characters
// outside escapes.
func parseForm(text string) (*formValue, error) {
	root := &formValue{}
	if text == "" {
		return root, nil
	}
	if strings.Count(text, "&") >= maxPairs {
		return nil, malformed("the form has more than %d fields", maxPairs)
	}
	for pair := range strings.SplitSeq(text, "&") {
		rawKey, rawValue, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, malformed("the form has a field without =")
		}
		key, err := decodeForm(rawKey)
		if err != nil {
			return nil, err
		}
		value, err := decodeForm(rawValue)
		if err != nil {
			return nil, err
		}
		path, err := bracketPath(key)
		if err != nil {
			return nil, err
		}
		if err := root.put(path, value); err != nil {
			return nil, malformed("the field %.64q is %s", key, err.Error())
		}
	}
	return root, nil
}

func malformed(format string, args ...any) *grant.Denial {
	return grant.Deny(grant.Malformed, format, args...)
}

func decodeForm(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case b == '%':
			var ok bool
			if b, ok = app.HexByte(s[i+1:]); !ok {
				return "", malformed("the form has a broken percent-encoding")
			}
			i += 2
		case b == '+':
			b = ' '
		case b <= 0x20 || b == 0x7f || b == ';':
			return "", malformed("the form has a byte that must be percent-encoded")
		}
		if b == 0 {
			return "", malformed("the form has a zero byte")
		}
		out = append(out, b)
	}
	if !utf8.Valid(out) {
		return "", malformed("the form is not UTF-8")
	}
	return string(out), nil
}

// bracketPath turns transfer_data[destination] into its two names. An empty pair
// of brackets stands only at the end.
func bracketPath(key string) ([]string, error) {
	name, rest, nested := strings.Cut(key, "[")
	if name == "" || strings.Contains(name, "]") {
		return nil, malformed("the field %.64q has no name", key)
	}
	path := []string{name}
	for nested {
		var part string
		var closed bool
		part, rest, closed = strings.Cut(rest, "]")
		if !closed || strings.Contains(part, "[") || part == "" && rest != "" || len(path) == maxDepth {
			return nil, malformed("the field %.64q has brackets that do not match", key)
		}
		path = append(path, part)
		if rest == "" {
			return path, nil
		}
		var before string
		before, rest, nested = strings.Cut(rest, "[")
		if before != "" || !nested {
			return nil, malformed("the field %.64q has brackets that do not match", key)
		}
	}
	return path, nil
}

type formError string

func (e formError) Error() string { return string(e) }

const (
	errTwice = formError("there twice")
	errBoth  = formError("given in two ways")
)

func (v *formValue) put(path []string, value string) error {
	for i, name := range path {
		if name == "" { // the end, by bracketPath
			if v.leaf || v.members != nil {
				return errBoth
			}
			v.list = append(v.list, value)
			return nil
		}
		if v.leaf || v.list != nil {
			return errBoth
		}
		if v.members == nil {
			v.members = map[string]*formValue{}
		}
		next := v.members[name]
		if next == nil {
			next = &formValue{}
			v.members[name] = next
		} else if i == len(path)-1 {
			return errTwice
		}
		v = next
	}
	v.leaf, v.text = true, value
	return nil
}
