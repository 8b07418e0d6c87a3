package stripe

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
)

// operation is one operation of the catalogue, with all that a request for it
// may hold.
type operation struct {
	spec     scope.Spec
	id       string // Stripe's operationId
	method   string
	template string
	labels   []scope.AttributeSpec // in the order of the template
	fields   map[string]field
	nested   []scope.AttributeSpec // transfer_data.amount and the like
	upload   bool                  // multipart/form-data instead of a form
}

// field is a field of the first level.
type field struct {
	attribute scope.AttributeSpec // of type none: the field is never a scalar
	shape     ref
}

// ref is what a field may hold: a scalar, a composite, or either.
type ref struct {
	scalar bool
	shape  *shape // nil: none
}

// shape is a composite: a list, a map, an object, or any of several.
type shape struct {
	items  ref
	values ref
	fields map[string]ref
}

func (r ref) isZero() bool { return !r.scalar && r.shape == nil }

// reader reads the catalogue's text: lines of columns between tabs.
//
//	shape  number  members         "[]=" items, "{}=" values of a map, name= fields of an object
//	op     name  operationId  method  template  class  labels  fields  nested attributes
//
// What a member may hold is a letter for a scalar (s string, e enumeration, c
// currency, i integer, b boolean, m minor units, M money together with the
// field currency, f file), #number for a shape, or both. Then "!" means required
// and "~" that the value may stand in the record.
type reader struct {
	shapes []*shape
	ops    []*operation
}

func readCatalogue(text string) ([]*operation, error) {
	r := &reader{}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := r.line(line); err != nil {
			return nil, fmt.Errorf("stripe catalogue, line %d: %w", n+1, err)
		}
	}
	return r.ops, nil
}

func (r *reader) line(line string) error {
	columns := strings.Split(line, "\t")
	switch {
	case strings.HasPrefix(line, "#"), columns[0] == "api":
		return nil
	case columns[0] == "shape" && len(columns) == 3:
		return r.shape(columns[2])
	case columns[0] == "op" && len(columns) == 9:
		return r.operation(columns[1:])
	default:
		return fmt.Errorf("want a shape or an operation")
	}
}

// shape reads one shape. Those that it refers to stand before it.
func (r *reader) shape(members string) error {
	s := &shape{fields: map[string]ref{}}
	for _, member := range strings.Fields(members) {
		m, err := r.member(member)
		if err != nil {
			return err
		}
		switch m.name {
		case "[]":
			s.items = m.ref
		case "{}":
			s.values = m.ref
		default:
			s.fields[m.name] = m.ref
		}
	}
	r.shapes = append(r.shapes, s)
	return nil
}

func (r *reader) operation(columns []string) error {
	class, err := scope.ParseClass(columns[4])
	if err != nil {
		return err
	}
	op := &operation{
		spec: scope.Spec{Name: columns[0], Class: class},
		id:   columns[1], method: columns[2], template: columns[3], fields: map[string]field{},
	}
	for _, label := range strings.Fields(columns[5]) {
		name, recordable := strings.CutSuffix(label, "~")
		op.labels = append(op.labels, scope.AttributeSpec{Name: name, Type: scope.TypeString, Required: true, Recordable: recordable})
	}
	for _, text := range strings.Fields(columns[6]) {
		m, err := r.member(text)
		if err != nil {
			return err
		}
		f := field{shape: m.ref}
		if m.letter == 'f' {
			op.upload = true
		} else if m.ref.scalar {
			f.attribute = m.attribute()
		}
		op.fields[m.name] = f
		if f.attribute.Type != scope.TypeNone {
			op.spec.Attributes = append(op.spec.Attributes, f.attribute)
		}
	}
	for _, text := range strings.Fields(columns[7]) {
		m, err := r.member(text)
		if err != nil {
			return err
		}
		op.nested = append(op.nested, m.attribute())
	}
	op.spec.Attributes = append(append(op.spec.Attributes, op.labels...), op.nested...)
	r.ops = append(r.ops, op)
	return nil
}

// member is name=[letter][#number][!][~].
type member struct {
	name                 string
	letter               byte
	ref                  ref
	required, recordable bool
}

func (r *reader) member(text string) (member, error) {
	name, rest, ok := strings.Cut(text, "=")
	m := member{name: name}
	rest, m.recordable = strings.CutSuffix(rest, "~")
	rest, m.required = strings.CutSuffix(rest, "!")
	letter, number, composite := strings.Cut(rest, "#")
	if len(letter) == 1 {
		m.letter, m.ref.scalar = letter[0], true
	}
	if composite {
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= len(r.shapes) {
			return member{}, fmt.Errorf("%s: no shape %s", name, number)
		}
		m.ref.shape = r.shapes[i]
	}
	if !ok || name == "" || len(letter) > 1 || m.ref.isZero() {
		return member{}, fmt.Errorf("member %q: want a name and what it may hold", text)
	}
	return m, nil
}

func (m member) attribute() scope.AttributeSpec {
	a := scope.AttributeSpec{Name: m.name, Type: scope.TypeString, Required: m.required && m.ref.shape == nil, Recordable: m.recordable}
	switch m.letter {
	case 'i':
		a.Type = scope.TypeInteger
	case 'b':
		a.Type = scope.TypeBoolean
	case 'm':
		a.Type = scope.TypeMinorUnits
	case 'M':
		a.Type = scope.TypeMoney
	}
	return a
}
