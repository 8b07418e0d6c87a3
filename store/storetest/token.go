package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

func testTokens(t *testing.T, store access.Store) {
	s := samples(t)
	insert := func(v access.OnwardToken) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Tokens().Insert(ctx, v) }
	}
	read := func(id grant.TokenID) func(context.Context, access.Tx) (access.OnwardToken, error) {
		return func(ctx context.Context, tx access.Tx) (access.OnwardToken, error) { return tx.Tokens().Get(ctx, id) }
	}
	var now time.Time
	view(t, store, func(_ context.Context, tx access.Tx) error { now = tx.Now().Truncate(time.Second); return nil })
	one := access.OnwardToken{ID: s.mint.NewTokenID(now), Grant: s.mint.NewGrantID(now), Onward: []string{"docs", "wiki"}, Ends: now.Add(5 * time.Minute)}
	none := access.OnwardToken{ID: s.mint.NewTokenID(now), Grant: one.Grant, Onward: []string{}, Ends: one.Ends}
	over := access.OnwardToken{ID: s.mint.NewTokenID(now), Grant: one.Grant, Onward: []string{"wiki"}, Ends: now.Add(-time.Second)}
	for _, v := range []access.OnwardToken{over, one, none} {
		update(t, store, insert(v))
	}
	same(t, "a token", get(t, store, read(one.ID)), one)
	same(t, "one that goes nowhere", get(t, store, read(none.ID)), none)
	missing(t, store, read(over.ID))
	missing(t, store, read(s.mint.NewTokenID(now)))
	refused(t, store, access.ErrExists, insert(one))
}
