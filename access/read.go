package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// RequestView is a request with what belongs to it, for one who may see it.
type RequestView struct {
	Request
	OfferBytes []byte // canonical JSON, nil for a request that policy denied; fronts render only from it
	Approvals  []Approval
	Step       int  // of Steps, the one that is waited for while pending
	MayDecide  bool // whoever looks may approve or deny it now
	GrantNow   *grant.Grant
	Joint      []Standing                    // of a bundle that was granted: each of its grants
	Shown      map[identity.Principal]string // names of all who appear
	Now        time.Time
}

// ShowRequest returns one request.
func (s *Service) ShowRequest(ctx context.Context, c Caller, id grant.RequestID) (RequestView, error) {
	var out RequestView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		out, err = v.request(ctx, tx, id)
		return err
	})
	if err != nil {
		return RequestView{}, err
	}
	return out, nil
}

func (v *viewer) request(ctx context.Context, tx Tx, id grant.RequestID) (RequestView, error) {
	r, err := tx.Requests().Get(ctx, id)
	if err != nil {
		return RequestView{}, missing(err, id.String())
	}
	if err := v.mayRequest(ctx, tx, r); err != nil {
		return RequestView{}, err
	}
	out, err := viewRequest(ctx, tx, r)
	if err != nil {
		return RequestView{}, err
	}
	if out.Joint, err = v.joint(ctx, tx, r); err != nil {
		return RequestView{}, err
	}
	out.MayDecide, err = v.mayDecide(ctx, tx, r, out.Approvals)
	return out, err
}

// joint says how each grant of a bundle stands; nothing of another request.
func (v *viewer) joint(ctx context.Context, tx Tx, r Request) ([]Standing, error) {
	if r.Grant.IsZero() || v.set == nil {
		return nil, nil
	}
	all, err := tx.Grants().OfRequest(ctx, r.ID)
	if err != nil || len(all) < 2 {
		return nil, err
	}
	f, err := frontsOf(ctx, tx, v.set)
	if err != nil {
		return nil, err
	}
	out, err := f.standings(ctx, tx, all)
	for i := range out {
		if v.mayGrant(out[i].Grant) != nil { // an approver learns how many, not which
			out[i].Waits = nil
		}
	}
	return out, err
}

func viewRequest(ctx context.Context, tx Tx, r Request) (RequestView, error) {
	out := RequestView{Request: r, Shown: map[identity.Principal]string{}, Now: tx.Now()}
	var err error
	if out.Approvals, err = tx.Approvals().List(ctx, r.ID); err != nil {
		return RequestView{}, fmt.Errorf("approvals: %w", err)
	}
	out.Step = currentStep(r, out.Approvals)
	if !r.Offer.IsZero() {
		if out.OfferBytes, err = tx.Requests().Offer(ctx, r.Offer); err != nil {
			return RequestView{}, fmt.Errorf("offer: %w", err)
		}
	}
	if !r.Grant.IsZero() {
		g, err := tx.Grants().Get(ctx, r.Grant)
		if err != nil {
			return RequestView{}, fmt.Errorf("grant: %w", err)
		}
		out.GrantNow = &g
	}
	who := []identity.Principal{r.Requester, r.Beneficiary}
	for _, a := range out.Approvals {
		who = append(who, a.Approver)
	}
	for _, p := range who {
		if out.Shown[p], err = shown(ctx, tx, p); err != nil {
			return RequestView{}, err
		}
	}
	return out, nil
}

// GrantView is a grant with what belongs to it, for one who may see it.
type GrantView struct {
	grant.Grant
	Params    map[string]string
	Catalogue string
	With      []grant.GrantID // the others of its bundle, with which it ends
	State     grant.State     // at Now
	Shown     string          // its holder's name
	LastUse   time.Time       // zero: none yet, or not looked up
	Ending    *RevocationView
	Now       time.Time
}

// ShowGrant returns one grant.
func (s *Service) ShowGrant(ctx context.Context, c Caller, id grant.GrantID) (GrantView, error) {
	var out GrantView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		out, err = v.grant(ctx, tx, id)
		return err
	})
	if err != nil {
		return GrantView{}, err
	}
	return out, nil
}

func (v *viewer) grant(ctx context.Context, tx Tx, id grant.GrantID) (GrantView, error) {
	g, params, catalogue, err := tx.Grants().Fed(ctx, id)
	if err != nil {
		return GrantView{}, missing(err, id.String())
	}
	if err := v.mayGrant(g); err != nil {
		return GrantView{}, err
	}
	out := GrantView{Grant: g, Params: params, Catalogue: catalogue, State: g.StateAt(v.now), Now: v.now}
	if out.With, err = endedWith(ctx, tx, g); err != nil {
		return GrantView{}, err
	}
	if out.Shown, err = shown(ctx, tx, g.Principal); err != nil {
		return GrantView{}, err
	}
	if out.LastUse, err = tx.Grants().LastUse(ctx, id); err != nil {
		return GrantView{}, err
	}
	if !out.LastUse.After(g.NotBefore) {
		out.LastUse = time.Time{}
	}
	r, err := tx.Revocations().Get(ctx, id)
	if err == nil {
		ending := viewRevocation(r, tx.Passed())
		out.Ending = &ending
		return out, nil
	}
	if missing(err, "") == err {
		return GrantView{}, fmt.Errorf("revocation: %w", err)
	}
	return out, nil
}
