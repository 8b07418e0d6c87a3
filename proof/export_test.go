package proof

import (
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Seen is what a file says of an entitlement, for comparison with package policy.
type Seen struct {
	Name, App string
	Max       time.Duration
	Any       [][]string
	Counts    []int
}

// SeeEntitlement reads one file.
func SeeEntitlement(file []byte) (Seen, func(map[string]string, *scope.Catalogue) (scope.Scope, scope.Class, error), error) {
	e, err := readEntitlement(file)
	s := Seen{Name: e.name, App: e.app, Max: e.max}
	for _, one := range e.steps {
		s.Any, s.Counts = append(s.Any, one.any), append(s.Counts, one.count)
	}
	return s, e.expand, err
}

// SeePeople reads mayfly.yaml: accounts and how many keys, by name.
func SeePeople(file []byte) (accounts map[identity.Principal]string, keys map[string]int, err error) {
	people, err := readPeople(file)
	accounts, keys = map[identity.Principal]string{}, map[string]int{}
	for name, p := range people {
		for _, a := range p.accounts {
			accounts[a] = name
		}
		if len(p.keys) > 0 {
			keys[name] = len(p.keys)
		}
	}
	return accounts, keys, err
}
