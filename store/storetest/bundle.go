package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

func testBundles(t *testing.T, store access.Store) {
	s := samples(t)
	both, single := s.request(), s.request()
	first, second, alone := s.grant(), s.grant(), s.grant()
	first.Request, second.Request, alone.Request = both.ID, both.ID, single.ID
	s.keep(store, []access.Request{both, single}, []grant.Grant{first, second, alone})
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		if err := tx.Bundles().Begin(ctx, first.Request, time.Minute); err != nil {
			return err
		}
		return tx.Bundles().Begin(ctx, alone.Request, 2*time.Minute)
	})
	of := func(g grant.Grant) (ids []grant.GrantID) {
		for _, one := range get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) {
			return tx.Grants().OfRequest(ctx, g.Request)
		}) {
			ids = append(ids, one.ID)
		}
		return ids
	}
	same(t, "grants of one request, by id", of(second), []grant.GrantID{first.ID, second.ID})
	same(t, "those of another", of(alone), []grant.GrantID{alone.ID})
	beginning := func() []access.BeginningBundle {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.BeginningBundle, error) {
			return tx.Bundles().Beginning(ctx)
		})
	}
	same(t, "beginning", beginning(), []access.BeginningBundle{{Request: first.Request, Due: time.Minute}, {Request: alone.Request, Due: 2 * time.Minute}})
	for range 2 { // the second time it is there no more
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Bundles().Begun(ctx, first.Request) })
	}
	same(t, "begun", beginning(), []access.BeginningBundle{{Request: alone.Request, Due: 2 * time.Minute}})
}

// testIdleBundle: a grant is not idle while another one of its request is used.
func testIdleBundle(t *testing.T, store access.Store) {
	s := samples(t)
	both := s.request()
	one, other := s.grant(), s.grant()
	one.Request, other.Request = both.ID, both.ID
	one.IdleAfter, other.IdleAfter = 10*time.Minute, 10*time.Minute
	used := one.NotBefore.Add(8 * time.Minute)
	s.keep(store, []access.Request{both}, []grant.Grant{one, other})
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return tx.Grants().Used(ctx, other.ID, used)
	})
	idle := func(at time.Time) (n int) {
		return len(get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) { return tx.Grants().Idle(ctx, at, 0) }))
	}
	if n := idle(used.Add(10*time.Minute - time.Microsecond)); n != 0 {
		t.Errorf("%d idle while one of them was used in time, want none", n)
	}
	if n := idle(used.Add(10 * time.Minute)); n != 2 {
		t.Errorf("%d idle after the last use of either, want both", n)
	}
}
