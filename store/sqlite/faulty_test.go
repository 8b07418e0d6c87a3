package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

func TestFaultyFails(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		fault storetest.Fault
		want  error
		kept  int
	}{
		{"before", storetest.Fault{Calls: storetest.All, At: storetest.Before, Err: boom}, boom, 0},
		{"within", storetest.Fault{Calls: storetest.Updates, At: storetest.Within, Err: boom}, boom, 0},
		{"after", storetest.Fault{Calls: storetest.Updates, At: storetest.After, Err: boom}, boom, 1},
		{"another kind of call", storetest.Fault{Calls: storetest.Views, Err: boom}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
			faulty := storetest.NewFaulty(s)
			faulty.Inject(c.fault)
			ran := faulty.Update(t.Context(), func(tx access.Tx) error {
				return tx.Outbox().Put(t.Context(), access.Event{Kind: "k"})
			})
			if !errors.Is(ran, c.want) || (ran == nil) != (c.want == nil) {
				t.Errorf("Update = %v, want %v", ran, c.want)
			}
			if n := events(t, s); n != c.kept {
				t.Errorf("%d events are there, want %d", n, c.kept)
			}
		})
	}
}

func TestFaultyBlocks(t *testing.T) {
	for _, c := range []struct {
		name         string
		at           storetest.Point
		healed, left int // events that are there when the call is healed, or its context ends
	}{
		{"before", storetest.Before, 1, 0},
		{"within", storetest.Within, 1, 0},
		{"after", storetest.After, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, heal := range []bool{true, false} {
				s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
				faulty := storetest.NewFaulty(s)
				faulty.Inject(storetest.Fault{Calls: storetest.Updates, At: c.at, Times: 1})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() {
					done <- faulty.Update(ctx, func(tx access.Tx) error {
						return tx.Outbox().Put(ctx, access.Event{Kind: "k"})
					})
				}()
				if err := faulty.Blocked(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				want, kept := error(nil), c.healed
				if heal {
					faulty.Heal()
				} else {
					cancel()
					want, kept = context.Canceled, c.left
				}
				if err := <-done; !errors.Is(err, want) {
					t.Errorf("healed %v: Update = %v, want %v", heal, err, want)
				}
				if n := events(t, s); n != kept {
					t.Errorf("healed %v: %d events are there, want %d", heal, n, kept)
				}
				cancel()
			}
		})
	}
}

func TestFaultyDeaf(t *testing.T) {
	faulty := storetest.NewFaulty(openAt(t, filepath.Join(t.TempDir(), "mayfly.db")))
	faulty.Inject(storetest.Fault{Calls: storetest.Views, Deaf: true, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- faulty.View(ctx, func(access.Tx) error { return nil }) }()
	if err := faulty.Blocked(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := faulty.View(t.Context(), func(access.Tx) error { return nil }); err != nil {
		t.Errorf("a call beyond Times = %v", err)
	}
	select {
	case err := <-done:
		t.Errorf("a deaf call returned %v before it was healed", err)
	default:
	}
	faulty.Heal()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the healed call goes on with its ended context: %v", err)
	}
}

// raw runs one statement on the writer's connection, past the store.
func raw(s *Store, sql string, args ...any) error {
	ctx := context.Background()
	own, err := s.enter(ctx, s.writing)
	if err != nil {
		return err
	}
	defer func() { s.writing <- own }()
	if err := own.open(ctx); err != nil {
		return err
	}
	_, err = own.conn.ExecContext(ctx, sql, args...)
	return err
}
