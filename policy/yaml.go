package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of one file, so that a hostile one costs little.
const (
	maxFile  = 256 << 10 // bytes
	maxDepth = 32        // brackets or indents inside each other
	maxFiles = 10_000
)

// shape is what a node is. The zero value is nothing.
type shape uint8

const (
	shapeNull shape = iota
	shapeScalar
	shapeList
	shapeMap
)

func (s shape) String() string {
	return [...]string{"nothing", "a value", "a list", "keys and values"}[s]
}

// node is a value of the small part of YAML that policy uses: scalars as text,
// lists and maps with plain keys. Which scalar means what is said by who reads it.
type node struct {
	shape        shape
	text         string
	line, column int
	items        []*node
	keys         []*node // of a map, beside items
}

// parse reads one file. Anchors, aliases, merge keys, tags, several documents
// and duplicate keys are refused: each lets a reviewer read something else than
// what is in force.
func parse(file string, b []byte) (n *node, err *Error) {
	defer func() {
		// The parser is not ours: should it panic on some input, that input is
		// refused like any other mistake.
		if r := recover(); r != nil {
			n, err = nil, &Error{File: file, Code: CodeSyntax, Message: fmt.Sprintf("the YAML cannot be read: %v", r)}
		}
	}()
	if why := unreadable(b); why != "" {
		return nil, &Error{File: file, Code: CodeSyntax, Message: why}
	}
	doc, perr := parser.ParseBytes(b, 0)
	if perr != nil {
		return nil, syntaxError(file, perr)
	}
	r := yamlReader{file: file}
	return r.document(doc)
}

func unreadable(b []byte) string {
	switch {
	case len(b) > maxFile:
		return fmt.Sprintf("the file has %d bytes, want at most %d", len(b), maxFile)
	case !utf8.Valid(b):
		return "the file is not UTF-8"
	}
	depth, indent := 0, 0
	for line := range strings.SplitSeq(string(b), "\n") {
		indent = max(indent, leading(line))
		for i := range len(line) {
			switch line[i] {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			}
			if line[i] < 0x20 && line[i] != '\r' {
				return fmt.Sprintf("the file holds the control character %#x; indent with spaces", line[i])
			}
		}
		if depth > maxDepth {
			return fmt.Sprintf("more than %d brackets inside each other", maxDepth)
		}
	}
	if indent > 4*maxDepth {
		return fmt.Sprintf("a line is indented by %d", indent)
	}
	return ""
}

// leading counts the spaces and the list markers that a line begins with: each
// of them may open one more level.
func leading(line string) int {
	n := 0
	for n < len(line) && (line[n] == ' ' || line[n] == '-' || line[n] == '?' || line[n] == ':') {
		n++
	}
	return n
}

func syntaxError(file string, err error) *Error {
	out := &Error{File: file, Code: CodeSyntax, Message: "the YAML cannot be read"}
	var y yaml.Error
	if !errors.As(err, &y) {
		return out
	}
	out.Message = y.GetMessage()
	var dup *yaml.DuplicateKeyError
	if errors.As(err, &dup) || strings.Contains(out.Message, "already defined") {
		out.Code = CodeDuplicate
	}
	if t := y.GetToken(); t != nil && t.Position != nil {
		out.Line, out.Column = t.Position.Line, t.Position.Column
	}
	return out
}

type yamlReader struct{ file string }

func (r yamlReader) fail(t *token.Token, format string, args ...any) *Error {
	e := &Error{File: r.file, Code: CodeSyntax, Message: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

func (r yamlReader) document(f *ast.File) (*node, *Error) {
	var body ast.Node
	for _, d := range f.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		if body != nil {
			return nil, r.fail(d.Body.GetToken(), "a second document; want one noun a file")
		}
		body = d.Body
	}
	if body == nil {
		return nil, &Error{File: r.file, Code: CodeSyntax, Message: "the file is empty"}
	}
	return r.node(body, 0)
}

func (r yamlReader) node(n ast.Node, depth int) (*node, *Error) {
	if depth > maxDepth {
		return nil, r.fail(n.GetToken(), "more than %d levels", maxDepth)
	}
	at := func(s shape, text string) *node {
		out := &node{shape: s, text: text}
		if t := n.GetToken(); t != nil && t.Position != nil {
			out.line, out.column = t.Position.Line, t.Position.Column
		}
		return out
	}
	switch v := n.(type) {
	case *ast.StringNode:
		return at(shapeScalar, v.Value), nil
	case *ast.LiteralNode:
		return at(shapeScalar, v.Value.Value), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return at(shapeScalar, n.GetToken().Value), nil
	case *ast.NullNode:
		return at(shapeNull, ""), nil
	case *ast.SequenceNode:
		return r.list(v, at(shapeList, ""), depth)
	case *ast.MappingNode:
		return r.mapping(v.Values, at(shapeMap, ""), depth)
	case *ast.MappingValueNode:
		return r.mapping([]*ast.MappingValueNode{v}, at(shapeMap, ""), depth)
	case *ast.AnchorNode, *ast.AliasNode:
		return nil, r.fail(n.GetToken(), "anchors and aliases are not used here: write the value out")
	case *ast.TagNode:
		return nil, r.fail(n.GetToken(), "tags are not used here")
	case *ast.InfinityNode, *ast.NanNode:
		return nil, r.fail(n.GetToken(), "%s is no value here", n.GetToken().Value)
	default:
		return nil, r.fail(n.GetToken(), "this part of YAML is not used here")
	}
}

func (r yamlReader) list(v *ast.SequenceNode, out *node, depth int) (*node, *Error) {
	for _, item := range v.Values {
		if text, ok := rejoin(item); ok {
			t := text.GetToken().Position
			out.items = append(out.items, &node{shape: shapeScalar, text: text.Value, line: t.Line, column: t.Column})
			continue
		}
		child, err := r.node(item, depth+1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, child)
	}
	return out, nil
}

func (r yamlReader) mapping(values []*ast.MappingValueNode, out *node, depth int) (*node, *Error) {
	seen := map[string]bool{}
	for _, v := range values {
		key, err := r.key(v.Key)
		if err != nil {
			return nil, err
		}
		if seen[key.text] {
			return nil, &Error{File: r.file, Line: key.line, Column: key.column, Code: CodeDuplicate, Message: fmt.Sprintf("key %q is there twice", key.text)}
		}
		if tight(v) {
			return nil, r.fail(v.Start, "want a space after the colon")
		}
		seen[key.text] = true
		child, err := r.node(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if child.shape == shapeNull || child.line == 0 {
			child.line, child.column = key.line, key.column
		}
		out.keys, out.items = append(out.keys, key), append(out.items, child)
	}
	if len(out.keys) > 0 { // the token of a map is its first colon: point at its first key
		out.line, out.column = out.keys[0].line, out.keys[0].column
	}
	return out, nil
}

func (r yamlReader) key(k ast.MapKeyNode) (*node, *Error) {
	switch k.(type) {
	case *ast.StringNode:
		return r.node(k, 0)
	case *ast.MergeKeyNode:
		return nil, r.fail(k.GetToken(), "merge keys are not used here: write the keys out")
	default:
		return nil, r.fail(k.GetToken(), "want a plain word as key")
	}
}

// tight reports whether v is a plain key whose colon has no space behind it. By
// YAML 1.2 §7.3.3 that is no key but a part of a plain scalar; the parser reads
// it as a key inside braces.
func tight(v *ast.MappingValueNode) bool {
	key, ok := v.Key.(*ast.StringNode)
	value := v.Value.GetToken()
	if _, null := v.Value.(*ast.NullNode); null {
		return false
	}
	if !ok || quoted(key.Token) || v.Start == nil || v.Start.Position == nil || value == nil || value.Position == nil {
		return false
	}
	return value.Position.Line == v.Start.Position.Line && value.Position.Column == v.Start.Position.Column+1
}

// rejoin gives back a plain scalar of a list, such as group:idp/support, that
// the parser cut at its colon.
func rejoin(n ast.Node) (*ast.StringNode, bool) {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) == 1 {
		n = m.Values[0]
	}
	v, ok := n.(*ast.MappingValueNode)
	if !ok || !tight(v) {
		return nil, false
	}
	value := v.Value.GetToken()
	switch v.Value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	default:
		return nil, false
	}
	if quoted(value) || strings.ContainsAny(value.Value, "\n") {
		return nil, false
	}
	key := v.Key.(*ast.StringNode)
	return &ast.StringNode{Token: key.Token, Value: key.Value + ":" + value.Value}, true
}

func quoted(t *token.Token) bool { return t.Indicator == token.QuotedScalarIndicator }
