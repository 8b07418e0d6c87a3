package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// own is one of Mayfly's own verbs as an operation: what grants on the app
// policy.OwnApp are about.
func own(name string, attributes map[string]string) scope.Operation {
	op := scope.Operation{App: policy.OwnApp, Name: name, Attributes: scope.Attributes{}}
	for attribute, text := range attributes {
		op.Attributes[attribute] = scope.Text(text)
	}
	return op
}

// acting returns the live grant under which c may carry out one of Mayfly's own
// operations: of those that cover it the one that ends last. No such grant is the
// fault no_grant, which names the smallest entitlement that would allow it.
func (s *Service) acting(ctx context.Context, tx Tx, set *policy.Set, c Caller, op scope.Operation) (grant.Grant, error) {
	var best grant.Grant
	err := eachLive(ctx, tx, GrantFilter{Principal: c.Principal, App: policy.OwnApp}, func(g grant.Grant) error {
		if !c.Principal.IsZero() && g.Permits(c.Principal, op, tx.Now()) == nil && g.NotAfter.After(best.NotAfter) {
			best = g
		}
		return nil
	})
	if err != nil {
		return grant.Grant{}, err
	}
	if best.ID.IsZero() {
		return grant.Grant{}, noGrant(set, op)
	}
	return best, nil
}

// noGrant says what would allow op.
func noGrant(set *policy.Set, op scope.Operation) *Fault {
	f := fault(CodeNoGrant, "", "you hold no grant that covers %s %s", op.App, op.Name)
	if set == nil {
		return f
	}
	for _, e := range set.Ask(policy.OwnApp) { // fewest operations first
		for _, name := range e.Operations {
			if name == op.Name {
				f.Next = "mayfly request " + e.Entitlement
				return f
			}
		}
	}
	return f
}
