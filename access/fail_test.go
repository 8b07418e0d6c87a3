package access_test

import (
	"context"
	"errors"
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
