package proxy

import (
	"unique"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// opener opens packed grants one after the other into the same memory: of those with
// the same terms, as most in one list are, only what is a grant's own is read again.
// The zero value is ready. It is one goroutine's.
type opener struct {
	terms       unique.Handle[string]
	whole       bool // terms could be read
	app         string
	class       scope.Class
	entitlement string
	rules       []scope.Rule
	own         []ownValue
}

// ownValue is a place in the rules for a value that is each grant's own.
type ownValue struct {
	at *scope.Value
	of scope.Type
}

// open returns a grant, good until the next call. One that cannot be read has no
// scope, and permits nothing.
func (o *opener) open(p *packed) grant.Grant {
	g := p.term()
	g.Scope = o.scope(p)
	g.Class, g.Entitlement = o.class, o.entitlement
	return g
}

// scope is open for its scope only. The entitlement is the opener's then.
func (o *opener) scope(p *packed) scope.Scope {
	if o.terms != p.terms {
		o.read(p.terms)
	}
	values := unpacker{text: p.values}
	for _, v := range o.own {
		*v.at = values.value(v.of)
	}
	if o.whole && values.over() {
		return scope.Scope{App: o.app, Rules: o.rules}
	}
	return scope.Scope{}
}

// read takes in terms, into memory of their own.
func (o *opener) read(from unique.Handle[string]) {
	*o = opener{terms: from}
	terms := unpacker{text: from.Value()}
	o.app = terms.word()
	o.class = scope.Class(terms.byte())
	o.entitlement = terms.word()
	o.rules = make([]scope.Rule, terms.count())
	where := make([]scope.Constraint, terms.count())
	values := make([]scope.Value, terms.count())
	if len(values) > 0 {
		o.own = make([]ownValue, 0, len(values))
	}
	for i := range o.rules {
		o.rules[i].Operation = terms.word()
		o.rules[i].Where, where = cut(where, terms.count())
		for j := range o.rules[i].Where {
			c := &o.rules[i].Where[j]
			c.Attribute, c.Comparison = terms.word(), scope.Comparison(terms.word())
			c.Values, values = cut(values, terms.count())
			for k := range c.Values {
				if of := scope.Type(terms.byte()); len(c.Values) == 1 {
					o.own = append(o.own, ownValue{&c.Values[k], of})
				} else {
					c.Values[k] = terms.value(of)
				}
			}
		}
	}
	o.whole = terms.over() && len(where) == 0 && len(values) == 0
}

// cut parts the first n from a list; of none or too few it makes nil.
func cut[T any](list []T, n int) (first, rest []T) {
	if n == 0 || n > len(list) {
		return nil, list
	}
	return list[:n:n], list[n:]
}
