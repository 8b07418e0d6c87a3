package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// Why an account lost what it held, in the leaf identity.refused.
const (
	whyRefused = "refused" // its provider said no
	whySilent  = "silent"  // its provider said nothing for too long
)

type (
	// identityRefused is the body of the leaf identity.refused.
	identityRefused struct {
		Principal string     `json:"principal"` // pseudonym
		Why       string     `json:"why"`
		CheckedAt audit.Time `json:"checked_at"` // when the provider last stood for it
		Sessions  string     `json:"sessions"`   // how many ended
		Grants    string     `json:"grants"`
	}
	// identityChanged is the body of the leaf identity.changed.
	identityChanged struct {
		Principal string `json:"principal"` // pseudonym
		Sessions  string `json:"sessions"`  // how many have other groups now
	}
)

// remembers keeps the refresh token of a login in place of the one before it. A
// login without one leaves nothing to ask by.
func (w *work) remembers(ctx context.Context, l Login) error {
	if w.seal == nil || len(l.Refresh) == 0 {
		return w.tx.Identities().Delete(ctx, l.Principal)
	}
	sealed, err := w.seal.Seal(ctx, refreshOf(l.Principal), l.Refresh)
	if err != nil {
		return err
	}
	return w.tx.Identities().Put(ctx, Identity{Principal: l.Principal, Sealed: sealed, CheckedAt: w.now})
}

// vouched takes over what the provider said of an account when it was asked at an
// instant: token, profile, and the groups of its live sessions.
func (w *work) vouched(ctx context.Context, i Identity, at time.Time, l Login) error {
	i.CheckedAt, i.TriedAt, i.RetryAt = at, time.Time{}, time.Time{}
	if len(l.Refresh) > 0 {
		var err error
		if i.Sealed, err = w.seal.Seal(ctx, refreshOf(i.Principal), l.Refresh); err != nil {
			return err
		}
	}
	if err := w.tx.Identities().Put(ctx, i); err != nil {
		return err
	}
	if err := w.renewProfile(ctx, l); err != nil {
		return err
	}
	set, err := w.inForce(ctx, w.tx)
	if err != nil && CodeOf(err) != CodeNoPolicy {
		return err
	}
	if set != nil {
		if err := w.extendLocks(ctx, set); err != nil { // first: what it ends is not told again as changed
			return err
		}
	}
	if !l.GroupsAt.IsZero() && l.GroupsAt.Before(at) {
		at = l.GroupsAt
	}
	return w.regroup(ctx, set, i.Principal, l.Groups, at)
}

// renewProfile keeps what the provider did not tell this time: an address that is
// only left out must not make one human two (P6).
func (w *work) renewProfile(ctx context.Context, l Login) error {
	name, email, err := w.tx.Persons().Profile(ctx, l.Principal)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("profile: %w", err)
	}
	if l.Name != "" {
		name = l.Name
	}
	if l.Email != "" {
		email = mailbox(l.Email)
	}
	if err := w.tx.Persons().SetProfile(ctx, l.Principal, name, email); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// regroup gives the live sessions of p the groups that its provider told at an
// instant, and tells the instances that hold one with others.
func (w *work) regroup(ctx context.Context, set *policy.Set, p identity.Principal, groups []identity.Group, at time.Time) error {
	live, err := w.allLive(ctx, SessionFilter{Principal: p})
	if err != nil {
		return err
	}
	changed := 0
	for _, s := range live {
		if !s.GroupsAt.Before(at) {
			continue
		}
		if err := w.tx.Sessions().SetGroups(ctx, s.ID, groups, at); err != nil {
			return err
		}
		if sameGroups(s.Groups, groups) {
			continue
		}
		changed++
		s.Groups, s.GroupsAt = groups, at
		if a, ok := appOf(set, s); ok {
			w.put(s.App, sessionResource(set, a, s))
		}
	}
	if changed == 0 {
		return nil
	}
	name, err := w.pseudonym(ctx, p)
	if err != nil {
		return err
	}
	_, err = w.leaf(ctx, audit.TypeIdentityChanged, name, identityChanged{Principal: name, Sessions: strconv.Itoa(changed)})
	return err
}

func appOf(set *policy.Set, s Session) (policy.App, bool) {
	if set == nil || s.Kind != SessionApp {
		return policy.App{}, false
	}
	return set.App(s.App)
}

func sameGroups(a, b []identity.Group) bool {
	sorted := func(in []identity.Group) []identity.Group {
		out := slices.Clone(in)
		slices.SortFunc(out, func(x, y identity.Group) int { return strings.Compare(x.String(), y.String()) })
		return slices.Compact(out)
	}
	return slices.Equal(sorted(a), sorted(b))
}

// disown ends every session and live grant of an account that its provider does
// not stand for any more. The reason that a grant is told to have ended for is
// session_ended, whichever it was: the person may log in again and ask again, if
// the provider lets them. Why it was is in the leaf.
func (w *work) disown(ctx context.Context, i Identity, why string) error {
	who := []identity.Principal{i.Principal}
	sessions, err := w.endSessionsOf(ctx, who, grant.SessionEnded)
	if err != nil {
		return err
	}
	grants, err := w.endGrantsOf(ctx, who, grant.SessionEnded, identity.Principal{})
	if err != nil {
		return err
	}
	if err := w.tx.Identities().Delete(ctx, i.Principal); err != nil {
		return err
	}
	name, err := w.pseudonym(ctx, i.Principal)
	if err != nil {
		return err
	}
	_, err = w.leaf(ctx, audit.TypeIdentityRefused, name, identityRefused{
		Principal: name, Why: why, CheckedAt: audit.At(i.CheckedAt), Sessions: strconv.Itoa(sessions), Grants: strconv.Itoa(grants),
	})
	return err
}

// endGrantsOf revokes every live grant of these accounts and returns how many.
func (w *work) endGrantsOf(ctx context.Context, who []identity.Principal, why grant.Reason, by identity.Principal) (int, error) {
	var live []grant.Grant
	for _, p := range who {
		if p.IsZero() { // an empty filter would be everybody
			continue
		}
		err := eachLive(ctx, w.tx, GrantFilter{Principal: p}, func(g grant.Grant) error {
			live = append(live, g)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if len(live) == 0 {
		return 0, nil
	}
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return 0, err
	}
	for _, g := range live {
		if err := w.end(ctx, set, g, audit.TypeGrantRevoked, why, by); err != nil {
			return 0, err
		}
	}
	return len(live), nil
}

// mailbox is how a verified address is kept and compared.
func mailbox(email string) string { return strings.ToLower(strings.TrimSpace(email)) }
