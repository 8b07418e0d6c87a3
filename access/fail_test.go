package access_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

var errDisk = errors.New("disk full")

// failing is a store whose n-th write from now fails; 0: none does.
type failing struct {
	access.Store
	left int
}

func (f *failing) write() error {
	if f.left > 0 {
		if f.left--; f.left == 0 {
			return errDisk
		}
	}
	return nil
}

func (f *failing) Update(ctx context.Context, do func(access.Tx) error) error {
	err := f.Store.Update(ctx, func(tx access.Tx) error { return do(failingTx{tx, f}) })
	if err == nil {
		f.left = 0
	}
	return err
}

type failingTx struct {
	access.Tx
	f *failing
}

type (
	failingLog struct {
		audit.Storage
		f *failing
	}
	failingChanges struct {
		access.ChangeStore
		f *failing
	}
	failingHead struct {
		access.HeadStore
		f *failing
	}
	failingRequests struct {
		access.RequestStore
		f *failing
	}
	failingApprovals struct {
		access.ApprovalStore
		f *failing
	}
	failingGrants struct {
		access.GrantStore
		f *failing
	}
	failingRevocations struct {
		access.RevocationStore
		f *failing
	}
	failingOutbox struct {
		access.OutboxStore
		f *failing
	}
	failingPersons struct {
		access.PersonStore
		f *failing
	}
)

func (t failingTx) Log() audit.Storage              { return failingLog{t.Tx.Log(), t.f} }
func (t failingTx) Changes() access.ChangeStore     { return failingChanges{t.Tx.Changes(), t.f} }
func (t failingTx) Head() access.HeadStore          { return failingHead{t.Tx.Head(), t.f} }
func (t failingTx) Requests() access.RequestStore   { return failingRequests{t.Tx.Requests(), t.f} }
func (t failingTx) Approvals() access.ApprovalStore { return failingApprovals{t.Tx.Approvals(), t.f} }
func (t failingTx) Grants() access.GrantStore       { return failingGrants{t.Tx.Grants(), t.f} }
func (t failingTx) Revocations() access.RevocationStore {
	return failingRevocations{t.Tx.Revocations(), t.f}
}
func (t failingTx) Outbox() access.OutboxStore  { return failingOutbox{t.Tx.Outbox(), t.f} }
func (t failingTx) Persons() access.PersonStore { return failingPersons{t.Tx.Persons(), t.f} }

func (s failingLog) AppendLeaf(ctx context.Context, i int64, leaf []byte, h []tlog.Hash) error {
	return errors.Join(s.f.write(), s.Storage.AppendLeaf(ctx, i, leaf, h))
}

func (s failingChanges) Append(ctx context.Context, c access.StoredChange) error {
	return errors.Join(s.f.write(), s.ChangeStore.Append(ctx, c))
}

func (s failingHead) SetFeed(ctx context.Context, at feed.Position) error {
	return errors.Join(s.f.write(), s.HeadStore.SetFeed(ctx, at))
}

func (s failingRequests) Insert(ctx context.Context, r access.Request, offer []byte) error {
	return errors.Join(s.f.write(), s.RequestStore.Insert(ctx, r, offer))
}

func (s failingRequests) Update(ctx context.Context, r access.Request) error {
	return errors.Join(s.f.write(), s.RequestStore.Update(ctx, r))
}

func (s failingApprovals) Insert(ctx context.Context, a access.Approval) error {
	return errors.Join(s.f.write(), s.ApprovalStore.Insert(ctx, a))
}

func (s failingGrants) Insert(ctx context.Context, g grant.Grant, params map[string]string, catalogue string) error {
	return errors.Join(s.f.write(), s.GrantStore.Insert(ctx, g, params, catalogue))
}

func (s failingGrants) MarkRevoked(ctx context.Context, id grant.GrantID, at time.Time, why grant.Reason) error {
	return errors.Join(s.f.write(), s.GrantStore.MarkRevoked(ctx, id, at, why))
}

func (s failingGrants) MarkSwept(ctx context.Context, id grant.GrantID) error {
	return errors.Join(s.f.write(), s.GrantStore.MarkSwept(ctx, id))
}

func (s failingRevocations) Insert(ctx context.Context, r access.Revocation) error {
	return errors.Join(s.f.write(), s.RevocationStore.Insert(ctx, r))
}

func (s failingOutbox) Put(ctx context.Context, e access.Event) error {
	return errors.Join(s.f.write(), s.OutboxStore.Put(ctx, e))
}

func (s failingPersons) SetPseudonym(ctx context.Context, p identity.Principal, name string) error {
	return errors.Join(s.f.write(), s.PersonStore.SetPseudonym(ctx, p, name))
}

// state is what a failed verb must not have changed.
func (w *world) state() string {
	w.t.Helper()
	var out string
	w.view(func(ctx context.Context, tx access.Tx) error {
		size, err := tx.Log().Size(ctx)
		if err != nil {
			return err
		}
		requests, err := tx.Requests().List(ctx, access.RequestFilter{})
		if err != nil {
			return err
		}
		grants, err := tx.Grants().List(ctx, access.GrantFilter{})
		if err != nil {
			return err
		}
		events, err := tx.Outbox().After(ctx, 0, 1000)
		if err != nil {
			return err
		}
		head, err := tx.Head().Feed(ctx)
		out = fmt.Sprint(size, head, len(events))
		for _, r := range requests {
			out += fmt.Sprint(r.ID, r.State, r.DecideBy)
		}
		for _, g := range grants {
			out += fmt.Sprint(g.ID, g.Revoked, g.Finished)
		}
		return err
	})
	return out
}

func TestEveryVerbIsAllOrNothing(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*world) access.Request
		verb    func(*world, access.Request) error
	}{
		{"request", func(w *world) access.Request { return access.Request{} }, func(w *world, _ access.Request) error {
			_, err := w.Request(w.t.Context(), w.as(alice), refund())
			return err
		}},
		{"request by rule", func(w *world) access.Request { return access.Request{} }, func(w *world, _ access.Request) error {
			_, err := w.Request(w.t.Context(), w.as(carol), reports())
			return err
		}},
		{"approve", func(w *world) access.Request { return w.ask(w.as(refunder), refund(), access.Pending) }, func(w *world, r access.Request) error {
			_, err := w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
			return err
		}},
		{"deny", func(w *world) access.Request { return w.ask(w.as(refunder), refund(), access.Pending) }, func(w *world, r access.Request) error {
			_, err := w.Deny(w.t.Context(), w.as(bob), r.ID, "")
			return err
		}},
		{"withdraw", func(w *world) access.Request { return w.ask(w.as(refunder), refund(), access.Pending) }, func(w *world, r access.Request) error {
			_, err := w.Withdraw(w.t.Context(), w.as(refunder), r.ID)
			return err
		}},
		{"revoke", (*world).granted, func(w *world, r access.Request) error {
			_, err := w.Revoke(w.t.Context(), w.as(dave), r.Grant, "")
			return err
		}},
		{"lock", (*world).granted, func(w *world, _ access.Request) error {
			_, err := w.Lock(w.t.Context(), w.as(dave), refunder, "why")
			return err
		}},
		{"recheck", func(w *world) access.Request {
			w.loggedIn(access.SessionAPI, carol)
			r := w.ask(w.as(carol), reports(), access.Approved)
			w.provider.set(func(p *provider) { p.disabled[carol] = true })
			w.pass(recheckT)
			return r
		}, func(w *world, _ access.Request) error { return w.Recheck(w.t.Context()) }},
		{"policy", (*world).granted, func(w *world, r access.Request) error {
			delete(w.files, "entitlements/stripe/refunds.yaml")
			_, err := w.ApplyPolicy(w.t.Context(), access.PolicyCommit{Files: w.files, Commit: "next", After: w.commit})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f *failing
			w := newWorldOver(t, func(s access.Store) access.Store { f = &failing{Store: s}; return f })
			r := c.prepare(w)
			before, wakes := w.state(), w.woken()
			failures := 0
			for n := 1; ; n++ {
				f.left = n
				err := c.verb(w, r)
				if err == nil {
					break
				}
				if !errors.Is(err, errDisk) || n > 50 {
					t.Fatalf("write %d: %v", n, err)
				}
				failures++
				if got := w.state(); got != before {
					t.Fatalf("write %d failed and left\n%s\nbefore\n%s", n, got, before)
				}
			}
			if w.state() == before || failures < 3 {
				t.Fatalf("%d failures, and then nothing changed", failures)
			}
			if w.woken() > wakes+1 {
				t.Error("a failed verb woke the feed")
			}
		})
	}
}
