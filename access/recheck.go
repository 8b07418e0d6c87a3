package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mayflyproxy/mayfly/identity"
)

// MaxIdentityAge is the longest that the word of an identity provider may count
// for a person with live access. DefaultIdentityAge is how long it does where
// nothing else is said.
const (
	MaxIdentityAge     = time.Hour
	DefaultIdentityAge = 10 * time.Minute
)

const (
	refreshTimeout = 5 * time.Second  // of one question to a provider
	refreshRest    = 30 * time.Second // between two questions that callers gave rise to, about one person
	recheckBatch   = 128              // persons of one pass
	recheckAtOnce  = 16
	idleEvery      = time.Minute
)

// Recheck asks the identity provider again about every person who holds a live
// grant or session and whose login left a refresh token, once two thirds of
// Config.IdentityMaxAge have passed since it last stood for them. Its no ends all
// sessions and grants of that account at once. Silence does when the whole age has
// passed, after it was asked again and again; where mayflyd itself was away, after
// one try. Persons without a refresh token are not asked about.
//
// It is one pass, cheap when nothing is due. Call it each second, by its own loop:
// a provider that hangs holds a pass up.
func (s *Service) Recheck(ctx context.Context) error {
	if s.identities == nil {
		return nil
	}
	var due []Identity
	var now time.Time
	err := s.store.View(ctx, func(tx Tx) (err error) {
		now = tx.Now()
		due, err = tx.Identities().Due(ctx, s.dueAt(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("identities to ask about: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(recheckAtOnce)
	for _, i := range due {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			leave, _ := s.asking.enter(i.Principal, now, 0)
			if leave == nil {
				return nil // asked about already
			}
			defer leave()
			return s.recheck(ctx, i.Principal, s.isDue)
		})
	}
	return errors.Join(g.Wait(), s.forgetIdle(ctx, now))
}

func (s *Service) dueAt(now time.Time) IdentityDue {
	return IdentityDue{Now: now, Checked: now.Add(-s.identityAge * 2 / 3), Over: now.Add(-s.identityAge), Limit: recheckBatch}
}

// isDue says of one identity what IdentityStore.Due says of all.
func (s *Service) isDue(i Identity, now time.Time) bool {
	d := s.dueAt(now)
	return !i.CheckedAt.After(d.Checked) && !i.RetryAt.After(now) || !i.CheckedAt.After(d.Over)
}

// recheck asks about one account, if due says so of it as it stands now, and acts
// on the answer. The caller has entered s.asking for it: many providers take a
// refresh token once, and take a second time for theft.
//
// A question that has begun is brought to its end whatever becomes of ctx: the
// answer may hold the only token that still counts.
func (s *Service) recheck(ctx context.Context, p identity.Principal, due func(Identity, time.Time) bool) error {
	var i Identity
	var now time.Time
	err := s.store.View(ctx, func(tx Tx) (err error) {
		now = tx.Now()
		i, err = tx.Identities().Get(ctx, p)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if !due(i, now) {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	answer, err := s.ask(ctx, i, now)
	if err != nil {
		s.log.WarnContext(ctx, "a person was not confirmed by the identity provider", "provider", providerOf(p), "error", err)
	}
	return s.update(ctx, func(w *work) error { return w.heard(ctx, i, now, answer, err) })
}

// errUnasked is why somebody is not asked about once more: it was tried until now.
var errUnasked = errors.New("the provider gave no answer in time")

// errMute is why somebody is not asked about now.
var errMute = errors.New("the provider answers nobody")

// ask asks the provider about i. No answer is waited for beyond the time that i has
// left; if none is left, there is one try, unless one was made lately. A provider
// that answers nobody is tried now and then, not about each: the persons of others
// are not kept waiting, and its own end in time.
func (s *Service) ask(ctx context.Context, i Identity, now time.Time) (Login, error) {
	limit := refreshTimeout
	if left := i.CheckedAt.Add(s.identityAge).Sub(now); left > 0 {
		limit = min(limit, left)
	} else if now.Sub(i.TriedAt) <= s.identityAge/3 {
		return Login{}, errUnasked
	}
	provider := providerOf(i.Principal)
	if s.asking.silent(provider, now, s.identityAge/60) {
		return Login{}, errMute
	}
	token, err := s.seal.Open(ctx, refreshOf(i.Principal), i.Sealed)
	if err != nil {
		return Login{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := s.identities.Refresh(ctx, provider, token)
	s.asking.answered(provider, now, err == nil || errors.Is(err, ErrIdentityRefused))
	if err == nil && l.Principal != i.Principal {
		return Login{}, fmt.Errorf("the answer is about another account: %w", ErrIdentityRefused)
	}
	return l, err
}

// providerOf returns the configured name of the provider of an account.
func providerOf(p identity.Principal) string {
	_, rest, _ := strings.Cut(p.String(), ":")
	idp, _, _ := strings.Cut(rest, ":")
	return idp
}

// heard acts on what was said about an identity that was asked about at an
// instant. A login that came meanwhile is not touched: the answer is about the one
// before it.
func (w *work) heard(ctx context.Context, asked Identity, at time.Time, answer Login, said error) error {
	held, err := w.tx.Identities().Get(ctx, asked.Principal)
	if errors.Is(err, ErrNotFound) || err == nil && !bytes.Equal(held.Sealed, asked.Sealed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	switch {
	case said == nil:
		return w.vouched(ctx, held, at, answer)
	case errors.Is(said, ErrIdentityRefused):
		return w.disown(ctx, held, whyRefused)
	case !w.now.Before(held.CheckedAt.Add(w.identityAge)):
		return w.disown(ctx, held, whySilent)
	default:
		return w.tx.Identities().Put(ctx, w.later(held))
	}
}

// later notes a try without an answer: the next one comes after twice the wait
// before, within bounds that allow for several in the time that is left.
func (w *work) later(i Identity) Identity {
	wait := min(max(2*i.RetryAt.Sub(i.TriedAt), w.identityAge/60), w.identityAge/15)
	i.TriedAt, i.RetryAt = w.now, w.now.Add(wait)
	return i
}

// refreshed returns a session as it is after its provider was asked about groups
// that are too old to decide; as it was if that cannot be. Callers give rise to one
// question a person in 30 s, and wait 5 s at most.
func (s *Service) refreshed(ctx context.Context, v Session, now time.Time) error {
	leave, busy := s.asking.enter(v.Principal, now, refreshRest)
	if leave != nil {
		defer leave()
		return s.recheck(ctx, v.Principal, func(Identity, time.Time) bool { return true })
	}
	if busy == nil {
		return nil // asked about lately
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	select {
	case <-busy:
	case <-ctx.Done():
	}
	return nil
}

// forgetIdle deletes the tokens of those who hold nothing, once a minute.
func (s *Service) forgetIdle(ctx context.Context, now time.Time) error {
	if !s.asking.tidy(now) {
		return nil
	}
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		idle, err := tx.Identities().Idle(ctx, tx.Now(), 1)
		return len(idle) > 0, err
	}, func(w *work) error {
		idle, err := w.tx.Identities().Idle(ctx, w.now, sweepBatch)
		if err != nil {
			return err
		}
		for _, p := range idle {
			if err := w.tx.Identities().Delete(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}
