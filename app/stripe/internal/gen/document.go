package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// document is the part of an OpenAPI 3 description that the catalogue is made
// from. Answers and components are skipped while decoding.
type document struct {
	Info struct {
		Version string `json:"version"`
	} `json:"info"`
	Paths map[string]map[string]described `json:"paths"`
}

type described struct {
	OperationID string      `json:"operationId"`
	Parameters  []parameter `json:"parameters"`
	RequestBody struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
}

type parameter struct {
	In       string `json:"in"`
	Name     string `json:"name"`
	Required bool   `json:"required"`
	Schema   schema `json:"schema"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Format     string            `json:"format"`
	Enum       []string          `json:"enum"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	AnyOf      []schema          `json:"anyOf"`
	OneOf      []schema          `json:"oneOf"`
	AllOf      []schema          `json:"allOf"`
	Additional json.RawMessage   `json:"additionalProperties"`
}

// The scalar letters of the catalogue; read.go has their meaning.
const (
	letterString   = 's'
	letterEnum     = 'e'
	letterCurrency = 'c'
	letterInteger  = 'i'
	letterBoolean  = 'b'
	letterMinor    = 'm'
	letterMoney    = 'M'
	letterFile     = 'f'
	letterUnset    = '-' // only the empty string, which unsets; never written
)

// node is what a form field may hold: a scalar, a list, a map, an object, or
// any of several of these.
type node struct {
	scalar byte // 0: none
	items  *node
	values *node
	object bool
	fields map[string]*node
}

func (s schema) node() (*node, error) {
	if s.Ref != "" || len(s.OneOf) > 0 || len(s.AllOf) > 0 {
		return nil, fmt.Errorf("schema with $ref, oneOf or allOf: %q", s.Ref)
	}
	if len(s.AnyOf) > 0 {
		all := &node{}
		for _, alternative := range s.AnyOf {
			n, err := alternative.node()
			if err != nil {
				return nil, err
			}
			all.merge(n)
		}
		return all, nil
	}
	switch s.Type {
	case "object":
		return s.objectNode()
	case "array":
		items, err := s.Items.node()
		return &node{items: items}, err
	case "string", "integer", "boolean", "number":
		return &node{scalar: s.letter()}, nil
	default:
		return nil, fmt.Errorf("schema of type %q", s.Type)
	}
}

func (s schema) objectNode() (*node, error) {
	n := &node{object: true, fields: map[string]*node{}}
	for name, property := range s.Properties {
		field, err := property.node()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		n.fields[name] = field
	}
	if !bytes.HasPrefix(s.Additional, []byte("{")) {
		if string(s.Additional) == "true" {
			return nil, fmt.Errorf("object with any properties")
		}
		return n, nil
	}
	var additional schema
	if err := json.Unmarshal(s.Additional, &additional); err != nil {
		return nil, err
	}
	var err error
	n.values, err = additional.node()
	n.object = len(n.fields) > 0
	return n, err
}

func (s schema) letter() byte {
	switch {
	case s.Type == "integer":
		return letterInteger
	case s.Type == "boolean":
		return letterBoolean
	case s.Format == "currency":
		return letterCurrency
	case s.Format == "binary":
		return letterFile
	case len(s.Enum) == 1 && s.Enum[0] == "":
		return letterUnset
	case len(s.Enum) > 0:
		return letterEnum
	default:
		return letterString
	}
}

// merge makes n hold what it or m holds.
func (n *node) merge(m *node) {
	n.scalar = mergeLetters(n.scalar, m.scalar)
	n.items = mergeNodes(n.items, m.items)
	n.values = mergeNodes(n.values, m.values)
	n.object = n.object || m.object
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	for name, field := range m.fields {
		n.fields[name] = mergeNodes(n.fields[name], field)
	}
}

func mergeNodes(a, b *node) *node {
	if a == nil {
		return b
	}
	if b != nil {
		a.merge(b)
	}
	return a
}

func mergeLetters(a, b byte) byte {
	switch {
	case a == 0 || a == letterUnset && b != 0:
		return b
	case b == 0 || b == letterUnset || a == b:
		return a
	default:
		return letterString
	}
}

// operation is one line of the catalogue.
type operation struct {
	name, id, method, template, class string
	labels                            []string
	fields                            map[string]*field
	nested                            []string
}

type field struct {
	node       *node
	required   bool
	recordable bool
}

func operations(d document) ([]*operation, error) {
	var ops []*operation
	seen := map[string]string{}
	for _, template := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[template])) {
			op, err := newOperation(d, strings.ToUpper(method), template)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, template, err)
			}
			if other, ok := seen[op.name]; ok {
				return nil, fmt.Errorf("%s is the name of %s and of %s", op.name, other, op.id)
			}
			seen[op.name] = op.id
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b *operation) int { return strings.Compare(a.name, b.name) })
	return ops, nil
}

func newOperation(d document, method, template string) (*operation, error) {
	got := d.Paths[template][strings.ToLower(method)]
	op := &operation{
		name: nameOf(d, method, template), id: got.OperationID, method: method, template: template,
		fields: map[string]*field{},
	}
	op.class = classOf(op.name, method)
	for _, p := range got.Parameters {
		switch p.In {
		case "path":
			op.labels = append(op.labels, p.Name)
		case "query":
			if err := op.add(p.Name, p.Schema, p.Required); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("parameter %s in %s", p.Name, p.In)
		}
	}
	for _, content := range got.RequestBody.Content {
		for name, property := range content.Schema.Properties {
			if err := op.add(name, property, slices.Contains(content.Schema.Required, name)); err != nil {
				return nil, err
			}
		}
	}
	op.finish()
	return op, nil
}

func (op *operation) add(name string, s schema, required bool) error {
	if name == "expand" { // refused by the parser: it reads other objects
		return nil
	}
	n, err := s.node()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, ok := op.fields[name]; ok || slices.Contains(op.labels, name) {
		return fmt.Errorf("%s is there twice", name)
	}
	op.fields[name] = &field{node: n, required: required}
	return nil
}

// finish gives amounts their letters and marks what may be recorded.
func (op *operation) finish() {
	for name, f := range op.fields {
		if f.node.scalar == letterInteger && isAmount(name) {
			f.node.scalar = letterMinor
		}
	}
	if a, c := op.fields["amount"], op.fields["currency"]; a != nil && c != nil && a.required && c.required && a.node.scalar == letterMinor {
		a.node.scalar = letterMoney
	}
	for name, f := range op.fields {
		f.recordable = recordable(name, f.node.scalar)
	}
	if f := op.fields["transfer_data"]; f != nil {
		for _, name := range []string{"amount", "destination"} {
			if f.node.fields[name] != nil {
				op.nested = append(op.nested, "transfer_data."+name)
			}
		}
	}
}
