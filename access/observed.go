package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/policy"
)

// Observations returns which apps are in observe mode now, by the control plane's clock,
// sorted by app: for everybody who has to know that nobody is denied there. Without a
// policy there are none.
func (s *Service) Observations(ctx context.Context) ([]policy.Observation, error) {
	var out []policy.Observation
	err := s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if CodeOf(err) == CodeNoPolicy {
			return nil
		}
		if err != nil {
			return err
		}
		out = set.Observations(tx.Now())
		return nil
	})
	return out, err
}
