package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gowebpki/jcs"
)

// maxDepth bounds the nesting of canonical JSON: no record or Offer needs half of it.
const maxDepth = 32

// CanonicalJSON returns v as RFC 8785 canonical JSON under the rule of
// contracts §1: the only number allowed is an integer v ≥ 1 at the top level;
// all others must be strings. Two equal values have equal bytes, so that the
// SHA-256 of the result names the value. A string that is not UTF-8 is an error.
func CanonicalJSON(v any) ([]byte, error) {
	b, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return Canonicalize(b)
}

// Canonicalize returns JSON text in canonical form, under the same rule. It
// refuses duplicate keys, text that is not UTF-8 and nesting beyond 32.
func Canonicalize(b []byte) ([]byte, error) {
	out, err := transform(b)
	if err != nil {
		return nil, err
	}
	if at := findNumber(out); at >= 0 {
		return nil, fmt.Errorf("canonical JSON: number at byte %d: every number but v must be a string", at)
	}
	return out, nil
}

// marshal is json.Marshal that refuses what it would silently replace.
func marshal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	// encoding/json writes U+FFFD as itself, but bytes that are not UTF-8 as this escape.
	if i := bytes.Index(b, []byte(`\ufffd`)); i >= 0 && !escapedBackslash(b, i) {
		return nil, errors.New("canonical JSON: a string is not UTF-8")
	}
	return b, nil
}

// escapedBackslash reports whether the backslash at i is itself escaped.
func escapedBackslash(b []byte, i int) bool {
	n := 0
	for i > 0 && b[i-1] == '\\' {
		n++
		i--
	}
	return n%2 == 1
}

func transform(b []byte) ([]byte, error) {
	if err := checkDepth(b); err != nil {
		return nil, err
	}
	out, err := jcs.Transform(b)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %s", lowerFirst(err.Error()))
	}
	return out, nil
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// checkDepth runs before the recursive parser.
func checkDepth(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("canonical JSON: nested deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// findNumber returns where canonical JSON b holds a number that the rule does
// not allow, or -1. In canonical form a number is the only token that starts
// with a digit or a minus.
func findNumber(b []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == '-' || c >= '0' && c <= '9':
			n := versionLength(b, i)
			if depth != 1 || n == 0 {
				return i
			}
			i += n - 1
		}
	}
	return -1
}

// hasNumber reports whether canonical JSON b holds any number.
func hasNumber(b []byte) bool {
	inString := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '-' || c >= '0' && c <= '9':
			return true
		}
	}
	return false
}

// versionLength returns the length of the number at i if it is the value of an
// object's key v and an integer ≥ 1, else 0.
func versionLength(b []byte, i int) int {
	const key = `"v":`
	if i < len(key)+1 || string(b[i-len(key):i]) != key || b[i] == '0' || b[i] == '-' {
		return 0
	}
	if before := b[i-len(key)-1]; before != '{' && before != ',' {
		return 0
	}
	n := 0
	for i+n < len(b) && b[i+n] >= '0' && b[i+n] <= '9' {
		n++
	}
	if i+n == len(b) || b[i+n] != ',' && b[i+n] != '}' {
		return 0
	}
	return n
}

// appendString appends s as RFC 8785 §3.2.2.2 writes a string.
func appendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, '"')
}
