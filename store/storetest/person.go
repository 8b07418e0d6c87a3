package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

func testSessions(t *testing.T, store access.Store) {
	s := samples(t)
	v := s.session()
	byHash := func(h [32]byte) func(context.Context, access.Tx) (access.Session, error) {
		return func(ctx context.Context, tx access.Tx) (access.Session, error) { return tx.Sessions().ByHash(ctx, h) }
	}
	end := func(id grant.SessionID, at time.Time) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Sessions().End(ctx, id, at) }
	}
	missing(t, store, byHash(v.Hash))
	insert := func(v access.Session) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Sessions().Insert(ctx, v) }
	}
	update(t, store, insert(v))
	same(t, "session", get(t, store, byHash(v.Hash)), v)
	missing(t, store, byHash([32]byte{9}))
	thief := s.session() // another session with the same secret
	refused(t, store, access.ErrExists, insert(thief))
	update(t, store, end(v.ID, epoch().Add(time.Minute)))
	update(t, store, end(v.ID, epoch().Add(time.Hour)))
	v.EndedAt = epoch().Add(time.Minute)
	same(t, "ended session", get(t, store, byHash(v.Hash)), v)
	refused(t, store, access.ErrNotFound, end(thief.ID, epoch()))
}

func testLogins(t *testing.T, store access.Store) {
	var now time.Time
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		now = tx.Now()
		return errors.Join(tx.Sessions().PutLogin(ctx, "state1", []byte("body"), now.Add(time.Hour)),
			tx.Sessions().PutLogin(ctx, "state2", []byte("body"), now.Add(time.Hour)))
	})
	take := func(key string, now time.Time, want error) {
		t.Helper()
		err := store.Update(t.Context(), func(tx access.Tx) error {
			b, err := tx.Sessions().TakeLogin(t.Context(), key, now)
			if err == nil && string(b) != "body" {
				t.Errorf("login %s is %q", key, b)
			}
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("take %s = %v, want %v", key, err, want)
		}
	}
	take("state0", now, access.ErrNotFound)
	take("state1", now, nil)
	take("state1", now, access.ErrNotFound) // once
	take("state2", now.Add(time.Hour), access.ErrNotFound)
	refused(t, store, access.ErrExists, func(ctx context.Context, tx access.Tx) error {
		return tx.Sessions().PutLogin(ctx, "state2", []byte("other"), now.Add(time.Hour))
	})
}

func testPersons(t *testing.T, store access.Store) {
	s := samples(t)
	var first, second []byte
	update(t, store, func(ctx context.Context, tx access.Tx) (err error) {
		if first, err = tx.Persons().Key(ctx, s.bob(), func() []byte { return []byte("key 1") }); err != nil {
			return err
		}
		second, err = tx.Persons().Key(ctx, s.bob(), func() []byte { return []byte("key 2") })
		return err
	})
	if string(first) != "key 1" || string(second) != "key 1" {
		t.Errorf("keys %q, %q: want the first one twice", first, second)
	}
	read := get(t, store, func(ctx context.Context, tx access.Tx) ([]byte, error) { return tx.Persons().Key(ctx, s.bob(), nil) })
	same(t, "key in a view", read, []byte("key 1"))

	alice := s.principal("user:idp:alice")
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Persons().SetPseudonym(ctx, s.bob(), "p_bob"), tx.Persons().SetPseudonym(ctx, alice, "p_alice"))
	})
	byName := func(name string) func(context.Context, access.Tx) (identity.Principal, error) {
		return func(ctx context.Context, tx access.Tx) (identity.Principal, error) {
			return tx.Persons().ByPseudonym(ctx, name)
		}
	}
	same(t, "whose pseudonym", get(t, store, byName("p_alice")), alice)
	missing(t, store, byName("p_nobody"))
	missing(t, store, byName(""))
	refused(t, store, access.ErrExists, func(ctx context.Context, tx access.Tx) error { return tx.Persons().SetPseudonym(ctx, alice, "p_bob") })
	testProfiles(t, store, s, alice)
}

func testProfiles(t *testing.T, store access.Store, s sampler, alice identity.Principal) {
	set := func(p identity.Principal, name, email string) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Persons().SetProfile(ctx, p, name, email) })
	}
	missing(t, store, func(ctx context.Context, tx access.Tx) (string, error) {
		name, _, err := tx.Persons().Profile(ctx, s.principal("user:idp:carol"))
		return name, err
	})
	set(s.bob(), "Bob", "old@acme.example")
	set(s.bob(), "Bob Example", "Shared@acme.example")
	set(alice, "Alice", "shared@acme.example")
	set(s.principal("user:idp:carol"), "Carol", "")
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		name, email, err := tx.Persons().Profile(ctx, s.bob())
		if name != "Bob Example" || email != "Shared@acme.example" {
			t.Errorf("profile %q, %q", name, email)
		}
		return err
	})
	with := func(email string) []identity.Principal {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]identity.Principal, error) {
			return tx.Persons().WithEmail(ctx, email)
		})
	}
	same(t, "who shares an address", with("SHARED@acme.example"), []identity.Principal{alice, s.bob()})
	if got := with(""); len(got) != 0 {
		t.Errorf("accounts without an address count as sharing it: %v", got)
	}
}
