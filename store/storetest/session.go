package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

// keepSessions inserts sessions.
func keepSessions(t *testing.T, store access.Store, all ...access.Session) {
	t.Helper()
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		for _, v := range all {
			if err := tx.Sessions().Insert(ctx, v); err != nil {
				return err
			}
		}
		return nil
	})
}

func testSessionLists(t *testing.T, store access.Store) {
	s := samples(t)
	now := epoch().Add(time.Minute)
	console := s.session()
	console.Kind, console.ProofKey = access.SessionConsole, [32]byte{}
	wiki, docs := s.appSession(console, "wiki", 11), s.appSession(console, "docs", 12)
	other := s.session()
	other.Hash, other.Principal, other.Provider = [32]byte{13}, s.principal("user:idp:alice"), ""
	over, ended := s.appSession(console, "wiki", 14), s.appSession(console, "wiki", 15)
	over.EndsAt = now
	ended.EndedAt = epoch().Add(time.Second)
	second := s.appSession(console, "wiki", 16)
	keepSessions(t, store, console, wiki, docs, other, over, ended, second)
	for _, c := range []struct {
		name string
		f    access.SessionFilter
		want []access.Session
	}{
		{"all, newest first", access.SessionFilter{}, []access.Session{second, ended, over, other, docs, wiki, console}},
		{"live", access.SessionFilter{LiveAt: now}, []access.Session{second, other, docs, wiki, console}},
		{"live a moment before one is over", access.SessionFilter{App: "wiki", LiveAt: now.Add(-time.Microsecond)}, []access.Session{second, over, wiki}},
		{"of an account", access.SessionFilter{Principal: s.principal("user:idp:alice")}, []access.Session{other}},
		{"of an account, live", access.SessionFilter{Principal: s.bob(), LiveAt: now}, []access.Session{second, docs, wiki, console}},
		{"of a parent", access.SessionFilter{Parent: console.ID, LiveAt: now}, []access.Session{second, docs, wiki}},
		{"of a provider's session", access.SessionFilter{Provider: "sid-1", LiveAt: now}, []access.Session{second, docs, wiki, console}},
		{"of another provider's session", access.SessionFilter{Provider: "sid-2"}, nil},
		{"of an app", access.SessionFilter{App: "wiki"}, []access.Session{second, ended, over, wiki}},
		{"of an app, live", access.SessionFilter{App: "wiki", LiveAt: now}, []access.Session{second, wiki}},
		{"fed", access.SessionFilter{App: "wiki", Fed: true}, []access.Session{second, over, wiki}},
		{"the first page", access.SessionFilter{App: "wiki", LiveAt: now, Limit: 1}, []access.Session{second}},
		{"the next page", access.SessionFilter{App: "wiki", LiveAt: now, Limit: 1, Before: second.ID}, []access.Session{wiki}},
		{"after the last page", access.SessionFilter{App: "wiki", LiveAt: now, Before: wiki.ID}, nil},
	} {
		got := get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Session, error) { return tx.Sessions().List(ctx, c.f) })
		same(t, c.name, got, c.want)
	}
	byID := func(id grant.SessionID) func(context.Context, access.Tx) (access.Session, error) {
		return func(ctx context.Context, tx access.Tx) (access.Session, error) { return tx.Sessions().ByID(ctx, id) }
	}
	same(t, "by id", get(t, store, byID(wiki.ID)), wiki)
	missing(t, store, byID(s.mint.NewSessionID(epoch())))
	missing(t, store, byID(grant.SessionID{}))
}

func testSweepSessions(t *testing.T, store access.Store) {
	s := samples(t)
	now := epoch().Add(time.Minute)
	console := s.session()
	console.Kind, console.ProofKey, console.EndsAt = access.SessionConsole, [32]byte{}, epoch().Add(time.Second) // no instance holds it
	first, second := s.appSession(console, "wiki", 1), s.appSession(console, "docs", 2)
	first.EndsAt, second.EndsAt = now.Add(-time.Second), now
	live, ended := s.appSession(console, "wiki", 3), s.appSession(console, "wiki", 4)
	live.EndsAt = now.Add(time.Microsecond)
	ended.EndsAt, ended.EndedAt = now.Add(-time.Second), epoch().Add(time.Second)
	keepSessions(t, store, console, second, first, live, ended)
	unswept := func(limit int) []access.Session {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Session, error) {
			return tx.Sessions().Unswept(ctx, now, limit)
		})
	}
	same(t, "unswept", unswept(10), []access.Session{first, second})
	same(t, "one unswept", unswept(1), []access.Session{first})
	mark := func(id grant.SessionID) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Sessions().MarkSwept(ctx, id) }
	}
	update(t, store, mark(first.ID))
	update(t, store, mark(first.ID))
	same(t, "unswept after a mark", unswept(10), []access.Session{second})
	refused(t, store, access.ErrNotFound, mark(s.mint.NewSessionID(epoch())))
	got := get(t, store, func(ctx context.Context, tx access.Tx) (access.Session, error) {
		return tx.Sessions().ByID(ctx, first.ID)
	})
	same(t, "a swept session is as it was", got, first)

	// The store itself refuses a session whose fields do not fit its kind.
	for name, change := range map[string]func(*access.Session){
		"a console session on a host": func(v *access.Session) { v.Kind = access.SessionConsole },
		"an app's without a host":     func(v *access.Session) { v.Host = "" },
		"an app's without an app":     func(v *access.Session) { v.App = "" },
		"an app's without a parent":   func(v *access.Session) { v.Parent = grant.SessionID{} },
		"of no kind":                  func(v *access.Session) { v.Kind = "" },
		"without an end":              func(v *access.Session) { v.EndsAt = time.Time{} },
	} {
		v := s.appSession(console, "wiki", 9)
		change(&v)
		err := store.Update(t.Context(), func(tx access.Tx) error { return tx.Sessions().Insert(t.Context(), v) })
		if err == nil || errors.Is(err, access.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
