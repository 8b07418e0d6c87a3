package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

func testPolicyLine(t *testing.T, store access.Store) {
	at := epoch()
	keep := func(digest string) {
		update(t, store, func(ctx context.Context, tx access.Tx) error {
			files := map[string][]byte{"mayfly.yaml": []byte(digest)}
			if digest == "d2" {
				files = map[string][]byte{"mayfly.yaml": {}, "other": nil}
			}
			return tx.Policies().Keep(ctx, access.StoredPolicy{Digest: digest, Commit: "c-" + digest, Files: files})
		})
	}
	entries := func(after time.Time) []access.PolicyEntry {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.PolicyEntry, error) {
			return tx.Policies().Entries(ctx, after)
		})
	}
	settling := func() []access.SettlingCommit {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.SettlingCommit, error) {
			return tx.Policies().Settling(ctx)
		})
	}
	keep("d1")
	keep("d2")
	if _, _, err := head(t, store); err == nil {
		t.Error("what is only kept is in force")
	}
	versions := func(ctx context.Context, tx access.Tx) ([]access.FileVersion, error) {
		return tx.Policies().Versions(ctx, "mayfly.yaml")
	}
	if v := get(t, store, versions); len(v) != 0 {
		t.Errorf("what is only kept was in force: %+v", v)
	}
	first := access.PolicyEntry{Digest: "d1", Commit: "c1", Signers: []string{"alice", "bob"}, Authors: []string{"user:idp:alice"}, At: at, Passed: 5 * time.Second, How: access.HowCommit}
	second := access.PolicyEntry{Digest: "d2", Commit: "c2", Signers: []string{}, Authors: []string{}, At: at.Add(time.Hour), Passed: 6 * time.Second, How: access.HowHeld}
	third := first
	third.At, third.Passed, third.How = at.Add(2*time.Hour), 0, access.HowReleased // as of before it was noted
	for _, e := range []access.PolicyEntry{first, second, third} {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().Enter(ctx, e) })
	}
	same(t, "entries", entries(time.Time{}), []access.PolicyEntry{first, second, third})
	same(t, "versions", get(t, store, versions), []access.FileVersion{
		{Digest: "d1", Commit: "c1", Signers: first.Signers, At: first.At, How: first.How, Body: []byte("d1")},
		{Digest: "d2", Commit: "c2", Signers: second.Signers, At: second.At, How: second.How, Body: []byte{}},
		{Digest: "d1", Commit: "c1", Signers: third.Signers, At: third.At, How: third.How, Body: []byte("d1")},
	})
	if v := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.FileVersion, error) {
		return tx.Policies().Versions(ctx, "other")
	}); len(v) != 3 || v[0].Body != nil || v[1].Body == nil || v[2].Body != nil {
		t.Errorf("a file that only the second had: %+v", v)
	}
	same(t, "entries after the first", entries(at), []access.PolicyEntry{second, third})
	for _, c := range []struct {
		passed time.Duration
		after  time.Time
		want   []access.PolicyEntry
	}{
		{-time.Hour, at, []access.PolicyEntry{first, second, third}},
		{5 * time.Second, at, []access.PolicyEntry{second, third}},
		{5 * time.Second, third.At, []access.PolicyEntry{second}},
		{6 * time.Second, third.At, nil},
	} {
		same(t, fmt.Sprintf("entries since %s or %s", c.passed, c.after), get(t, store, func(ctx context.Context, tx access.Tx) ([]access.PolicyEntry, error) {
			return tx.Policies().EntriesSince(ctx, c.passed, c.after)
		}), c.want)
	}
	refused(t, store, nil, func(ctx context.Context, tx access.Tx) error {
		return tx.Policies().Enter(ctx, access.PolicyEntry{Digest: "nothing", At: at, How: access.HowCommit})
	})
	refused(t, store, nil, func(ctx context.Context, tx access.Tx) error {
		return tx.Policies().Enter(ctx, access.PolicyEntry{Digest: "d1", At: at, How: "somehow"})
	})

	for _, digest := range []string{"d2", "d1", "d2"} {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().AddDropped(ctx, digest) })
	}
	same(t, "dropped", get(t, store, func(ctx context.Context, tx access.Tx) ([]string, error) { return tx.Policies().Dropped(ctx) }), []string{"d1", "d2"})

	a := access.SettlingCommit{Commit: "c1", Digest: "d1", Signers: []string{"alice"}, Seen: at, Due: time.Minute}
	b := access.SettlingCommit{Commit: "c2", Digest: "d2", Signers: []string{}, Seen: at.Add(time.Second), Due: 2 * time.Minute}
	add := func(c access.SettlingCommit) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Policies().AddSettling(ctx, c) }
	}
	update(t, store, add(b))
	update(t, store, add(a))
	same(t, "settling", settling(), []access.SettlingCommit{a, b})
	again := a
	again.Due = 0
	refused(t, store, nil, add(again)) // its time is not counted anew, and not shortened
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().DropSettling(ctx, "c1") })
	same(t, "settling", settling(), []access.SettlingCommit{b})
}

func head(t *testing.T, store access.Store) (digest, commit string, err error) {
	t.Helper()
	err = store.View(t.Context(), func(tx access.Tx) error {
		digest, commit, err = tx.Policies().Head(t.Context())
		return err
	})
	return digest, commit, err
}

func testPolicyHold(t *testing.T, store access.Store) {
	hold := func(confirmed bool) func(context.Context, access.Tx) (access.PolicyHold, error) {
		return func(ctx context.Context, tx access.Tx) (access.PolicyHold, error) {
			return tx.Policies().Hold(ctx, confirmed)
		}
	}
	watch := func(ctx context.Context, tx access.Tx) (access.PolicyWatch, error) { return tx.Policies().Watch(ctx) }
	who := func(text string) identity.Principal {
		p, err := identity.ParsePrincipal(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return tx.Policies().Keep(ctx, access.StoredPolicy{Digest: "d1", Commit: "c1"})
	})
	missing(t, store, hold(false))
	h := access.PolicyHold{Commit: "c1", Digest: "d1", Length: time.Hour, ProposedBy: who("user:idp:alice"), Under: grant.NewMinter().NewGrantID(epoch()), ProposedAt: epoch(), Until: time.Minute}
	set := func(h access.PolicyHold) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Policies().SetHold(ctx, h) }
	}
	update(t, store, set(h))
	same(t, "proposed", get(t, store, hold(false)), h)
	missing(t, store, hold(true))
	proposal := h
	h.ConfirmedBy, h.ConfirmedAt, h.Until, h.BackCommit, h.BackDigest = who("user:idp:bob"), epoch().Add(time.Second), time.Hour, "c2", "d2"
	update(t, store, set(h))
	same(t, "confirmed", get(t, store, hold(true)), h)
	same(t, "proposed", get(t, store, hold(false)), proposal)
	refused(t, store, nil, set(access.PolicyHold{Commit: "c1", Digest: "d1", ProposedBy: h.ProposedBy}))
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().DropHold(ctx, true) })
	missing(t, store, hold(true))
	same(t, "proposed", get(t, store, hold(false)), proposal)

	same(t, "nothing seen", get(t, store, watch), access.PolicyWatch{})
	w := access.PolicyWatch{At: epoch(), Tip: "c1", Failed: epoch().Add(time.Minute),
		Refused: access.RefusedCommit{Commit: "c2", Reason: "unsigned", Words: "it is not signed", At: epoch().Add(time.Second)}}
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().SetWatch(ctx, w) })
	same(t, "seen", get(t, store, watch), w)
	w = access.PolicyWatch{At: epoch().Add(time.Hour), Tip: "c3"}
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Policies().SetWatch(ctx, w) })
	same(t, "seen again", get(t, store, watch), w)
}
