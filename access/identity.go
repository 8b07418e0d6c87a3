package access

import (
	"context"
	"errors"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// ErrIdentityRefused is what Identities.Refresh wraps when the provider says no:
// the person is disabled, the token is revoked or used up.
var ErrIdentityRefused = errors.New("the identity provider no longer stands for this person")

// Identities asks identity providers again about people who have logged in. It is
// safe for concurrent use.
type Identities interface {
	// Refresh turns a refresh token of the provider with that configured name into
	// what it proves of the person now: account, all groups, name, verified e-mail.
	// Login.Refresh is the token that takes its place; nil: the old one stays. The
	// provider's no wraps ErrIdentityRefused. Any other error, such as groups that
	// could not be read, is silence. It returns soon after ctx ends.
	Refresh(ctx context.Context, idp string, refresh []byte) (Login, error)
}

// Identity is what is kept of an account's newest login, so that its provider can
// be asked again.
type Identity struct {
	Principal identity.Principal
	Sealed    []byte    // the refresh token, under Config.Seal
	CheckedAt time.Time // when the provider last stood for the account
	TriedAt   time.Time // when it was last asked without an answer since CheckedAt; zero: not
	RetryAt   time.Time // not asked again before, unless all its time is up
}

// IdentityDue says which identities to ask about: those of accounts with a live
// grant or session at Now.
type IdentityDue struct {
	Now     time.Time
	Checked time.Time // last checked at or before it, and not to be left alone until later
	Over    time.Time // or last checked at or before it, however lately it was tried
	Limit   int       // 0: 100
}

// IdentityStore keeps at most one identity an account. PersonStore.Erase forgets
// it with the person.
type IdentityStore interface {
	Get(ctx context.Context, p identity.Principal) (Identity, error)
	Put(ctx context.Context, i Identity) error // again: replaces the row
	// Delete forgets the identity of p. There need not be one.
	Delete(ctx context.Context, p identity.Principal) error
	// Due lists identities to ask about, the one that was checked first first.
	Due(ctx context.Context, d IdentityDue) ([]Identity, error)
	// Idle lists accounts with an identity but nothing that it could matter to at
	// now: no live grant, no live session, no pending request.
	Idle(ctx context.Context, now time.Time, limit int) ([]identity.Principal, error)
}
