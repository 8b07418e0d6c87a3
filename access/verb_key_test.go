package access_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/tokens"
)

// keep has time do what it does to keys.
func (w *world) keep() {
	w.t.Helper()
	if err := w.KeepTokenKeys(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// keys returns the keys in a state, the newest first.
func (w *world) keys(state access.TokenKeyState) []string {
	w.t.Helper()
	list, err := w.Keys(w.t.Context(), w.as(dave))
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, k := range list {
		if k.Sealed != nil {
			w.t.Errorf("the private part of %s is shown", k.ID)
		}
		if k.State == state {
			out = append(out, k.ID)
		}
	}
	return out
}

// verifies reports which of some keys the JWKS document has.
func (w *world) verifies(kids ...string) string {
	w.t.Helper()
	set, err := w.TokenKeys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []byte
	for _, kid := range kids {
		_, ok := set.Lookup(kid)
		out = append(out, map[bool]byte{true: '+', false: '-'}[ok])
	}
	return string(out)
}

func TestTokenKeysAreThereFromTheFirstStart(t *testing.T) {
	w := newWorld(t)
	before := len(w.leaves())
	w.keep()
	active, next := w.keys(access.KeyActive), w.keys(access.KeyNext)
	if len(active) != 1 || len(next) != 1 {
		t.Fatalf("active %v, next %v: want one each", active, next)
	}
	if got := w.verifies(active[0], next[0]); got != "++" {
		t.Errorf("the document has %s of the key that signs and the next one, want both", got)
	}
	w.keep()
	if got := w.types(before); got != string(audit.TypeKeyRotated) {
		t.Errorf("leaves %q, want one key.rotated", got)
	}
	w.view(func(ctx context.Context, tx access.Tx) error {
		rows, err := tx.TokenKeys().In(ctx, access.KeyActive, access.KeyNext)
		for _, row := range rows {
			if _, err := tokens.ParsePrivateKey(row.Sealed); err == nil || len(row.Sealed) == 0 {
				t.Errorf("the private part of %s lies open, or nowhere, in the database", row.ID)
			}
		}
		return err
	})
}

func TestTokenKeysRotateOnSchedule(t *testing.T) {
	w := newWorld(t)
	w.keep()
	first, second := w.keys(access.KeyActive)[0], w.keys(access.KeyNext)[0]
	w.pass(access.DefaultKeyRotation - time.Second)
	w.keep()
	if got := w.keys(access.KeyActive)[0]; got != first {
		t.Fatal("another key signs before its time")
	}
	w.pass(time.Second)
	w.keep()
	if got := w.keys(access.KeyActive)[0]; got != second {
		t.Fatalf("%s signs, want the one that was published", got)
	}
	third := w.keys(access.KeyNext)[0]
	if got := w.verifies(first, second, third); got != "+++" {
		t.Errorf("after the rotation: %s, want all three", got)
	}
	w.view(func(ctx context.Context, tx access.Tx) error {
		row, err := tx.TokenKeys().Get(ctx, first)
		if row.Sealed != nil {
			t.Error("a retired key keeps its private part")
		}
		return err
	})
	w.pass(tokens.MaxLife)
	w.keep()
	if got := w.verifies(first); got != "+" {
		t.Error("the old key is gone although a token of it may live")
	}
	w.pass(time.Minute)
	if got := w.verifies(first, second); got != "-+" {
		t.Error("the old key verifies after its last token has ended")
	}
	w.keep()
	if got := w.keys(access.KeyGone); !slices.Equal(got, []string{first}) {
		t.Errorf("gone: %v, want the first key", got)
	}
}

func TestANextKeyWaitsUntilItIsKnown(t *testing.T) {
	w := newWorld(t)
	w.keep()
	ctx, next := t.Context(), w.keys(access.KeyNext)[0]
	wantCode(t, w.RotateKeys(ctx, w.as(dave), false), access.CodeTooSoon) // no gateway, but copies of the document
	i := w.join("a")
	wantCode(t, w.RotateKeys(ctx, w.as(dave), true), access.CodeTooSoon) // the instance has said nothing
	if err := w.Source().Acknowledge(ctx, []feed.Receipt{{Instance: i, At: w.head()}}); err != nil {
		t.Fatal(err)
	}
	if err := w.RotateKeys(ctx, w.as(dave), true); err != nil {
		t.Fatal(err)
	}
	if got := w.keys(access.KeyActive)[0]; got != next {
		t.Fatalf("%s signs, want %s", got, next)
	}
	wantCode(t, w.RotateKeys(ctx, w.as(dave), true), access.CodeTooSoon)
	w.pass(access.DefaultKeyOverlap) // whoever has heard nothing for so long denies everything
	if err := w.RotateKeys(ctx, w.as(dave), false); err != nil {
		t.Fatal(err)
	}
}

func TestARemovedKeyVerifiesNothing(t *testing.T) {
	w := newWorld(t)
	w.keep()
	ctx, head := t.Context(), w.head()
	first, second := w.keys(access.KeyActive)[0], w.keys(access.KeyNext)[0]
	before, woken := len(w.leaves()), w.woken()
	if err := w.RemoveKey(ctx, w.as(dave), first); err != nil {
		t.Fatal(err)
	}
	if got := w.verifies(first, second); got != "-+" {
		t.Errorf("after the removal: %s, want only the next one", got)
	}
	if got := w.keys(access.KeyActive)[0]; got != second {
		t.Errorf("%s signs, want %s at once", got, second)
	}
	if w.woken() != woken+1 {
		t.Error("the feed was not woken")
	}
	changes, _, err := w.Source().Changes(ctx, head, feed.Newest())
	if err != nil || len(changes) != 1 || changes[0].App != feed.Everyone || len(changes[0].Removals) != 1 || changes[0].Removals[0].GetId() != first {
		t.Fatalf("changes %v (%v), want one for every instance that removes the key", changes, err)
	}
	if got := w.types(before); got != "key.removed key.rotated" {
		t.Errorf("leaves %q", got)
	}
	if err := w.RemoveKey(ctx, w.as(dave), first); err != nil {
		t.Fatal(err)
	}
	if got := w.types(before); got != "key.removed key.rotated" {
		t.Errorf("leaves after a second removal %q", got)
	}
	wantCode(t, w.RemoveKey(ctx, w.as(dave), "unknown"), access.CodeNotFound)
	if err := w.RemoveKey(ctx, w.as(dave), w.keys(access.KeyNext)[0]); err != nil {
		t.Fatal(err)
	}
	if len(w.keys(access.KeyNext)) != 1 || w.keys(access.KeyActive)[0] != second {
		t.Error("removing the next key leaves none, or changes the one that signs")
	}
}

func TestOnlySecurityChangesKeys(t *testing.T) {
	w := newWorld(t)
	w.keep()
	ctx, kid := t.Context(), w.keys(access.KeyActive)[0]
	for _, who := range []string{alice, bob, refunder} {
		wantCode(t, w.RotateKeys(ctx, w.as(who), true), access.CodeNotEligible)
		wantCode(t, w.RemoveKey(ctx, w.as(who), kid), access.CodeNotEligible)
		_, err := w.Keys(ctx, w.as(who))
		wantCode(t, err, access.CodeNotEligible)
	}
	stale := w.as(dave)
	w.pass(time.Hour)
	wantCode(t, w.RemoveKey(ctx, stale, kid), access.CodeLoginAgain)
	if got := w.verifies(kid); got != "+" {
		t.Error("a refused removal removed the key")
	}
}

func TestASnapshotHasTheKeysThatVerify(t *testing.T) {
	w := newWorld(t)
	w.keep()
	active, next := w.keys(access.KeyActive)[0], w.keys(access.KeyNext)[0]
	snap, err := snapshotOf(t.Context(), w.Source(), []string{"stripe"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range snap.Resources {
		if k := r.GetKey(); k != nil {
			got = append(got, r.GetId()+" "+k.GetState())
		}
	}
	slices.Sort(got)
	want := []string{active + " active", next + " next"}
	slices.Sort(want)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("keys %v, want %v", got, want)
	}
}
