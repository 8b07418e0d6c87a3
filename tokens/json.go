package tokens

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// What a JSON text of ours may hold at most. The text itself is bounded by MaxSize.
const (
	maxDepth   = 12
	maxMembers = 64
)

// kind is the sort of a JSON value.
type kind uint8

const (
	kindNone kind = iota
	kindNull
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// node is one JSON value that can be read in one way only: no name twice in an
// object, at any depth (RFC 8259 §4 leaves that open, and readers differ).
type node struct {
	kind    kind
	text    string // of a string, without escapes; of a number or a literal, as written
	list    []node
	members []member
}

type member struct {
	name  string
	value node
}

// get returns the member of exactly that name.
func (n *node) get(name string) *node {
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i].value
		}
	}
	return nil
}

// parseJSON reads one JSON value (RFC 8259) and nothing after it. It refuses what
// encoding/json bears: duplicate names, invalid UTF-8, lone surrogates.
func parseJSON(s string) (node, error) {
	r := reader{s: s}
	n, err := r.value(0)
	if err != nil {
		return node{}, err
	}
	if r.space(); r.at != len(s) {
		return node{}, errors.New("something stands after the value")
	}
	return n, nil
}

// parseObject is parseJSON for an object.
func parseObject(s string) (node, error) {
	n, err := parseJSON(s)
	if err == nil && n.kind != kindObject {
		return node{}, errors.New("it is not an object")
	}
	return n, err
}

type reader struct {
	s  string
	at int
}

func (r *reader) space() {
	for r.at < len(r.s) && strings.IndexByte(" \t\r\n", r.s[r.at]) >= 0 {
		r.at++
	}
}

func (r *reader) peek() byte {
	if r.at < len(r.s) {
		return r.s[r.at]
	}
	return 0
}

func (r *reader) take(b byte) bool {
	if r.at < len(r.s) && r.s[r.at] == b {
		r.at++
		return true
	}
	return false
}

func (r *reader) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, errors.New("it is nested too deeply")
	}
	r.space()
	switch b := r.peek(); {
	case b == '{':
		return r.object(depth)
	case b == '[':
		return r.array(depth)
	case b == '"':
		s, err := r.text()
		return node{kind: kindString, text: s}, err
	case b == '-' || isDigit(b):
		return r.number()
	default:
		return r.literal()
	}
}

func (r *reader) literal() (node, error) {
	for _, l := range [...]struct {
		word string
		kind kind
	}{{"true", kindBool}, {"false", kindBool}, {"null", kindNull}} {
		if strings.HasPrefix(r.s[r.at:], l.word) {
			r.at += len(l.word)
			return node{kind: l.kind, text: l.word}, nil
		}
	}
	return node{}, errors.New("it is not JSON")
}

func (r *reader) object(depth int) (node, error) {
	n := node{kind: kindObject}
	r.at++
	if r.space(); r.take('}') {
		return n, nil
	}
	for {
		r.space()
		name, err := r.text()
		if err != nil {
			return node{}, err
		}
		if r.space(); !r.take(':') {
			return node{}, errors.New("it is not JSON")
		}
		if n.get(name) != nil {
			return node{}, fmt.Errorf("member %s stands twice", shown(name))
		}
		if len(n.members) == maxMembers {
			return node{}, errors.New("an object has too many members")
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name, v})
		r.space()
		switch {
		case r.take('}'):
			return n, nil
		case !r.take(','):
			return node{}, errors.New("it is not JSON")
		}
	}
}

func (r *reader) array(depth int) (node, error) {
	n := node{kind: kindArray}
	r.at++
	if r.space(); r.take(']') {
		return n, nil
	}
	for {
		v, err := r.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.list = append(n.list, v)
		r.space()
		switch {
		case r.take(']'):
			return n, nil
		case !r.take(','):
			return node{}, errors.New("it is not JSON")
		}
	}
}

func (r *reader) number() (node, error) {
	from := r.at
	r.take('-')
	if !r.take('0') && r.digits() == 0 {
		return node{}, errors.New("a number is not one")
	}
	if r.take('.') && r.digits() == 0 {
		return node{}, errors.New("a number is not one")
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		if r.digits() == 0 {
			return node{}, errors.New("a number is not one")
		}
	}
	return node{kind: kindNumber, text: r.s[from:r.at]}, nil
}

func (r *reader) digits() int {
	from := r.at
	for isDigit(r.peek()) {
		r.at++
	}
	return r.at - from
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// text reads a string. One without escapes is a part of the text that is read.
func (r *reader) text() (string, error) {
	if !r.take('"') {
		return "", errors.New("it is not JSON")
	}
	from := r.at
	for r.at < len(r.s) {
		switch b := r.s[r.at]; {
		case b == '"':
			s := r.s[from:r.at]
			r.at++
			return valid(s)
		case b == '\\':
			return r.escaped(r.s[from:r.at])
		case b < 0x20:
			return "", errors.New("a string holds a control character")
		default:
			r.at++
		}
	}
	return "", errors.New("a string has no end")
}

func valid(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("a string is not UTF-8")
	}
	return s, nil
}

// escaped reads on from the first backslash.
func (r *reader) escaped(begun string) (string, error) {
	out := []byte(begun)
	for r.at < len(r.s) {
		switch b := r.s[r.at]; {
		case b == '"':
			r.at++
			return valid(string(out))
		case b == '\\':
			c, err := r.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, c)
		case b < 0x20:
			return "", errors.New("a string holds a control character")
		default:
			out = append(out, b)
			r.at++
		}
	}
	return "", errors.New("a string has no end")
}

func (r *reader) escape() (rune, error) {
	r.at++ // the backslash
	b := r.peek()
	if b == 'u' {
		return r.unicode()
	}
	if i := strings.IndexByte(`"\/bfnrt`, b); i >= 0 && b != 0 {
		r.at++
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	return 0, errors.New("a string holds an unknown escape")
}

func (r *reader) unicode() (rune, error) {
	c, err := r.hex()
	if err != nil || !utf16.IsSurrogate(c) {
		return c, err
	}
	if !r.take('\\') || r.peek() != 'u' {
		return 0, errors.New("a string holds half a character")
	}
	low, err := r.hex()
	if err != nil {
		return 0, err
	}
	if c = utf16.DecodeRune(c, low); c == utf8.RuneError {
		return 0, errors.New("a string holds half a character")
	}
	return c, nil
}

// hex reads u and four digits.
func (r *reader) hex() (rune, error) {
	r.at++
	if r.at+4 > len(r.s) {
		return 0, errors.New("a string has no end")
	}
	n, err := strconv.ParseUint(r.s[r.at:r.at+4], 16, 16)
	if err != nil {
		return 0, errors.New("a string holds an unknown escape")
	}
	r.at += 4
	return rune(n), nil
}

// shown is a name out of a text that somebody else made, fit for a log.
func shown(name string) string {
	const limit = 40
	if len(name) > limit {
		name = name[:limit]
	}
	return strconv.QuoteToASCII(name)
}
