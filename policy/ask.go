package policy

import "github.com/mayflyproxy/mayfly/scope"

// AskEntry is what a sidecar needs to tell a refused caller how to ask
// (contracts §3).
type AskEntry struct {
	Entitlement string
	Operations  []string // expanded, sorted
	Bindings    []Binding
	Required    []string // parameters that must be given, sorted
	Kinds       []string // user, workload: who may ask at all, sorted
}

// Binding says which parameter bounds an attribute of an operation.
type Binding struct {
	Operation  string
	Attribute  string
	Comparison scope.Comparison
	Param      string
}

// Ask returns an entry for each entitlement on an app, fewest operations first,
// then by name: the first that covers an operation is the one to name.
func (s *Set) Ask(app string) []AskEntry { return nil }
