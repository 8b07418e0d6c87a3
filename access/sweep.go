package access

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// goneAfter is how long an instance is unseen until it leaves the list.
const goneAfter = 24 * time.Hour

// Sweep writes down what time alone has brought: grants that ended, sessions on
// hosts of apps that are over, revocations that nobody is awaited for any more,
// instances that were not seen for 24 h. That enforces nothing: instances end grants
// and sessions by themselves. It does end grants
// that nobody uses, and bundles that are not in force in each of their apps. Call it each second, and Expire beside it.
func (s *Service) Sweep(ctx context.Context) error {
	for _, batch := range []func(context.Context) (int, error){s.sweepGrants, s.sweepIdle, s.sweepSessions} {
		if err := untilNone(ctx, batch); err != nil {
			return err
		}
	}
	if err := s.sweepBundles(ctx); err != nil {
		return err
	}
	if err := s.sweepRevocations(ctx); err != nil {
		return err
	}
	if err := s.sweepInstances(ctx); err != nil {
		return err
	}
	return s.prune(ctx)
}

// untilNone calls batch until it finds nothing to do.
func untilNone(ctx context.Context, batch func(context.Context) (int, error)) error {
	for {
		if n, err := batch(ctx); err != nil || n == 0 {
			return err
		}
	}
}

// keptRevisions is how many revisions back an instance may be and still follow
// by changes instead of a snapshot.
const keptRevisions = 1 << 14

// prune forgets changes that nobody follows by any more.
func (s *Service) prune(ctx context.Context) error {
	var upto feed.Position
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		oldest, err := tx.Changes().Oldest(ctx)
		if err != nil {
			return false, err
		}
		upto, err = tx.Head().Feed(ctx)
		upto.Revision -= keptRevisions
		return upto.Revision > oldest.Revision+keptRevisions, err
	}, func(w *work) error { return w.tx.Changes().Prune(ctx, upto) })
}

// sweepGrants records ends that time has brought, a batch a transaction.
func (s *Service) sweepGrants(ctx context.Context) (int, error) {
	n := 0
	err := s.sweep(ctx, func(tx Tx) (bool, error) {
		ended, err := tx.Grants().Unswept(ctx, tx.Now(), 1)
		return len(ended) > 0, err
	}, func(w *work) error {
		ended, err := w.tx.Grants().Unswept(ctx, w.now, sweepBatch)
		if err != nil {
			return fmt.Errorf("ended grants: %w", err)
		}
		for _, g := range ended {
			if err := w.overdue(ctx, g); err != nil {
				return err
			}
		}
		n = len(ended)
		return nil
	})
	return n, err
}

// overdue records that a grant's time has passed.
func (w *work) overdue(ctx context.Context, g grant.Grant) error {
	body := grantEnded{Grant: g.ID.String(), Reason: string(grant.Ended), At: audit.At(g.EndsAt())}
	if _, err := w.leaf(ctx, audit.TypeGrantEnded, g.ID.String(), body, g.ID.String()); err != nil {
		return err
	}
	if err := w.tx.Grants().MarkSwept(ctx, g.ID); err != nil {
		return fmt.Errorf("mark %s: %w", g.ID, err)
	}
	w.remove(g.Scope.App, kindGrant, g.ID.String(), string(grant.Ended))
	return w.tell(ctx, EventEnded, g.ID.String())
}

func (s *Service) sweepRevocations(ctx context.Context) error {
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		over, err := tx.Revocations().Settled(ctx, tx.Passed())
		return len(over) > 0, err
	}, func(w *work) error { return w.settle(ctx) })
}

// instanceGone is the body of the leaf instance.gone.
type instanceGone struct {
	Instance string     `json:"instance"`
	LastPong audit.Time `json:"last_pong,omitzero"`
}

func (s *Service) sweepInstances(ctx context.Context) error {
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		list, err := unseen(ctx, tx)
		return len(list) > 0, err
	}, func(w *work) error {
		list, err := unseen(ctx, w.tx)
		if err != nil {
			return fmt.Errorf("instances: %w", err)
		}
		for _, i := range list {
			if err := w.gone(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// unseen returns those that were not seen for so long. One whose lease may still run
// stays, whatever a wall clock says: a revoke waits for all on the list.
func unseen(ctx context.Context, tx Tx) ([]Instance, error) {
	list, err := tx.Instances().Unseen(ctx, tx.Now().Add(-goneAfter))
	return slices.DeleteFunc(list, func(i Instance) bool {
		return !i.LastPong.IsZero() && tx.Passed() < i.PongPassed+i.StaleAfter+pongMargin
	}), err
}

func (w *work) gone(ctx context.Context, i Instance) error {
	body := instanceGone{Instance: i.ID.String()}
	if !i.LastPong.IsZero() {
		body.LastPong = audit.At(i.LastPong)
	}
	if _, err := w.leaf(ctx, audit.TypeInstanceGone, i.ID.String(), body); err != nil {
		return err
	}
	if err := w.tx.Instances().MarkGone(ctx, i.ID, w.now); err != nil {
		return fmt.Errorf("instance %s: %w", i.ID, err)
	}
	return nil
}
