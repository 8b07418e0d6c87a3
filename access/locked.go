package access

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// notLocked refuses a principal that is locked, by any account of the same human:
// those of today's policy and profiles, and those that a lock has met before.
// Every verb that grants, decides or opens something asks it in its transaction.
func (w *work) notLocked(ctx context.Context, set *policy.Set, p identity.Principal) error {
	held, err := isLocked(ctx, w.tx, set, p)
	if err != nil {
		return err
	}
	if held {
		return fault(CodeLocked, "", "%s is locked: nothing is granted to it, and it decides nothing", clip(p.String()))
	}
	return nil
}

// isLocked reports whether a principal is locked, by any account of the same human.
func isLocked(ctx context.Context, tx Tx, set *policy.Set, p identity.Principal) (bool, error) {
	accounts, err := accountsOf(ctx, tx, set, p)
	if err != nil {
		return false, err
	}
	held, err := tx.Locks().Holding(ctx, texts(accounts))
	if err != nil {
		return false, fmt.Errorf("locks: %w", err)
	}
	return len(held) > 0, nil
}

// mayLogIn is notLocked for a login, which may come before the first policy; no
// lock does.
func (w *work) mayLogIn(ctx context.Context, p identity.Principal) error {
	set, err := w.inForce(ctx, w.tx)
	if CodeOf(err) == CodeNoPolicy {
		return nil
	}
	if err != nil {
		return err
	}
	return w.notLocked(ctx, set, p)
}

// extendLocks has every lock take effect on accounts that belong to its human
// since it was made: by a commit of policy, or by an address that a provider told.
func (w *work) extendLocks(ctx context.Context, set *policy.Set) error {
	all, err := w.tx.Locks().List(ctx)
	if err != nil {
		return fmt.Errorf("locks: %w", err)
	}
	for _, l := range all {
		found, err := w.foundOut(ctx, set, l)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		if err := w.tx.Locks().Extend(ctx, l.Target, found); err != nil {
			return err
		}
		out, err := w.shut(ctx, l, found)
		if err != nil {
			return err
		}
		if err := w.lockLeaf(ctx, lockLeaf{Operation: policy.OwnPrincipalsLock}, out, found); err != nil {
			return err
		}
	}
	return nil
}

// foundOut lists accounts of a lock's human that the lock has not met yet.
func (w *work) foundOut(ctx context.Context, set *policy.Set, l Lock) ([]identity.Principal, error) {
	known := map[identity.Principal]bool{}
	for _, p := range l.Accounts {
		known[p] = true
	}
	start := l.Accounts
	if person, err := identity.ParsePerson(l.Target); err == nil {
		start = append(start[:len(start):len(start)], set.AccountsOf(person)...)
	}
	var out []identity.Principal
	for _, p := range start {
		same, err := accountsOf(ctx, w.tx, set, p)
		if err != nil {
			return nil, err
		}
		for _, a := range same {
			if !known[a.Principal] {
				known[a.Principal] = true
				out = append(out, a.Principal)
			}
		}
	}
	return out, nil
}
