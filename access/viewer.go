package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// viewer is a caller who reads: what is its own, what waits for its approval, or
// everything as a member of the security group. Everything else is answered like
// what is not there.
type viewer struct {
	Caller
	set      *policy.Set // nil: no policy in force, only own things
	now      time.Time
	security bool
	stale    error // login_again, if only the age of its groups forbids everything
	accounts []policy.Account
}

func (s *Service) viewer(ctx context.Context, tx Tx, c Caller) (*viewer, error) {
	v := &viewer{Caller: c, now: tx.Now()}
	if c.Principal.IsZero() {
		return nil, fault(CodeNoSession, "mayfly login", "nobody asks")
	}
	set, err := s.inForce(ctx, tx)
	if CodeOf(err) == CodeNoPolicy {
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	if err := known(set, c.Principal); err != nil {
		return nil, err
	}
	v.set = set
	if v.security, err = inSecurity(set, c, v.now); err != nil {
		v.stale = err
	}
	v.accounts, err = accountsOf(ctx, tx, set, c.Principal)
	return v, err
}

// refuse is the answer about id to a viewer who may not see it.
func (v *viewer) refuse(id string) error {
	if v.stale != nil {
		return v.stale
	}
	return notFound(id)
}

// notYours is the answer to somebody who is not the one whose act it is: no to those who
// may see what it is about, and to others that it is not there.
func (s *Service) notYours(ctx context.Context, tx Tx, c Caller, may func(*viewer) error, no *Fault) error {
	v, err := s.viewer(ctx, tx, c)
	if err != nil {
		return err
	}
	if err := may(v); err != nil {
		return err
	}
	return no
}

// mayGrant lets a grant be read by its holder and by security.
func (v *viewer) mayGrant(g grant.Grant) error {
	if g.Principal == v.Principal || v.security {
		return nil
	}
	return v.refuse(g.ID.String())
}

// mayRequest lets a request be read by who asked, who would hold the grant, who
// may decide or has decided it, and security.
func (v *viewer) mayRequest(ctx context.Context, tx Tx, r Request) error {
	if r.Requester == v.Principal || r.Beneficiary == v.Principal || v.security {
		return nil
	}
	said, err := tx.Approvals().List(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	if slices.ContainsFunc(said, func(a Approval) bool { return a.Approver == v.Principal }) {
		return nil
	}
	err = v.decides(r, r.Steps)
	if err == nil {
		return nil
	}
	if CodeOf(err) == CodeLoginAgain {
		return err
	}
	return v.refuse(r.ID.String())
}

// decides reports whether the viewer belongs to one of the steps of r: nil is
// yes. It says nothing about whose request it is.
func (v *viewer) decides(r Request, steps []Step) error {
	no := error(fault(CodeNotEligible, "", "you are not among those who may decide this request"))
	if v.set == nil || !v.isPerson() {
		return no
	}
	return eligible(v.set, v.Caller, steps, v.now, no)
}
