package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// maxPage is the largest page of a list.
const maxPage = 200

// ListRequests is which requests to list, newest first.
type ListRequests struct {
	Everyone bool // everybody's: for the security group; otherwise the caller's own
	State    RequestState
	App      string
	Before   grant.RequestID // the last of the page before
	Limit    int             // 0 or more than 200: 200
}

// Requests lists requests: one's own, or everybody's.
func (s *Service) Requests(ctx context.Context, c Caller, l ListRequests) ([]Request, error) {
	var out []Request
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		f := RequestFilter{Requester: c.Principal, State: l.State, App: l.App, Before: l.Before, Limit: pageSize(l.Limit)}
		if l.Everyone {
			if err := v.everything(); err != nil {
				return err
			}
			f.Requester = identity.Principal{}
		}
		out, err = tx.Requests().List(ctx, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListGrants is which grants to list, newest first.
type ListGrants struct {
	Everyone    bool // everybody's: for the security group; otherwise the caller's own
	Live        bool // only those that have not ended
	App         string
	Entitlement string
	Before      grant.GrantID
	Limit       int // 0 or more than 200: 200
}

// Grants lists grants: one's own, or everybody's.
func (s *Service) Grants(ctx context.Context, c Caller, l ListGrants) ([]GrantView, error) {
	var out []GrantView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		f := GrantFilter{Principal: c.Principal, App: l.App, Entitlement: l.Entitlement, Before: l.Before, Limit: pageSize(l.Limit)}
		if l.Everyone {
			if err := v.everything(); err != nil {
				return err
			}
			f.Principal = identity.Principal{}
		}
		if l.Live {
			f.LiveAt = v.now
		}
		page, err := tx.Grants().List(ctx, f)
		if err != nil {
			return err
		}
		for _, g := range page {
			name, err := shown(ctx, tx, g.Principal)
			if err != nil {
				return err
			}
			out = append(out, GrantView{Grant: g, State: g.StateAt(v.now), Shown: name, Now: v.now})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// everything lets only the security group through.
func (v *viewer) everything() error {
	if v.security {
		return nil
	}
	if v.stale != nil {
		return v.stale
	}
	return fault(CodeNotEligible, "", "only members of the group that policy names security see everybody's")
}

// Waiting lists the pending requests that the caller may decide now, oldest first.
func (s *Service) Waiting(ctx context.Context, c Caller) ([]RequestView, error) {
	var out []RequestView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil || v.set == nil || !c.isPerson() {
			return err
		}
		if !c.fresh(v.now) {
			return loginAgain()
		}
		f := RequestFilter{State: Pending, Limit: maxPage}
		for {
			page, err := tx.Requests().List(ctx, f)
			if err != nil {
				return fmt.Errorf("pending requests: %w", err)
			}
			for _, r := range page {
				if out, err = v.waiting(ctx, tx, r, out); err != nil {
					return err
				}
			}
			if len(page) < f.Limit || len(out) >= maxPage {
				return nil
			}
			f.Before = page[len(page)-1].ID
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(out)
	return out, nil
}

// waiting appends r if the viewer may decide it.
func (v *viewer) waiting(ctx context.Context, tx Tx, r Request, out []RequestView) ([]RequestView, error) {
	said, err := tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return out, fmt.Errorf("approvals: %w", err)
	}
	if may, err := v.mayDecide(ctx, tx, r, said); err != nil || !may {
		return out, err
	}
	view, err := viewRequest(ctx, tx, r)
	if err != nil {
		return out, err
	}
	view.MayDecide = true
	return append(out, view), nil
}

// mayDecide reports whether the viewer may approve or deny r now, after what was
// said on it.
func (v *viewer) mayDecide(ctx context.Context, tx Tx, r Request, said []Approval) (bool, error) {
	if r.State != Pending || !v.now.Before(r.DecideBy) || v.set == nil || !v.isPerson() {
		return false, nil
	}
	at := currentStep(r, said)
	if v.decides(r, r.Steps[at:at+1]) != nil {
		return false, nil
	}
	own, err := ownAccess(ctx, tx, v.set, r, v.accounts)
	if err != nil || own {
		return false, err
	}
	return !slices.ContainsFunc(said, func(a Approval) bool { return a.Approver == v.Principal }), nil
}

func pageSize(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}
