package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/grant"
)

// Rederive makes the stored decisions of a request again, and tells no more of them.
func (s *Service) Rederive(ctx context.Context, id grant.RequestID) (out []ExplainedDecision, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		r, err := tx.Requests().Get(ctx, id)
		if err != nil {
			return err
		}
		basis, err := readBasis(r.Inputs)
		if err != nil {
			return err
		}
		out = nil
		for _, d := range basis.Decisions {
			again, _, err := s.rederive(ctx, tx, id, d)
			if err != nil {
				return err
			}
			out = append(out, ExplainedDecision{BasisDecision: d, Rederived: again})
		}
		return nil
	})
	return out, err
}
