package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/identity"
)

// writeAll changes something behind every kind of interface, leaves included.
func writeAll(ctx context.Context, tx access.Tx, s sampler) error {
	_, leaf := s.leaf(ctx, tx, "x")
	_, key := tx.Persons().Key(ctx, s.bob(), func() []byte { return []byte("key") })
	r := s.request()
	return errors.Join(leaf, key,
		tx.Head().SetFeed(ctx, feed.Position{Epoch: 1, Revision: 7}),
		tx.Changes().Append(ctx, access.StoredChange{At: feed.Position{Epoch: 1, Revision: 7}, App: "stripe", Body: []byte("d")}),
		tx.Policies().Apply(ctx, access.StoredPolicy{Digest: "d1", Files: map[string][]byte{"a": nil}, Applied: tx.Now()}),
		tx.Requests().Insert(ctx, r, []byte("offer")),
		tx.Approvals().Insert(ctx, s.approval(r)),
		tx.Grants().Insert(ctx, s.grant(), nil, ""),
		tx.Sessions().Insert(ctx, s.session()),
		tx.Identities().Put(ctx, s.identity(s.bob().String())),
		tx.Locks().Insert(ctx, access.Lock{Target: "bob", Accounts: []identity.Principal{s.bob()}, By: s.bob(), At: epoch()}),
		tx.Instances().Join(ctx, s.instance(1)),
		tx.Spools().Append(ctx, access.StoredSegment{Spool: "spl", First: 1, Last: 1}),
		tx.Outbox().Put(ctx, access.Event{Kind: "request.pending", ID: r.ID.String(), At: tx.Now()}),
	)
}

// empty fails unless nothing of writeAll is there.
func empty(t *testing.T, store access.Store, s sampler) {
	t.Helper()
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		size, err := tx.Log().Size(ctx)
		if err != nil || size != 0 {
			t.Errorf("the log has %d leaves (%v)", size, err)
		}
		if at, err := tx.Head().Feed(ctx); err != nil || at != (feed.Position{Epoch: 1}) {
			t.Errorf("head is %v (%v)", at, err)
		}
		if _, _, err := tx.Policies().Head(ctx); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("policy: %v", err)
		}
		requests, err1 := tx.Requests().List(ctx, access.RequestFilter{})
		grants, err2 := tx.Grants().List(ctx, access.GrantFilter{})
		instances, err3 := tx.Instances().List(ctx)
		spools, err4 := tx.Spools().Spools(ctx)
		events, err5 := tx.Outbox().After(ctx, 0, 0)
		locks, err6 := tx.Locks().List(ctx)
		if n := len(locks) + len(requests) + len(grants) + len(instances) + len(spools) + len(events); n != 0 {
			t.Errorf("%d rows are there", n)
		}
		if _, err := tx.Sessions().ByHash(ctx, s.session().Hash); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("session: %v", err)
		}
		return errors.Join(err1, err2, err3, err4, err5, err6)
	})
}

func testRollback(t *testing.T, store access.Store) {
	s, boom := samples(t), errors.New("boom")
	refused(t, store, boom, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(writeAll(ctx, tx, s), boom)
	})
	empty(t, store, s)
	update(t, store, func(ctx context.Context, tx access.Tx) error { return writeAll(ctx, tx, s) })
}

func testPanic(t *testing.T, store access.Store) {
	s := samples(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = store.Update(t.Context(), func(tx access.Tx) error {
			if err := writeAll(t.Context(), tx, s); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	empty(t, store, s)
	update(t, store, func(ctx context.Context, tx access.Tx) error { return writeAll(ctx, tx, s) })
}

func testContext(t *testing.T, store access.Store) {
	s := samples(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := store.Update(ctx, func(tx access.Tx) error {
		err := writeAll(ctx, tx, s)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Update whose context ended = %v", err)
	}
	empty(t, store, s)
	ran := false
	err = store.Update(ctx, func(access.Tx) error { ran = true; return nil })
	if !errors.Is(err, context.Canceled) || ran {
		t.Fatalf("Update with an ended context = %v, ran %v", err, ran)
	}
	update(t, store, func(ctx context.Context, tx access.Tx) error { return writeAll(ctx, tx, s) })
}

func testOwnWrites(t *testing.T, store access.Store) {
	s := samples(t)
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		for i := range int64(5) { // each leaf needs the hashes of those before it
			if index, err := s.leaf(ctx, tx, "x"); err != nil || index != i {
				return fmt.Errorf("leaf %d: index %d, %w", i, index, err)
			}
		}
		r := s.request()
		if err := tx.Requests().Insert(ctx, r, []byte("offer")); err != nil {
			return err
		}
		got, err := tx.Requests().Get(ctx, r.ID)
		same(t, "request in its own transaction", got, r)
		return err
	})
}

func testViewIsOneState(t *testing.T, store access.Store) {
	s := samples(t)
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		if n, err := tx.Log().Size(ctx); n != 0 || err != nil {
			t.Errorf("before: %d leaves (%v)", n, err)
		}
		update(t, store, func(ctx context.Context, tx access.Tx) error { return writeAll(ctx, tx, s) })
		n, err := tx.Log().Size(ctx)
		if n != 0 {
			t.Errorf("an update shows in a view that began before it: %d leaves", n)
		}
		return err
	})
	if n := get(t, store, func(ctx context.Context, tx access.Tx) (int64, error) { return tx.Log().Size(ctx) }); n != 1 {
		t.Errorf("after: %d leaves", n)
	}
}

func testViewCannotWrite(t *testing.T, store access.Store) {
	s := samples(t)
	for name, write := range map[string]func(context.Context, access.Tx) error{
		"leaf":  func(ctx context.Context, tx access.Tx) error { _, err := s.leaf(ctx, tx, "x"); return err },
		"head":  func(ctx context.Context, tx access.Tx) error { return tx.Head().SetFeed(ctx, feed.Position{Epoch: 2}) },
		"grant": func(ctx context.Context, tx access.Tx) error { return tx.Grants().Insert(ctx, s.grant(), nil, "") },
	} {
		if err := store.View(t.Context(), func(tx access.Tx) error { return write(t.Context(), tx) }); err == nil {
			t.Errorf("%s: a view wrote", name)
		}
	}
	err := store.View(t.Context(), func(tx access.Tx) error {
		_, err := tx.Persons().Key(t.Context(), s.bob(), func() []byte { return []byte("key") })
		return err
	})
	if !errors.Is(err, access.ErrNotFound) {
		t.Errorf("a person's key in a view = %v, want ErrNotFound", err)
	}
	empty(t, store, s)
}

func testOver(t *testing.T, store access.Store) {
	var kept access.Tx
	keep := func(_ context.Context, tx access.Tx) error { kept = tx; return nil }
	update(t, store, keep)
	if _, err := kept.Head().Feed(t.Context()); err == nil {
		t.Error("an update's transaction answers after its end")
	}
	if err := kept.Head().SetFeed(t.Context(), feed.Position{Epoch: 5}); err == nil {
		t.Error("an update's transaction writes after its end")
	}
	view(t, store, keep)
	if _, err := kept.Head().Feed(t.Context()); err == nil {
		t.Error("a view's transaction answers after its end")
	}
}

// A unique key that is taken undoes that statement; the rest stands.
func testRefusedStatement(t *testing.T, store access.Store) {
	s := samples(t)
	r := s.request()
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		if err := tx.Requests().Insert(ctx, r, nil); err != nil {
			return err
		}
		if err := tx.Requests().Insert(ctx, r, nil); !errors.Is(err, access.ErrExists) {
			t.Errorf("the same request again = %v, want ErrExists", err)
		}
		_, err := s.leaf(ctx, tx, "after")
		return err
	})
	got := get(t, store, func(ctx context.Context, tx access.Tx) (access.Request, error) { return tx.Requests().Get(ctx, r.ID) })
	same(t, "request", got, r)
}

// Each of many updates reads a number and writes the next: none is lost, and
// head moves in the order of the log.
func testSerial(t *testing.T, store access.Store) {
	const writers, each = 8, 10
	s := samples(t)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				err := store.Update(t.Context(), func(tx access.Tx) error {
					at, err := tx.Head().Feed(t.Context())
					if err != nil {
						return err
					}
					index, err := s.leaf(t.Context(), tx, "x")
					if err != nil {
						return err
					}
					if index != at.Revision {
						t.Errorf("leaf %d in the transaction that saw revision %d", index, at.Revision)
					}
					return tx.Head().SetFeed(t.Context(), feed.Position{Epoch: 1, Revision: index + 1})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	at := get(t, store, func(ctx context.Context, tx access.Tx) (feed.Position, error) { return tx.Head().Feed(ctx) })
	same(t, "head", at, feed.Position{Epoch: 1, Revision: writers * each})
}

// Updates note their clock in the order in which they commit; what a view sees
// is never later than its clock.
func testClockInOrder(t *testing.T, store access.Store) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				update(t, store, func(ctx context.Context, tx access.Tx) error {
					now := tx.Now()
					if now.Location() != time.UTC || now.Nanosecond()%1000 != 0 || !tx.Now().Equal(now) {
						t.Errorf("clock %v then %v: want one reading, UTC, to the microsecond", now, tx.Now())
					}
					return tx.Outbox().Put(ctx, access.Event{Kind: "tick", At: now})
				})
				view(t, store, func(ctx context.Context, tx access.Tx) error { return inOrder(t, ctx, tx) })
			}
		})
	}
	all.Wait()
}

func inOrder(t *testing.T, ctx context.Context, tx access.Tx) error {
	events, err := tx.Outbox().After(ctx, 0, 1000)
	var last time.Time
	for _, e := range events {
		if e.At.Before(last) {
			t.Errorf("event %d is at %v, the one before it at %v", e.Seq, e.At, last)
		}
		last = e.At
	}
	if tx.Now().Before(last) {
		t.Errorf("a view at %v sees an event of %v", tx.Now(), last)
	}
	return err
}

// testApprovalRace lets one person approve from two places at once.
func testApprovalRace(t *testing.T, store access.Store) {
	s := samples(t)
	r := s.request()
	s.keep(store, []access.Request{r}, nil)
	errs := make(chan error, 8)
	var all sync.WaitGroup
	for i := range cap(errs) {
		a := s.approval(r)
		a.Approver = s.principal([]string{"user:idp:bob", "user:idp:bob-too"}[i%2])
		all.Go(func() {
			errs <- store.Update(t.Context(), func(tx access.Tx) error { return tx.Approvals().Insert(t.Context(), a) })
		})
	}
	all.Wait()
	close(errs)
	taken := 0
	for err := range errs {
		if err == nil {
			taken++
		} else if !errors.Is(err, access.ErrExists) {
			t.Errorf("a second approval = %v, want ErrExists", err)
		}
	}
	list := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Approval, error) {
		return tx.Approvals().List(ctx, r.ID)
	})
	if taken != 1 || len(list) != 1 {
		t.Fatalf("%d approvals of one person were taken, %d are listed", taken, len(list))
	}
}

// testLarge keeps the largest values that the parts may hand over.
func testLarge(t *testing.T, store access.Store) {
	const size = 4 << 20
	big := make([]byte, size)
	for i := range big {
		big[i] = byte(i * 7)
	}
	segment := access.StoredSegment{Spool: "spl", Sidecar: "x", First: 1, Last: 4096, Packed: big}
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Spools().Append(ctx, segment),
			tx.Policies().Apply(ctx, access.StoredPolicy{Digest: "d", Files: map[string][]byte{"big.yaml": big}, Applied: epoch()}),
			tx.Changes().Append(ctx, access.StoredChange{At: feed.Position{Epoch: 1, Revision: 1}, Body: big}),
			tx.Keys().Put(ctx, identity.Principal{}, "r", "k", big, tx.Now().Add(time.Hour)))
	})
	got := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.StoredSegment, error) {
		return tx.Spools().Segments(ctx, "spl", 1, 1)
	})
	same(t, "segment", got, []access.StoredSegment{segment})
	p := get(t, store, func(ctx context.Context, tx access.Tx) (access.StoredPolicy, error) {
		return tx.Policies().Current(ctx)
	})
	same(t, "file", p.Files["big.yaml"], big)
}
