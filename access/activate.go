package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	Bundle      string `json:"bundle,omitempty"` // that was asked for
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
// decision's duration, over exactly what the Offer showed. Of a bundle it makes one for
// each of its entitlements, all from and to the same instants.
func (w *work) activate(ctx context.Context, r *Request, d policy.Decision, how string) error {
	name, err := w.pseudonym(ctx, r.Beneficiary)
	if err != nil {
		return err
	}
	made := w.grantsOf(*r, d, name)
	for _, g := range made {
		if err := g.Check(); err != nil {
			return fmt.Errorf("request %s: %w", r.ID, err)
		}
		if err := w.tx.Grants().Insert(ctx, g.Grant, g.Params, g.Catalogue); err != nil {
			return fmt.Errorf("grant: %w", err)
		}
	}
	r.State, r.Grant, r.DecidedAt, r.DecideBy = Approved, made[0].ID, w.now, time.Time{}
	if err := w.tx.Requests().Update(ctx, *r); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := w.closed(ctx, r, audit.TypeRequestApproved, requestClosed{Request: r.ID.String(), How: how}); err != nil {
		return err
	}
	for _, g := range made {
		if err := w.begin(ctx, *r, g); err != nil {
			return err
		}
	}
	if len(made) == 1 {
		return nil
	}
	return w.tx.Bundles().Begin(ctx, r.ID, w.tx.Passed()+bundleTime)
}

// grantsOf are the grants that a decision gives, by app: each app's change of the feed
// follows the leaves of its grants then (see steps).
func (w *work) grantsOf(r Request, d policy.Decision, pseudonym string) []FedGrant {
	joint := slices.Clone(d.Members)
	if len(joint) == 0 {
		joint = []policy.Joint{{Entitlement: r.Entitlement, Expansion: d.Expansion}}
	}
	slices.SortStableFunc(joint, func(a, b policy.Joint) int { return strings.Compare(a.App, b.App) })
	last := func(i int) bool { return i == len(joint)-1 || joint[i+1].App != joint[i].App }
	var ordered []policy.Joint
	for _, want := range []bool{false, true} { // the last of each app at the end, one after the other
		for i, j := range joint {
			if last(i) == want {
				ordered = append(ordered, j)
			}
		}
	}
	joint = ordered
	from := w.now.Truncate(time.Microsecond)
	out := make([]FedGrant, len(joint))
	for i, j := range joint {
		out[i] = FedGrant{Params: j.Params, Catalogue: j.Catalogue, Grant: grant.Grant{
			ID: w.minter.NewGrantID(w.now), Request: r.ID, Principal: r.Beneficiary, Pseudonym: pseudonym,
			Entitlement: j.Entitlement, Scope: j.Scope, Class: j.Class,
			NotBefore: from, NotAfter: from.Add(d.Duration), IdleAfter: j.IdleAfter,
		}}
	}
	return out
}

// begin puts a new grant on the record and on the feed.
func (w *work) begin(ctx context.Context, r Request, g FedGrant) error {
	body := grantCreated{
		GrantCreated: createdOf(g.Grant),
		Request:      r.ID.String(), Entitlement: g.Entitlement, Catalogue: g.Catalogue, Offer: r.OfferDigest,
	}
	if g.Entitlement != r.Entitlement {
		body.Bundle = r.Entitlement
	}
	if _, err := w.leaf(ctx, audit.TypeGrantCreated, g.ID.String(), body, g.ID.String(), r.ID.String()); err != nil {
		return err
	}
	if err := w.putGrant(ctx, r, g.Grant, g.Params, g.Catalogue); err != nil {
		return err
	}
	return w.tell(ctx, EventGranted, g.ID.String())
}
