package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// grantCreated is the body of the leaf grant.created.
type grantCreated struct {
	audit.GrantCreated
	Request     string `json:"request"`
	Entitlement string `json:"entitlement"`
	Catalogue   string `json:"catalogue"`
	Offer       string `json:"offer"` // SHA-256 of the Offer's bytes: what it covers
}

func createdOf(g grant.Grant) audit.GrantCreated {
	return audit.GrantCreated{
		Grant: g.ID.String(), Principal: g.Pseudonym, App: g.Scope.App, Class: g.Class.String(),
		NotBefore: audit.At(g.NotBefore), NotAfter: audit.At(g.NotAfter),
	}
}

// activate makes the grant of a request that is decided: from now, for the
// decision's duration, over exactly what the Offer showed.
func (w *work) activate(ctx context.Context, r *Request, d policy.Decision, how string) error {
	name, err := w.pseudonym(ctx, r.Beneficiary)
	if err != nil {
		return err
	}
	from := w.now.Truncate(time.Microsecond)
	g := grant.Grant{
		ID: w.minter.NewGrantID(w.now), Request: r.ID, Principal: r.Beneficiary, Pseudonym: name,
		Entitlement: r.Entitlement, Scope: d.Expansion.Scope, Class: d.Expansion.Class,
		NotBefore: from, NotAfter: from.Add(d.Duration), IdleAfter: d.Expansion.IdleAfter,
	}
	if err := g.Check(); err != nil {
		return fmt.Errorf("request %s: %w", r.ID, err)
	}
	if err := w.tx.Grants().Insert(ctx, g, d.Expansion.Params, d.Expansion.Catalogue); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	r.State, r.Grant, r.DecidedAt, r.DecideBy = Approved, g.ID, w.now, time.Time{}
	if err := w.tx.Requests().Update(ctx, *r); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := w.closed(ctx, r, audit.TypeRequestApproved, requestClosed{Request: r.ID.String(), How: how}); err != nil {
		return err
	}
	body := grantCreated{
		GrantCreated: createdOf(g),
		Request:      r.ID.String(), Entitlement: g.Entitlement, Catalogue: d.Expansion.Catalogue, Offer: r.OfferDigest,
	}
	if _, err := w.leaf(ctx, audit.TypeGrantCreated, g.ID.String(), body, g.ID.String(), r.ID.String()); err != nil {
		return err
	}
	if err := w.putGrant(ctx, *r, g, d.Expansion.Params, d.Expansion.Catalogue); err != nil {
		return err
	}
	return w.tell(ctx, EventGranted, g.ID.String())
}
