package policy

import (
	"github.com/mayflyproxy/mayfly/scope"
)

// Expansion is what an entitlement means with parameters filled in: exactly what
// an Offer shows and a Grant holds.
type Expansion struct {
	App       string
	Scope     scope.Scope // canonical
	Class     scope.Class
	Params    map[string]string // canonical texts, by name
	ShownAny  []string          // attributes and parameters left open, sorted, shown as any
	Catalogue string            // digest
}

// Refusal is a no with its code and a sentence that names what is allowed.
type Refusal struct {
	Code     string // a Deny… code
	Sentence string
	File     string
	Line     int
}

// Error returns code: sentence.
func (r *Refusal) Error() string { return r.Code + ": " + r.Sentence }

// Expand fills parameters in. Its error is a *Refusal with DenyParam or
// DenyUnknownEntitlement.
func (s *Set) Expand(entitlement string, params map[string]string) (Expansion, error) {
	return Expansion{}, nil
}
