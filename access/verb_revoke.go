package access

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// Revoke ends somebody's live grant: for members of the group that policy names
// security, and under a grant of grants.revoke. Its holder who revokes finishes
// it. The Revocation says whose word is awaited; see Service.Revocation.
func (s *Service) Revoke(ctx context.Context, c Caller, id grant.GrantID, reason string) (Revocation, error) {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return Revocation{}, fault(CodeInvalid, "", "the reason is not text of at most %d bytes", maxReason)
	}
	return s.ending(ctx, c, id, func(w *work, set *policy.Set, g grant.Grant) (audit.Type, error) {
		if g.Principal == c.Principal {
			return audit.TypeGrantFinished, nil
		}
		return audit.TypeGrantRevoked, w.mayRevoke(ctx, set, c, g)
	})
}

// mayRevoke lets the security group end anything, and others what a grant of
// theirs covers. To all others the grant is not there.
func (w *work) mayRevoke(ctx context.Context, set *policy.Set, c Caller, g grant.Grant) error {
	member, refusal := inSecurity(set, c, w.now)
	if member {
		return nil
	}
	_, err := w.acting(ctx, w.tx, set, c, own(policy.OwnGrantsRevoke, map[string]string{
		policy.OwnAttributeApp: g.Scope.App, policy.OwnAttributeEntitlement: g.Entitlement, policy.OwnAttributePrincipal: g.Principal.String(),
	}))
	switch {
	case CodeOf(err) != CodeNoGrant:
		return err
	case refusal != nil:
		return refusal
	default:
		return notFound(g.ID.String())
	}
}

// Finish ends the caller's own live grant.
func (s *Service) Finish(ctx context.Context, c Caller, id grant.GrantID) (Revocation, error) {
	return s.ending(ctx, c, id, func(w *work, set *policy.Set, g grant.Grant) (audit.Type, error) {
		if g.Principal != c.Principal {
			return "", s.notYours(ctx, w.tx, c, func(v *viewer) error { return v.mayGrant(g) },
				fault(CodeNotEligible, "mayfly revoke "+id.String(), "only its holder gives grant %s back", id))
		}
		return audit.TypeGrantFinished, nil
	})
}

// ending ends one grant in the way that may allows. Ending one that has ended
// answers ended.
func (s *Service) ending(ctx context.Context, c Caller, id grant.GrantID, may func(*work, *policy.Set, grant.Grant) (audit.Type, error)) (Revocation, error) {
	var ended *work
	err := s.update(ctx, func(w *work) error {
		g, err := w.tx.Grants().Get(ctx, id)
		if err != nil || c.Principal.IsZero() {
			return missing(orNotFound(err), id.String())
		}
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		t, err := may(w, set, g)
		if err != nil {
			return err
		}
		if state := g.StateAt(w.now); state == grant.EndedState || state == grant.RevokedState {
			return fault(CodeEnded, "mayfly show "+id.String(), "grant %s ended at %s", id, audit.Stamp(g.EndsAt()))
		}
		why := grant.Revoked
		if t == audit.TypeGrantFinished {
			why = grant.Ended
		}
		if err := w.end(ctx, set, g, t, why, c.Principal); err != nil {
			return err
		}
		ended = w
		return nil
	})
	if err != nil {
		return Revocation{}, err
	}
	// With its revision, which the last leaf made.
	var out Revocation
	var with []grant.GrantID
	for _, r := range ended.revocations {
		if r.Grant == id.String() {
			out = r
		} else if other, err := parseGrantID(r.Grant); err == nil {
			with = append(with, other)
		}
	}
	out.With = with
	return out, nil
}

func orNotFound(err error) error {
	if err == nil {
		return ErrNotFound
	}
	return err
}

// Revocation returns how the end of a grant is taken by the instances that hold
// it: what revoke --wait shows. It is for whoever may see the grant.
func (s *Service) Revocation(ctx context.Context, c Caller, id grant.GrantID) (RevocationView, error) {
	var out RevocationView
	err := s.store.View(ctx, func(tx Tx) error {
		g, err := tx.Grants().Get(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := v.mayGrant(g); err != nil {
			return err
		}
		r, err := tx.Revocations().Get(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		if r.With, err = endedWith(ctx, tx, g); err != nil {
			return err
		}
		out = viewRevocation(r, tx.Passed())
		return nil
	})
	if err != nil {
		return RevocationView{}, fmt.Errorf("revocation: %w", err)
	}
	return out, nil
}
