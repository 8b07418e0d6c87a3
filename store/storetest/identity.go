package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

func (s sampler) identity(who string) access.Identity {
	return access.Identity{Principal: s.principal(who), Sealed: []byte{0, 1, 0xff}, CheckedAt: epoch()}
}

func putIdentity(t *testing.T, store access.Store, i access.Identity) {
	t.Helper()
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Identities().Put(ctx, i) })
}

func testIdentities(t *testing.T, store access.Store) {
	s := samples(t)
	read := func(p identity.Principal) func(context.Context, access.Tx) (access.Identity, error) {
		return func(ctx context.Context, tx access.Tx) (access.Identity, error) { return tx.Identities().Get(ctx, p) }
	}
	forget := func(ctx context.Context, tx access.Tx) error { return tx.Identities().Delete(ctx, s.bob()) }
	missing(t, store, read(s.bob()))
	update(t, store, forget) // there need not be one
	i := s.identity(s.bob().String())
	i.TriedAt, i.RetryAt = epoch().Add(time.Minute), epoch().Add(2*time.Minute)
	putIdentity(t, store, i)
	same(t, "identity", get(t, store, read(s.bob())), i)
	again := s.identity(s.bob().String())
	again.Sealed, again.CheckedAt = []byte("another"), epoch().Add(time.Hour)
	putIdentity(t, store, again)
	same(t, "identity of a later login", get(t, store, read(s.bob())), again)
	refused(t, store, nil, func(ctx context.Context, tx access.Tx) error {
		return tx.Identities().Put(ctx, access.Identity{Principal: s.bob(), CheckedAt: epoch()}) // no token
	})
	same(t, "identity after a refusal", get(t, store, read(s.bob())), again)
	update(t, store, forget)
	missing(t, store, read(s.bob()))
	putIdentity(t, store, again)
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Persons().Erase(ctx, s.bob()) })
	missing(t, store, read(s.bob()))
}

// testIdentityDue has four accounts: with a live session, with a live grant, with
// what is over, and with nothing but a request that waits.
func testIdentityDue(t *testing.T, store access.Store) {
	s := samples(t)
	now := epoch().Add(20 * time.Minute)
	const inside, granted, gone, waits = "user:idp:a-inside", "user:idp:b-granted", "user:idp:c-gone", "user:idp:d-waits"
	session, over, ended := s.session(), s.session(), s.session()
	over.Hash, ended.Hash = [32]byte{4}, [32]byte{5}
	session.Principal, over.Principal, ended.Principal = s.principal(inside), s.principal(gone), s.principal(gone)
	over.EndsAt, ended.EndedAt = now, epoch().Add(time.Minute)
	live, past := s.grant(), s.grant()
	live.Principal, past.Principal = s.principal(granted), s.principal(gone)
	past.NotAfter = now
	r := s.request()
	r.Requester, r.Beneficiary = s.principal(waits), s.principal(waits)
	s.keep(store, []access.Request{r}, nil)
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return errors.Join(tx.Sessions().Insert(ctx, session), tx.Sessions().Insert(ctx, over), tx.Sessions().Insert(ctx, ended),
			tx.Grants().Insert(ctx, live, nil, ""), tx.Grants().Insert(ctx, past, nil, ""))
	})
	for n, who := range []string{inside, granted, gone, waits} {
		i := s.identity(who)
		i.CheckedAt = i.CheckedAt.Add(-time.Duration(n) * time.Second)
		putIdentity(t, store, i)
	}
	due := func(d access.IdentityDue) (out []string) {
		d.Now = now
		for _, i := range get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Identity, error) { return tx.Identities().Due(ctx, d) }) {
			out = append(out, i.Principal.String())
		}
		return out
	}
	never := epoch().Add(-time.Hour)
	same(t, "due", due(access.IdentityDue{Checked: epoch(), Over: never}), []string{granted, inside})
	same(t, "the first of them", due(access.IdentityDue{Checked: epoch(), Over: never, Limit: 1}), []string{granted})
	same(t, "due a second earlier", due(access.IdentityDue{Checked: epoch().Add(-time.Second), Over: never}), []string{granted})
	same(t, "nothing is due", due(access.IdentityDue{Checked: never, Over: never}), []string(nil))
	later := s.identity(granted)
	later.RetryAt = now.Add(time.Microsecond)
	putIdentity(t, store, later)
	same(t, "left alone until later", due(access.IdentityDue{Checked: epoch(), Over: never}), []string{inside})
	same(t, "its time is up", due(access.IdentityDue{Checked: never, Over: epoch()}), []string{inside, granted})
	idle := func(limit int) []identity.Principal {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]identity.Principal, error) {
			return tx.Identities().Idle(ctx, now, limit)
		})
	}
	same(t, "idle", idle(10), []identity.Principal{s.principal(gone)})
}

func testSessionGroups(t *testing.T, store access.Store) {
	s := samples(t)
	v := s.session()
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Sessions().Insert(ctx, v) })
	v.Groups, v.GroupsAt = []identity.Group{s.group("group:idp/others")}, epoch().Add(time.Minute)
	set := func(ctx context.Context, tx access.Tx) error {
		return tx.Sessions().SetGroups(ctx, v.ID, v.Groups, v.GroupsAt)
	}
	update(t, store, set)
	same(t, "session", get(t, store, func(ctx context.Context, tx access.Tx) (access.Session, error) {
		return tx.Sessions().ByHash(ctx, v.Hash)
	}), v)
	v.ID = s.session().ID
	refused(t, store, access.ErrNotFound, set)
}

func testLocks(t *testing.T, store access.Store) {
	s := samples(t)
	alice, twin := s.principal("user:idp:alice"), s.principal("user:idp:twin")
	person := access.Lock{Target: "alice", Accounts: []identity.Principal{twin, alice}, By: s.bob(), At: epoch(), Reason: "a lost laptop"}
	workload := access.Lock{Target: s.refunder().String(), Accounts: []identity.Principal{s.refunder()}, By: s.bob(), At: epoch().Add(time.Second)}
	insert := func(l access.Lock) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Locks().Insert(ctx, l) }
	}
	list := func() []access.Lock {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Lock, error) { return tx.Locks().List(ctx) })
	}
	holding := func(names ...string) []access.Lock {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Lock, error) { return tx.Locks().Holding(ctx, names) })
	}
	same(t, "no locks", list(), []access.Lock(nil))
	update(t, store, insert(workload))
	update(t, store, insert(person))
	refused(t, store, access.ErrExists, insert(person))
	same(t, "locks", list(), []access.Lock{person, workload})
	same(t, "by target", holding("alice", "nobody"), []access.Lock{person})
	same(t, "by account", holding("nobody", twin.String()), []access.Lock{person})
	same(t, "both", holding(alice.String(), workload.Target), []access.Lock{person, workload})
	same(t, "neither", holding("user:idp:carol"), []access.Lock(nil))
	same(t, "no names", holding(), []access.Lock(nil))

	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return tx.Locks().Extend(ctx, "alice", []identity.Principal{alice, s.bob()})
	})
	person.Accounts = append(person.Accounts, s.bob())
	same(t, "an extended lock", holding(s.bob().String()), []access.Lock{person})
	refused(t, store, nil, func(ctx context.Context, tx access.Tx) error {
		return tx.Locks().Extend(ctx, "nobody", person.Accounts)
	})

	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Persons().Erase(ctx, twin) })
	person.Reason = ""
	same(t, "a lock whose person was erased", holding(twin.String()), []access.Lock{person})
	take := func(ctx context.Context, tx access.Tx) error { return tx.Locks().Delete(ctx, "alice") }
	update(t, store, take)
	same(t, "after a lock was taken off", list(), []access.Lock{workload})
	same(t, "its accounts", holding(twin.String()), []access.Lock(nil))
	refused(t, store, access.ErrNotFound, take)
}
