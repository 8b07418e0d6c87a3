package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// Withdraw takes a pending request back: its requester only.
func (s *Service) Withdraw(ctx context.Context, c Caller, id grant.RequestID) (Request, error) {
	var out Request
	err := s.update(ctx, func(w *work) error {
		r, err := w.tx.Requests().Get(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		if c.Principal.IsZero() {
			return notFound(id.String())
		}
		if r.Requester != c.Principal {
			return s.notYours(ctx, w.tx, c, func(v *viewer) error { return v.mayRequest(ctx, w.tx, r) },
				fault(CodeNotEligible, "mayfly deny "+id.String(), "only who asked takes request %s back", id))
		}
		if r.State != Pending {
			return fault(CodeNotPending, "mayfly show "+id.String(), "request %s is %s", id, r.State)
		}
		if err := w.finishRequest(ctx, &r, Withdrawn, audit.TypeRequestWithdrawn, "", "its requester took it back", c.Principal); err != nil {
			return err
		}
		out = r
		return nil
	})
	if err != nil {
		return Request{}, err
	}
	return out, nil
}
