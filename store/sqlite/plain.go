package sqlite

import (
	"database/sql"
	"fmt"

	"github.com/mayflyproxy/mayfly/scope"
)

// Rows of grants are read a hundred thousand at a time, and most of that time went into
// their JSON. What object writes of them is read here by hand if all texts in it are
// plain. Anything else is asObject's, who alone says that something is wrong.

// asScope reads a scope.
func asScope(dst *scope.Scope) sql.Scanner { return asPlain(dst, (*plain).scope) }

// asParams reads parameters.
func asParams(dst *map[string]string) sql.Scanner { return asPlain(dst, (*plain).params) }

func asPlain[T any](dst *T, read func(*plain) T) sql.Scanner {
	return scanner(func(src any) error {
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want JSON text, got %T", src)
		}
		p := plain{text: s}
		if v := read(&p); p.over() {
			*dst = v
			return nil
		}
		return asObject(dst).Scan(src)
	})
}

// plain reads JSON as object writes it: members in the order of the type, no blanks, and
// in texts nothing but ASCII that needs no escape. Texts are parts of its own.
type plain struct {
	text  string
	other bool // it is something else
}

// over reports whether all was read, and nothing else.
func (p *plain) over() bool { return !p.other && p.text == "" }

// next reads s, if that is what comes.
func (p *plain) next(s string) bool {
	if len(p.text) < len(s) || p.text[:len(s)] != s {
		return false
	}
	p.text = p.text[len(s):]
	return true
}

func (p *plain) must(s string) {
	if !p.next(s) {
		p.other = true
	}
}

func (p *plain) word() string {
	p.must(`"`)
	for i := range len(p.text) {
		switch c := p.text[i]; {
		case c == '"':
			s := p.text[:i]
			p.text = p.text[i+1:]
			return s
		case c < ' ' || c > '~' || c == '\\':
			p.other = true
			return ""
		}
	}
	p.other = true
	return ""
}

// listOf reads a list, or null.
func listOf[T any](p *plain, one func(*plain) T) []T {
	if p.next("null") {
		return nil
	}
	p.must("[")
	out := []T{}
	for n := 0; !p.other && !p.next("]"); n++ {
		if n > 0 {
			p.must(",")
		}
		out = append(out, one(p))
	}
	return out
}

func (p *plain) scope() (s scope.Scope) {
	p.must(`{"app":`)
	s.App = p.word()
	p.must(`,"operations":`)
	s.Rules = listOf(p, (*plain).rule)
	p.must(`}`)
	return s
}

func (p *plain) rule() (r scope.Rule) {
	p.must(`{"name":`)
	r.Operation = p.word()
	p.must(`,"where":`)
	r.Where = listOf(p, (*plain).constraint)
	p.must(`}`)
	return r
}

func (p *plain) constraint() (c scope.Constraint) {
	p.must(`{"attribute":`)
	c.Attribute = p.word()
	p.must(`,"op":`)
	c.Comparison = scope.Comparison(p.word())
	p.must(`,"values":`)
	c.Values = listOf(p, (*plain).value)
	p.must(`}`)
	return c
}

func (p *plain) value() scope.Value {
	p.must(`{"type":`)
	t, err := scope.ParseType(p.word())
	p.must(`,"value":`)
	v, unread := scope.ParseValue(t, p.word())
	p.must(`}`)
	if err != nil || unread != nil {
		p.other = true
	}
	return v
}

func (p *plain) params() map[string]string {
	if p.next("null") {
		return nil
	}
	p.must("{")
	out := map[string]string{}
	for n := 0; !p.other && !p.next("}"); n++ {
		if n > 0 {
			p.must(",")
		}
		name := p.word()
		p.must(":")
		out[name] = p.word()
	}
	return out
}
