package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
)

// AskEntry is what a sidecar needs to tell a refused caller how to ask
// (contracts §3).
type AskEntry struct {
	Entitlement string
	Operations  []string // expanded, sorted
	Bindings    []Binding
	Required    []string // parameters that must be given, sorted
	Kinds       []string // user, workload: who may ask at all, sorted
	StepUp      *StepUp
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
func (s *Set) Ask(app string) []AskEntry {
	var out []AskEntry
	for _, e := range s.Entitlements() {
		if e.App == app {
			out = append(out, e.ask())
		}
	}
	slices.SortStableFunc(out, func(a, b AskEntry) int {
		return cmp.Or(len(a.Operations)-len(b.Operations), strings.Compare(a.Entitlement, b.Entitlement))
	})
	return out
}

func (e *Entitlement) ask() AskEntry {
	out := AskEntry{Entitlement: e.Name, Operations: e.Operations(), StepUp: e.StepUp}
	for _, r := range e.expanded {
		for _, b := range r.where {
			for _, o := range b.Values {
				if o.Param != "" {
					out.Bindings = append(out.Bindings, Binding{r.operation, b.Attribute, b.Comparison, o.Param})
				}
			}
		}
	}
	for _, p := range e.Params {
		if p.Required {
			out.Required = append(out.Required, p.Name)
		}
	}
	slices.Sort(out.Required)
	for _, w := range e.Who {
		out.Kinds = append(out.Kinds, w.kind().String())
	}
	slices.Sort(out.Kinds)
	out.Kinds = slices.Compact(out.Kinds)
	return out
}
