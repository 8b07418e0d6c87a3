package access

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
)

// sweepBatch bounds how much one transaction of a sweep takes.
const sweepBatch = 200

// Expire denies, in one transaction, requests that nobody decided in time: a
// timeout is a no. It returns how many; call again while it is not zero.
func (s *Service) Expire(ctx context.Context) (int, error) {
	n := 0
	err := s.sweep(ctx, func(tx Tx) (bool, error) {
		overdue, err := tx.Requests().Overdue(ctx, tx.Now(), 1)
		return len(overdue) > 0, err
	}, func(w *work) error {
		overdue, err := w.tx.Requests().Overdue(ctx, w.now, sweepBatch)
		if err != nil {
			return fmt.Errorf("overdue requests: %w", err)
		}
		for i := range overdue {
			r := overdue[i]
			if r.State != Pending {
				continue
			}
			err := w.finishRequest(ctx, &r, Expired, audit.TypeRequestExpired, "", "nobody decided in time", identity.Principal{})
			if err != nil {
				return err
			}
		}
		n = len(overdue)
		return nil
	})
	return n, err
}

// sweep runs f in a write transaction if a read says that there is work: an idle
// product writes nothing.
func (s *Service) sweep(ctx context.Context, due func(Tx) (bool, error), f func(*work) error) error {
	var found bool
	err := s.store.View(ctx, func(tx Tx) (err error) {
		found, err = due(tx)
		return err
	})
	if err != nil || !found {
		return err
	}
	return s.update(ctx, f)
}
