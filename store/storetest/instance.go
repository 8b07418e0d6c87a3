package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

func getInstance(id feed.Instance) func(context.Context, access.Tx) (access.Instance, error) {
	return func(ctx context.Context, tx access.Tx) (access.Instance, error) { return tx.Instances().Get(ctx, id) }
}

func testInstances(t *testing.T, store access.Store) {
	s := samples(t)
	a, b := s.instance(1), s.instance(2)
	missing(t, store, getInstance(a.ID))
	join := func(i access.Instance) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Instances().Join(ctx, i) })
	}
	join(b)
	join(a)
	same(t, "instance", get(t, store, getInstance(a.ID)), a)
	list := func() []access.Instance {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Instance, error) { return tx.Instances().List(ctx) })
	}
	same(t, "instances", list(), []access.Instance{a, b})
	unseen := func(after time.Time) []access.Instance {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Instance, error) {
			return tx.Instances().Unseen(ctx, after)
		})
	}

	again := access.Instance{ID: a.ID, Apps: []string{"wiki"}, Environment: "staging", Version: "0.2.0",
		JoinedAt: a.JoinedAt.Add(time.Hour), StaleAfter: 5 * time.Second}
	join(again)
	want := again // the receipts stay, and the lease that may still be held
	want.Acked, want.LastAllowed, want.LastAction, want.Bounded = a.Acked, a.LastAllowed, a.LastAction, a.Bounded
	want.LastPong, want.PongPassed = a.LastPong, a.PongPassed
	same(t, "joined again", get(t, store, getInstance(a.ID)), want)

	pong := func(at time.Time, ids ...feed.Instance) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error {
			return tx.Instances().SetLastPong(ctx, ids, at, time.Minute)
		}
	}
	at := epoch().Add(time.Minute)
	update(t, store, pong(at, a.ID, b.ID, a.ID))
	update(t, store, pong(at.Add(-time.Second), a.ID))
	update(t, store, pong(at))
	want.LastPong, b.LastPong, want.PongPassed, b.PongPassed = at, at, time.Minute, time.Minute
	same(t, "after pongs", list(), []access.Instance{want, b})
	// a joined again an hour later than b had its Pong
	same(t, "not seen after b's Pong", unseen(at), []access.Instance{b})
	same(t, "not seen before it", unseen(at.Add(-time.Microsecond)), nil)
	same(t, "not seen in the hour", unseen(a.JoinedAt.Add(time.Hour)), []access.Instance{want, b})
	fronting := func(app string) []access.Instance {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Instance, error) {
			return tx.Instances().Fronting(ctx, app)
		})
	}
	lease := func(i access.Instance) access.Instance {
		return access.Instance{ID: i.ID, Apps: i.Apps, LastPong: i.LastPong, PongPassed: i.PongPassed, StaleAfter: i.StaleAfter}
	}
	for app, who := range map[string][]access.Instance{"wiki": {lease(want), lease(b)}, "stripe": {lease(b)}, "none": nil} {
		same(t, "that front "+app, fronting(app), who)
	}
	silent := s.instance(3)
	silent.LastPong, silent.PongPassed = time.Time{}, 0
	join(silent)
	same(t, "that front stripe", fronting("stripe"), []access.Instance{lease(b)})
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Instances().MarkGone(ctx, silent.ID, at) })
	refused(t, store, access.ErrNotFound, pong(at, a.ID, s.instance(9).ID))

	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Instances().MarkGone(ctx, b.ID, at), tx.Instances().SetNack(ctx, a.ID, "constraint", at))
	})
	want.Nack, want.NackAt = "constraint", at
	same(t, "one gone", list(), []access.Instance{want})
	same(t, "not seen, and not gone", unseen(at.Add(24*time.Hour)), []access.Instance{want})
	same(t, "one gone", fronting("stripe"), nil)
	strayed := func() []feed.Instance {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]feed.Instance, error) { return tx.Instances().Strayed(ctx) })
	}
	same(t, "strayed", strayed(), nil)
	stray := func(since time.Time, apps ...string) {
		update(t, store, func(ctx context.Context, tx access.Tx) error {
			return tx.Instances().SetStrayed(ctx, a.ID, since, apps)
		})
	}
	stray(at, "stripe", "*")
	join(again)
	want.Nack, want.NackAt, want.StrayedAt, want.Strayed = "", time.Time{}, at, []string{"stripe", "*"}
	same(t, "strayed, and joined again", list(), []access.Instance{want})
	same(t, "strayed", strayed(), []feed.Instance{a.ID})
	stray(time.Time{})
	want.StrayedAt, want.Strayed = time.Time{}, nil
	same(t, "found again", list(), []access.Instance{want})
	same(t, "strayed", strayed(), nil)
	refused(t, store, access.ErrNotFound, func(ctx context.Context, tx access.Tx) error {
		return tx.Instances().SetStrayed(ctx, s.instance(9).ID, at, nil)
	})
	update(t, store, pong(at.Add(time.Second), b.ID))
	if got := list(); len(got) != 2 {
		t.Errorf("an instance that beats again is not listed: %v", got)
	}
}

func testReceipts(t *testing.T, store access.Store) {
	s := samples(t)
	i := s.instance(1)
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Instances().Join(ctx, i) })
	ack := func(at feed.Position, action string) {
		update(t, store, func(ctx context.Context, tx access.Tx) error {
			return tx.Instances().SetAcked(ctx, []feed.Receipt{{Instance: i.ID, At: at, LastAllowed: epoch().Add(time.Hour),
				LastAction: action, Bounded: epoch().Add(2 * time.Hour)}}, tx.Now())
		})
	}
	ack(feed.Position{Epoch: 1, Revision: 2}, "lower")
	ack(feed.Position{Epoch: 1, Revision: 3}, "equal")
	same(t, "after lower receipts", get(t, store, getInstance(i.ID)), i)
	ack(feed.Position{Epoch: 1, Revision: 8}, "higher")
	ack(feed.Position{Epoch: 2, Revision: 1}, "next epoch")
	i.Acked, i.LastAction, i.LastAllowed, i.Bounded = feed.Position{Epoch: 2, Revision: 1}, "next epoch", epoch().Add(time.Hour), epoch().Add(2*time.Hour)
	same(t, "after higher receipts", get(t, store, getInstance(i.ID)), i)
	refused(t, store, access.ErrNotFound, func(ctx context.Context, tx access.Tx) error {
		return tx.Instances().SetAcked(ctx, []feed.Receipt{{Instance: i.ID, At: feed.Position{Epoch: 9}}, {Instance: s.instance(9).ID}}, tx.Now())
	})
}

// testReceiptsOfMany stores in one call what a thousand gateways acknowledge at a time: most
// say the same, some do not, and each has its own waits.
func testReceiptsOfMany(t *testing.T, store access.Store) {
	s := samples(t)
	g := s.grant()
	s.keep(store, nil, []grant.Grant{g})
	at := feed.Position{Epoch: 1, Revision: 9}
	revocation := access.Revocation{Grant: g.ID.String(), At: at, Started: epoch()}
	var receipts []feed.Receipt
	for run := range byte(5) {
		i := s.instance(run)
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Instances().Join(ctx, i) })
		w := access.Wait{Instance: i.ID, LastPong: epoch(), Until: epoch().Add(16 * time.Second), UntilPassed: 16 * time.Second}
		if run == 1 {
			w.LastPong, w.Until, w.UntilPassed = epoch().Add(time.Second), epoch().Add(17*time.Second), 17*time.Second
		}
		revocation.Waits = append(revocation.Waits, w)
		receipts = append(receipts, feed.Receipt{Instance: i.ID, At: at})
	}
	receipts[2].LastAllowed, receipts[2].LastAction, receipts[2].Bounded, receipts[2].StreamsCut = epoch(), "act_2", epoch().Add(time.Minute), 2
	receipts[3].At.Revision = 8 // not yet
	acked := epoch().Add(2 * time.Second)
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Revocations().Insert(ctx, revocation) })
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Instances().SetAcked(ctx, receipts, acked), tx.Revocations().Acked(ctx, receipts, acked, 2*time.Second))
	})
	for n, r := range receipts {
		i := get(t, store, getInstance(r.Instance))
		same(t, "receipt", feed.Receipt{Instance: i.ID, At: i.Acked, LastAllowed: i.LastAllowed, LastAction: i.LastAction, Bounded: i.Bounded, StreamsCut: r.StreamsCut}, r)
		if w := &revocation.Waits[n]; n != 3 {
			w.AckedAt, w.LastAllowed, w.LastAction, w.Bounded, w.StreamsCut = acked, r.LastAllowed, r.LastAction, r.Bounded, r.StreamsCut
		}
	}
	same(t, "revocation", get(t, store, func(ctx context.Context, tx access.Tx) (access.Revocation, error) {
		return tx.Revocations().Get(ctx, g.ID)
	}), revocation)
}

func testRevocations(t *testing.T, store access.Store) {
	s := samples(t)
	one, two := s.grant(), s.grant()
	s.keep(store, nil, []grant.Grant{one, two})
	wait := func(run byte) access.Wait {
		return access.Wait{Instance: s.instance(run).ID, LastPong: epoch(), Until: epoch().Add(16 * time.Second), UntilPassed: 16 * time.Second}
	}
	first := access.Revocation{Grant: one.ID.String(), At: feed.Position{Epoch: 1, Revision: 5}, Started: epoch(), Waits: []access.Wait{wait(1), wait(2)}}
	second := access.Revocation{Grant: two.ID.String(), At: feed.Position{Epoch: 1, Revision: 9}, Started: epoch().Add(time.Second), Waits: []access.Wait{wait(1)}}
	insert := func(r access.Revocation) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Revocations().Insert(ctx, r) }
	}
	read := func(id grant.GrantID) func(context.Context, access.Tx) (access.Revocation, error) {
		return func(ctx context.Context, tx access.Tx) (access.Revocation, error) {
			return tx.Revocations().Get(ctx, id)
		}
	}
	missing(t, store, read(one.ID))
	update(t, store, insert(first))
	update(t, store, insert(second))
	refused(t, store, access.ErrExists, insert(first))
	same(t, "revocation", get(t, store, read(one.ID)), first)
	open := func() []access.Revocation {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Revocation, error) {
			return tx.Revocations().Open(ctx)
		})
	}
	same(t, "open", open(), []access.Revocation{first, second})

	at := epoch().Add(2 * time.Second)
	ack := func(run byte, revision int64, at time.Time) {
		update(t, store, func(ctx context.Context, tx access.Tx) error {
			return tx.Revocations().Acked(ctx, []feed.Receipt{{Instance: s.instance(run).ID, At: feed.Position{Epoch: 1, Revision: revision},
				LastAllowed: epoch(), LastAction: "act_1", Bounded: epoch().Add(time.Minute), StreamsCut: 3}}, at, at.Sub(epoch()))
		})
	}
	ack(1, 4, at)                   // below both
	ack(2, 5, first.Waits[1].Until) // its wait is closed by then, whatever it says
	same(t, "after a receipt from before", open(), []access.Revocation{first, second})
	settled := func(at time.Time) []access.Revocation {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Revocation, error) {
			return tx.Revocations().Settled(ctx, at.Sub(epoch()))
		})
	}
	same(t, "settled before anybody answered", settled(at), []access.Revocation(nil))
	same(t, "settled once nobody can hold it", settled(first.Waits[1].Until), []access.Revocation{first, second})
	ack(1, 5, at)
	ack(1, 6, at.Add(time.Second)) // the first receipt counts
	first.Waits[0].AckedAt, first.Waits[0].LastAllowed, first.Waits[0].LastAction, first.Waits[0].Bounded = at, epoch(), "act_1", epoch().Add(time.Minute)
	first.Waits[0].StreamsCut = 3
	same(t, "after one receipt", open(), []access.Revocation{first, second})
	closing := func(id grant.GrantID, at time.Time) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Revocations().Close(ctx, id, at) }
	}
	update(t, store, closing(one.ID, at))
	update(t, store, closing(one.ID, at.Add(time.Hour)))
	ack(2, 5, at) // too late
	first.Closed = at
	same(t, "closed", get(t, store, read(one.ID)), first)
	same(t, "still open", open(), []access.Revocation{second})
	refused(t, store, access.ErrNotFound, closing(s.grant().ID, at))
}
