package stripe

import (
	"fmt"
	"strings"
)

// route is a node of the tree of path segments. A literal segment always beats a
// label, and there is no way back: /v1/charges/search is never a charge.
type route struct {
	literals map[string]*route
	label    *route
	ops      map[string]*operation // by method, where a template ends
}

func (r *route) add(op *operation) error {
	at := r
	for _, segment := range strings.Split(strings.TrimPrefix(op.template, "/"), "/") {
		at = at.child(segment)
	}
	if at.ops == nil {
		at.ops = map[string]*operation{}
	}
	if other, ok := at.ops[op.method]; ok {
		return fmt.Errorf("%s and %s have the same route", other.spec.Name, op.spec.Name)
	}
	at.ops[op.method] = op
	return nil
}

func (r *route) child(segment string) *route {
	if strings.HasPrefix(segment, "{") {
		if r.label == nil {
			r.label = &route{}
		}
		return r.label
	}
	if r.literals == nil {
		r.literals = map[string]*route{}
	}
	if r.literals[segment] == nil {
		r.literals[segment] = &route{}
	}
	return r.literals[segment]
}

// find returns the one operation of a method and path, and the values of its
// labels; nil if there is none.
func (r *route) find(method string, segments []string) (*operation, []string) {
	at, labels := r, make([]string, 0, 3)
	for _, segment := range segments {
		if next := at.literals[segment]; next != nil {
			at = next
			continue
		}
		if at.label == nil {
			return nil, nil
		}
		at, labels = at.label, append(labels, segment)
	}
	return at.ops[method], labels
}
