package access

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Lock keeps a human or a workload out until it is taken off.
type Lock struct {
	Target   string               // a person's name in policy, else the principal
	Accounts []identity.Principal // every one that it has met, in that order; never fewer
	By       identity.Principal
	At       time.Time
	Reason   string // personal text: lives in the erasable table
}

// LockStore keeps locks.
type LockStore interface {
	Insert(ctx context.Context, l Lock) error // ErrExists: the target is locked
	// Extend adds accounts that a lock meets later. One that it has already stays.
	Extend(ctx context.Context, target string, accounts []identity.Principal) error
	// Holding lists the locks that have one of names as target or account.
	Holding(ctx context.Context, names []string) ([]Lock, error)
	List(ctx context.Context) ([]Lock, error) // oldest first
	Delete(ctx context.Context, target string) error
}
