package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

func testQuarantines(t *testing.T, store access.Store) {
	node := func(text string) identity.Principal {
		p, err := identity.ParsePrincipal(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a := access.Quarantine{Sidecar: node("spiffe://acme.example/gw/a"), Since: epoch(), Reason: "lost"}
	b := access.Quarantine{Sidecar: node("spiffe://acme.example/gw/b"), Since: epoch().Add(time.Second)}
	put := func(q access.Quarantine) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Quarantines().Put(ctx, q) })
	}
	lift := func(p identity.Principal) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Quarantines().Lift(ctx, p) }
	}
	list := func() []access.Quarantine {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Quarantine, error) {
			return tx.Quarantines().List(ctx)
		})
	}
	refused(t, store, access.ErrNotFound, lift(a.Sidecar))
	put(b)
	put(a)
	put(access.Quarantine{Sidecar: a.Sidecar, Since: epoch().Add(time.Hour), Reason: "again"})
	same(t, "quarantines", list(), []access.Quarantine{a, b})
	update(t, store, lift(a.Sidecar))
	same(t, "after a release", list(), []access.Quarantine{b})
	refused(t, store, access.ErrNotFound, lift(a.Sidecar))
}
