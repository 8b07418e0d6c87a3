package grant

import (
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// MaxTerm is the longest that any grant may last, whatever policy, database or
// feed say (P1). It is compiled in: no configuration reaches it.
const MaxTerm = 24 * time.Hour

// Grant is access in force from NotBefore to NotAfter, exclusive. Stored are
// its times and its marks; its State derives from them and the clock. The zero
// value permits nothing.
type Grant struct {
	ID          GrantID
	Request     RequestID
	Principal   identity.Principal
	Pseudonym   string // p_…, how the record names the principal
	Entitlement string
	Scope       scope.Scope
	Class       scope.Class // the stricter of the entitlement's and its operations'
	NotBefore   time.Time
	NotAfter    time.Time
	Revoked     time.Time // zero: not revoked
	Finished    time.Time // zero: not finished by its holder
	EndedEarly  Reason    // why revoked other than by a person, such as policy_changed; may be empty
	// IdleAfter is how long it may lie unused until it ends; 0: to its end. Only
	// the control plane knows of the last use.
	IdleAfter time.Duration
}

// State is derived, never stored.
type State string

// The states of a grant.
const (
	Scheduled    State = "scheduled"
	Active       State = "active"
	EndedState   State = "ended"
	RevokedState State = "revoked"
)

// ErrTerm is wrapped by every error about a grant's times.
var ErrTerm = errors.New("grant without a proper end")

// Check reports whether g is whole: ids, principal, a scope, and an end no later
// than MaxTerm after its beginning (P1). Whoever stores or receives a grant
// calls it and refuses what it refuses.
func (g Grant) Check() error {
	switch {
	case g.ID.IsZero(), g.Principal.IsZero(), g.Scope.App == "", len(g.Scope.Rules) == 0:
		return fmt.Errorf("grant %s is not whole", g.ID)
	default:
		return g.CheckTerm()
	}
}

// CheckTerm is the part of Check that is about times.
func (g Grant) CheckTerm() error {
	switch {
	case g.NotBefore.IsZero(), g.NotAfter.IsZero(), !g.NotAfter.After(g.NotBefore):
		return fmt.Errorf("%w: %s runs from %s to %s", ErrTerm, g.ID, g.NotBefore, g.NotAfter)
	case g.NotAfter.Sub(g.NotBefore) > MaxTerm:
		return fmt.Errorf("%w: %s is longer than %s", ErrTerm, g.ID, MaxTerm)
	}
	return nil
}

// StateAt returns the state at an instant. A mark counts from its time on.
func (g Grant) StateAt(now time.Time) State {
	switch {
	case !g.Revoked.IsZero() && g.EndedEarly != Idle:
		return RevokedState
	case !g.Revoked.IsZero(): // for want of use: nobody's will
		return EndedState
	case !g.Finished.IsZero(), !now.Before(g.NotAfter):
		return EndedState
	case now.Before(g.NotBefore):
		return Scheduled
	default:
		return Active
	}
}

// EndsAt returns the instant from which g permits nothing: the earliest of its
// end and its marks.
func (g Grant) EndsAt() time.Time {
	end := g.NotAfter
	for _, mark := range []time.Time{g.Revoked, g.Finished} {
		if !mark.IsZero() && mark.Before(end) {
			end = mark
		}
	}
	return end
}

// Permits reports whether g lets p do op at now: nil is yes, a *Denial says why
// not. It reads no clock, store or network.
func (g Grant) Permits(p identity.Principal, op scope.Operation, now time.Time) error {
	if p.IsZero() || g.Principal != p {
		return Deny(NoGrant, "this grant belongs to someone else")
	}
	if err := g.InForce(now); err != nil {
		return err
	}
	if err := g.Scope.Covers(op); err != nil {
		return outside(g.ID, err)
	}
	return nil
}

// InForce reports whether g is active at now: nil is yes, a *Denial says why not.
func (g Grant) InForce(now time.Time) error {
	if err := g.Check(); err != nil {
		return Deny(UnsupportedGrant, "grant %s is not one that may be enforced", g.ID).Because(err)
	}
	switch g.StateAt(now) {
	case Active:
		return nil
	case Scheduled:
		return Deny(NotYet, "grant %s begins at %s", g.ID, clockText(g.NotBefore))
	case RevokedState:
		if g.EndedEarly == PolicyChanged {
			return Deny(PolicyChanged, "grant %s ended at %s because the policy changed", g.ID, clockText(g.Revoked))
		}
		if g.EndedEarly == Locked {
			return Deny(Locked, "grant %s ended at %s because its holder was locked", g.ID, clockText(g.Revoked))
		}
		return Deny(Revoked, "grant %s was revoked at %s", g.ID, clockText(g.Revoked))
	default:
		if g.EndedEarly == Idle {
			return Deny(Idle, "grant %s ended at %s because it was not used", g.ID, clockText(g.EndsAt()))
		}
		return Deny(Ended, "grant %s ended at %s", g.ID, clockText(g.EndsAt()))
	}
}

func outside(id GrantID, err error) *Denial {
	var miss *scope.Miss
	if errors.As(err, &miss) && miss.Kind == scope.MissConstraint {
		return Deny(ConstraintUnmet, "grant %s: %s", id, miss.Error()).Because(err)
	}
	return Deny(OutOfScope, "grant %s: %s", id, err.Error()).Because(err)
}

func clockText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
