package access

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// Locked is a lock as a verb leaves or finds it.
type Locked struct {
	Lock
	Shown    string // the name of its first account
	Same     bool   // it was locked before, and nothing has changed
	Sessions int    // how many the lock ended
	Grants   int
	Requests int
}

// lockLeaf is the body of the leaf administration about a lock.
type lockLeaf struct {
	Operation string   `json:"operation"`
	Accounts  []string `json:"accounts"`         // pseudonyms
	By        string   `json:"by,omitempty"`     // pseudonym; empty: the lock met more accounts of the same human
	Under     string   `json:"under,omitempty"`  // the grant; empty: as a member of the security group
	Reason    string   `json:"reason,omitempty"` // HMAC of the words under the first account's key
	Sessions  string   `json:"sessions,omitempty"`
	Grants    string   `json:"grants,omitempty"`
	Requests  string   `json:"requests,omitempty"`
}

// Lock keeps a human or a workload out: in one transaction it ends every session
// and live grant of theirs and denies what they asked for, and until it is taken
// off nothing is granted to them, they open no session and decide nothing. target
// is a principal, or the name of a person of policy; a human is locked by every
// account, those found out later included. It ends access, so the security group
// may at any time, and others under a grant of principals.lock. Doing it twice
// changes nothing.
func (s *Service) Lock(ctx context.Context, c Caller, target, reason string) (Locked, error) {
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return Locked{}, fault(CodeInvalid, "", "the reason is not text of at most %d bytes", maxReason)
	}
	var out Locked
	err := s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		name, accounts, err := w.whom(ctx, set, target)
		if err != nil {
			return err
		}
		leaf := lockLeaf{Operation: policy.OwnPrincipalsLock}
		if err := w.notLocked(ctx, set, c.Principal); err != nil {
			return err
		}
		if leaf.Under, err = w.mayEnd(ctx, set, c, own(leaf.Operation, map[string]string{policy.OwnAttributePrincipal: name})); err != nil {
			return err
		}
		if slices.Contains(accounts, c.Principal) { // nobody unlocks themselves, and the last one could not be let in again
			return fault(CodeNotEligible, "mayfly logout", "nobody locks themselves: have another of the security group do it")
		}
		held, err := w.tx.Locks().Holding(ctx, append(textsOf(accounts), name))
		if err != nil {
			return err
		}
		for _, l := range held {
			if covers(l.Accounts, accounts) {
				out = Locked{Lock: l, Same: true}
				out.Shown, err = shown(ctx, w.tx, l.Accounts[0])
				return err
			}
		}
		out, err = w.lock(ctx, Lock{Target: name, Accounts: accounts, By: c.Principal, At: w.now, Reason: reason}, leaf)
		return err
	})
	if err != nil {
		return Locked{}, err
	}
	return out, nil
}

// lock stores a new lock, has it take effect and puts it on the record.
func (w *work) lock(ctx context.Context, l Lock, leaf lockLeaf) (Locked, error) {
	if err := w.tx.Locks().Insert(ctx, l); err != nil {
		return Locked{}, fmt.Errorf("lock: %w", err)
	}
	out, err := w.shut(ctx, l, l.Accounts)
	if err != nil {
		return Locked{}, err
	}
	if out.Shown, err = shown(ctx, w.tx, l.Accounts[0]); err != nil {
		return Locked{}, err
	}
	if leaf.By, err = w.pseudonym(ctx, l.By); err != nil {
		return Locked{}, err
	}
	if l.Reason != "" {
		key, err := w.personKey(ctx, l.Accounts[0])
		if err != nil {
			return Locked{}, err
		}
		leaf.Reason = audit.Commit(key, "reason", l.Reason)
	}
	return out, w.lockLeaf(ctx, leaf, out, l.Accounts)
}

// shut ends all that accounts of a lock hold and wait for.
func (w *work) shut(ctx context.Context, l Lock, accounts []identity.Principal) (out Locked, err error) {
	out.Lock = l
	if out.Sessions, err = w.endSessionsOf(ctx, accounts, grant.Locked); err != nil {
		return Locked{}, err
	}
	if out.Grants, err = w.endGrantsOf(ctx, accounts, grant.Locked, l.By); err != nil {
		return Locked{}, err
	}
	for _, p := range accounts {
		n, err := w.denyPending(ctx, p, l.By)
		if err != nil {
			return Locked{}, err
		}
		out.Requests += n
		if err := w.tx.Identities().Delete(ctx, p); err != nil {
			return Locked{}, err
		}
	}
	return out, nil
}

// denyPending denies what p has asked for and nobody has decided.
func (w *work) denyPending(ctx context.Context, p, by identity.Principal) (int, error) {
	n := 0
	for {
		page, err := w.tx.Requests().List(ctx, RequestFilter{Requester: p, State: Pending, Limit: maxPage})
		if err != nil {
			return 0, fmt.Errorf("pending requests: %w", err)
		}
		for i := range page {
			if err := w.finishRequest(ctx, &page[i], Denied, audit.TypeRequestDenied, string(CodeLocked), "its requester was locked", by); err != nil {
				return 0, err
			}
			n++
		}
		if len(page) < maxPage {
			return n, nil
		}
	}
}

func (w *work) lockLeaf(ctx context.Context, leaf lockLeaf, out Locked, accounts []identity.Principal) error {
	for _, p := range accounts {
		name, err := w.pseudonym(ctx, p)
		if err != nil {
			return err
		}
		leaf.Accounts = append(leaf.Accounts, name)
	}
	if leaf.Operation == policy.OwnPrincipalsLock {
		leaf.Sessions, leaf.Grants, leaf.Requests = strconv.Itoa(out.Sessions), strconv.Itoa(out.Grants), strconv.Itoa(out.Requests)
	}
	_, err := w.leaf(ctx, audit.TypeAdministration, leaf.Accounts[0], leaf, leaf.Under)
	return err
}

// Unlock takes every lock off a human or a workload: only under a grant of
// principals.unlock that covers each of them. What the locks ended stays ended.
// Nobody unlocks themselves, by any account.
func (s *Service) Unlock(ctx context.Context, c Caller, target string) (Locked, error) {
	var out Locked
	err := s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		if err := w.notLocked(ctx, set, c.Principal); err != nil {
			return err
		}
		held, err := w.locksOf(ctx, set, c, target)
		if err != nil {
			return err
		}
		leaf := lockLeaf{Operation: policy.OwnPrincipalsUnlock}
		if leaf.By, err = w.pseudonym(ctx, c.Principal); err != nil {
			return err
		}
		for _, l := range held {
			g, err := w.acting(ctx, w.tx, set, c, own(leaf.Operation, map[string]string{policy.OwnAttributePrincipal: l.Target}))
			if err != nil {
				return err
			}
			leaf.Under = g.ID.String()
			if err := w.tx.Locks().Delete(ctx, l.Target); err != nil {
				return fmt.Errorf("unlock: %w", err)
			}
			if err := w.lockLeaf(ctx, leaf, Locked{}, l.Accounts); err != nil {
				return err
			}
		}
		out.Lock = held[0]
		out.Shown, err = shown(ctx, w.tx, out.Accounts[0])
		return err
	})
	if err != nil {
		return Locked{}, err
	}
	return out, nil
}

// locksOf returns the locks on a target, which may also be the name of a lock
// whose person policy does not list any more. To whoever may not unlock, what is
// not locked and what is are told alike.
func (w *work) locksOf(ctx context.Context, set *policy.Set, c Caller, target string) ([]Lock, error) {
	names, whose := []string{target}, target
	switch name, accounts, err := w.whom(ctx, set, target); {
	case err == nil:
		names, whose = append(textsOf(accounts), name, target), name
	case CodeOf(err) != CodeInvalid: // which locks are meant is not known
		return nil, err
	}
	held, err := w.tx.Locks().Holding(ctx, names)
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		if _, err := w.acting(ctx, w.tx, set, c, own(policy.OwnPrincipalsUnlock, map[string]string{policy.OwnAttributePrincipal: whose})); err != nil {
			return nil, err
		}
		return nil, fault(CodeNotFound, "mayfly locks", "%q is not locked", clip(target))
	}
	return held, nil
}

// Locks lists all locks, oldest first: for the security group.
func (s *Service) Locks(ctx context.Context, c Caller) ([]Locked, error) {
	var out []Locked
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := v.everything(); err != nil {
			return err
		}
		all, err := tx.Locks().List(ctx)
		for _, l := range all {
			name, err := shown(ctx, tx, l.Accounts[0])
			if err != nil {
				return err
			}
			out = append(out, Locked{Lock: l, Shown: name, Same: true})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// whom returns who a lock on target is about: the person's name in policy, else
// the principal, and every account of theirs.
func (w *work) whom(ctx context.Context, set *policy.Set, target string) (string, []identity.Principal, error) {
	p, err := identity.ParsePrincipal(target)
	if err != nil {
		person, err := identity.NamedPerson(target)
		own := set.AccountsOf(person)
		if err != nil || len(own) == 0 {
			return "", nil, fault(CodeInvalid, "name an account (user:idp:…), a SPIFFE ID, or a person under people: of policy", "%q is neither a principal nor a person that policy names", clip(target))
		}
		p = own[0]
	}
	accounts, err := accountsOf(ctx, w.tx, set, p)
	if err != nil {
		return "", nil, err
	}
	out := make([]identity.Principal, len(accounts))
	for i, a := range accounts {
		out[i] = a.Principal
	}
	return set.PersonOf(p).String(), out, nil
}

// covers reports whether all of some accounts are among those of a lock.
func covers(lock, some []identity.Principal) bool {
	return !slices.ContainsFunc(some, func(p identity.Principal) bool { return !slices.Contains(lock, p) })
}

func textsOf(accounts []identity.Principal) []string {
	out := make([]string, len(accounts))
	for i, p := range accounts {
		out[i] = p.String()
	}
	return out
}
