package storetest

import (
	"context"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

// testProofs: a proof is kept by commit and app, and never changed: what gateways
// were told of a commit stays.
func testProofs(t *testing.T, store access.Store) {
	put := func(commit, app, body string) {
		t.Helper()
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Proofs().Put(ctx, commit, app, []byte(body)) })
	}
	read := func(commit, app string) func(context.Context, access.Tx) (string, error) {
		return func(ctx context.Context, tx access.Tx) (string, error) {
			b, err := tx.Proofs().Get(ctx, commit, app)
			return string(b), err
		}
	}
	put("c1", "", "line")
	put("c1", "stripe", "of stripe")
	put("c1", "stripe", "another")
	same(t, "the line", get(t, store, read("c1", "")), "line")
	same(t, "the proof of an app", get(t, store, read("c1", "stripe")), "of stripe")
	missing(t, store, read("c1", "wiki"))
	missing(t, store, read("c2", ""))
}
