package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

func testTokenKeys(t *testing.T, store access.Store) {
	key := func(kid string, state access.TokenKeyState, leaf int64) access.TokenKey {
		k := access.TokenKey{ID: kid, Alg: "ES256", State: state, Public: []byte("public " + kid), Sealed: []byte("sealed"), Leaf: leaf, PublishedAt: epoch()}
		if state == access.KeyActive {
			k.ActivatedAt = epoch().Add(time.Second)
		}
		return k
	}
	insert := func(k access.TokenKey) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.TokenKeys().Insert(ctx, k) }
	}
	change := func(k access.TokenKey) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.TokenKeys().Update(ctx, k) }
	}
	in := func(states ...access.TokenKeyState) []access.TokenKey {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.TokenKey, error) {
			return tx.TokenKeys().In(ctx, states...)
		})
	}
	one := func(kid string) func(context.Context, access.Tx) (access.TokenKey, error) {
		return func(ctx context.Context, tx access.Tx) (access.TokenKey, error) { return tx.TokenKeys().Get(ctx, kid) }
	}
	active, next := key("a", access.KeyActive, 1), key("b", access.KeyNext, 2)
	missing(t, store, one("a"))
	refused(t, store, access.ErrNotFound, change(active))
	update(t, store, insert(active))
	update(t, store, insert(next))
	same(t, "one key", get(t, store, one("b")), next)
	same(t, "keys that verify", in(access.KeyNext, access.KeyActive, access.KeyRetired), []access.TokenKey{next, active})
	refused(t, store, access.ErrExists, insert(key("a", access.KeyNext, 3)))
	refused(t, store, access.ErrExists, insert(key("c", access.KeyNext, 3)))
	refused(t, store, access.ErrExists, insert(key("c", access.KeyActive, 3)))

	keeps := active
	keeps.State, keeps.RetiredAt, keeps.Until = access.KeyRetired, epoch().Add(time.Minute), epoch().Add(time.Hour)
	refused(t, store, nil, change(keeps)) // a key that signs no more has no private part
	keeps.Sealed = nil
	update(t, store, change(keeps))
	next.State, next.ActivatedAt = access.KeyActive, epoch().Add(time.Minute)
	update(t, store, change(next))
	same(t, "after a rotation", in(access.KeyActive, access.KeyRetired), []access.TokenKey{next, keeps})

	keeps.State, keeps.EndedAt = access.KeyGone, epoch().Add(time.Hour)
	update(t, store, change(keeps))
	refused(t, store, access.ErrExists, insert(key("a", access.KeyNext, 9)))
	same(t, "keys that verify", in(access.KeyNext, access.KeyActive, access.KeyRetired), []access.TokenKey{next})
	same(t, "all", get(t, store, func(ctx context.Context, tx access.Tx) ([]access.TokenKey, error) {
		return tx.TokenKeys().List(ctx, 10)
	}), []access.TokenKey{next, keeps})
}
