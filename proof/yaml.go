package proof

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of one file, the same as policy's.
const (
	maxFile  = 256 << 10 // bytes
	maxDepth = 32
)

// value is what a file says: a text, a list or keys with values. Exactly one is
// set; none is a key without a value.
type value struct {
	text string
	list []value
	keys map[string]value
	kind kind
}

type kind uint8

const (
	nothing kind = iota
	text
	list
	keys
)

// readFile reads the small part of YAML that policy uses, and refuses what package
// policy refuses: two readers of one signed file must not read two things. Tests
// hold the two against each other.
func readFile(b []byte) (v value, err error) {
	defer func() {
		if recover() != nil { // the parser is not ours
			v, err = value{}, errors.New("the YAML cannot be read")
		}
	}()
	if len(b) > maxFile || !utf8.Valid(b) {
		return value{}, errors.New("the file is too large, or not UTF-8")
	}
	depth := 0
	for _, c := range b {
		switch {
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c < 0x20 && c != '\n' && c != '\r':
			return value{}, errors.New("the file holds a control character")
		}
		if depth > maxDepth {
			return value{}, errors.New("too many brackets inside each other")
		}
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if len(line)-len(strings.TrimLeft(line, " -?:")) > 4*maxDepth {
			return value{}, errors.New("a line is indented too far")
		}
	}
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return value{}, errors.New("the YAML cannot be read")
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		if body != nil {
			return value{}, errors.New("a second document")
		}
		body = d.Body
	}
	if body == nil {
		return value{}, errors.New("the file is empty")
	}
	return readNode(body, 0)
}

func readNode(n ast.Node, depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errors.New("too many levels")
	}
	switch v := n.(type) {
	case *ast.StringNode:
		return value{kind: text, text: v.Value}, nil
	case *ast.LiteralNode:
		return value{kind: text, text: v.Value.Value}, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return value{kind: text, text: n.GetToken().Value}, nil
	case *ast.NullNode:
		return value{}, nil
	case *ast.SequenceNode:
		return readList(v, depth)
	case *ast.MappingNode:
		return readKeys(v.Values, depth)
	case *ast.MappingValueNode:
		return readKeys([]*ast.MappingValueNode{v}, depth)
	default: // anchors, aliases, tags, merges and the rest
		return value{}, errors.New("this part of YAML is not used here")
	}
}

func readList(v *ast.SequenceNode, depth int) (value, error) {
	out := value{kind: list}
	for _, item := range v.Values {
		if s, ok := joined(item); ok {
			out.list = append(out.list, value{kind: text, text: s})
			continue
		}
		one, err := readNode(item, depth+1)
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, one)
	}
	return out, nil
}

func readKeys(values []*ast.MappingValueNode, depth int) (value, error) {
	out := value{kind: keys, keys: map[string]value{}}
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			return value{}, errors.New("want a plain word as key")
		}
		if _, twice := out.keys[key.Value]; twice {
			return value{}, fmt.Errorf("key %q is there twice", key.Value)
		}
		if tight(v) {
			return value{}, errors.New("want a space after the colon")
		}
		one, err := readNode(v.Value, depth+1)
		if err != nil {
			return value{}, err
		}
		out.keys[key.Value] = one
	}
	return out, nil
}

// tight reports whether a plain key's colon has no space behind it: by YAML that
// is no key.
func tight(v *ast.MappingValueNode) bool {
	key, ok := v.Key.(*ast.StringNode)
	at := v.Value.GetToken()
	if _, null := v.Value.(*ast.NullNode); null || !ok || isQuoted(key.Token) || v.Start == nil || v.Start.Position == nil || at == nil || at.Position == nil {
		return false
	}
	return at.Position.Line == v.Start.Position.Line && at.Position.Column == v.Start.Position.Column+1
}

// joined gives back a plain text of a list, such as group:idp/support, that the
// parser cut at its colon.
func joined(n ast.Node) (string, bool) {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) == 1 {
		n = m.Values[0]
	}
	v, ok := n.(*ast.MappingValueNode)
	if !ok || !tight(v) {
		return "", false
	}
	switch v.Value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	default:
		return "", false
	}
	at := v.Value.GetToken()
	if isQuoted(at) || strings.Contains(at.Value, "\n") {
		return "", false
	}
	return v.Key.(*ast.StringNode).Value + ":" + at.Value, true
}

func isQuoted(t *token.Token) bool { return t.Indicator == token.QuotedScalarIndicator }

// The getters below are for keys that are needed: what is not of the shape that
// they want is an error.

func (v value) need(key string, want kind) (value, error) {
	out, ok := v.keys[key]
	if !ok || out.kind != want {
		return value{}, fmt.Errorf("%s is missing, or not what it must be", key)
	}
	return out, nil
}

func (v value) word(key string) (string, error) {
	out, err := v.need(key, text)
	if err == nil && out.text == "" {
		err = fmt.Errorf("%s is empty", key)
	}
	return out.text, err
}

// opt returns a value that may be left out; one of another shape is an error.
func (v value) opt(key string, want kind) (value, error) {
	if _, ok := v.keys[key]; !ok {
		return value{}, nil
	}
	return v.need(key, want)
}

func (v value) words() ([]string, error) {
	var out []string
	for _, item := range v.list {
		if item.kind != text || item.text == "" {
			return nil, errors.New("want a list of texts")
		}
		out = append(out, item.text)
	}
	return out, nil
}

// only refuses keys besides the known ones: a rule that is not understood could
// narrow what the others allow.
func (v value) only(known ...string) error {
	for key := range v.keys {
		if !contains(known, key) {
			return fmt.Errorf("the key %q is not known here", key)
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}
