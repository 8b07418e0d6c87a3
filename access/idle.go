package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// idleGrace is how long after its start a process ends nothing for want of use: what
// was done while no mayflyd ran is on its way.
const idleGrace = 30 * time.Second

// notLater returns uses of which none is later than now: a gateway cannot keep a grant
// alive by its clock.
func (w *work) notLater(uses map[grant.GrantID]time.Time) map[grant.GrantID]time.Time {
	for id, at := range uses {
		uses[id] = earlier(at, w.now)
	}
	return uses
}

// sweepIdle ends grants that were not used for as long as they may lie unused: as a
// revoke does, by a mark, a feed removal and the instances whose word is awaited.
func (s *Service) sweepIdle(ctx context.Context) (int, error) {
	n := 0
	err := s.sweep(ctx, func(tx Tx) (bool, error) {
		if !s.settledIn(tx.Now()) {
			return false, nil
		}
		idle, err := tx.Grants().Idle(ctx, tx.Now(), 1)
		return len(idle) > 0, err
	}, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		idle, err := w.tx.Grants().Idle(ctx, w.now, sweepBatch)
		if err != nil {
			return fmt.Errorf("idle grants: %w", err)
		}
		for _, g := range idle {
			if err := w.end(ctx, set, g, audit.TypeGrantIdle, grant.Idle, identity.Principal{}); err != nil {
				return err
			}
		}
		n = len(idle)
		return nil
	})
	return n, err
}

// settledIn reports whether this process has run for idleGrace.
func (s *Service) settledIn(now time.Time) bool {
	began := now.UnixMicro()
	if !s.swept.CompareAndSwap(0, began) {
		began = s.swept.Load()
	}
	return now.Sub(time.UnixMicro(began)) >= idleGrace
}
