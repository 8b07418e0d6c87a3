package access

import (
	"context"
	"errors"
	"time"
)

// TokenKeyView is a key as it is shown: never its private part.
type TokenKeyView struct {
	TokenKey
	SignsUntil time.Time     // of the active key: when the schedule has another one sign
	SignsFrom  time.Time     // of the next key: when it may sign at the earliest
	Age        time.Duration // since it was published
}

// Keys lists the keys of the token service, the newest first, those that verify
// nothing any more included: for the security group.
func (s *Service) Keys(ctx context.Context, c Caller) ([]TokenKeyView, error) {
	var out []TokenKeyView
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		if err := v.everything(); err != nil {
			return err
		}
		rows, err := tx.TokenKeys().List(ctx, maxPage)
		for _, row := range rows {
			row.Sealed = nil
			one := TokenKeyView{TokenKey: row, Age: tx.Now().Sub(row.PublishedAt)}
			switch row.State {
			case KeyActive:
				one.SignsUntil = row.ActivatedAt.Add(s.tokenKeys.RotateEvery)
			case KeyNext:
				one.SignsFrom = row.PublishedAt.Add(s.tokenKeys.Overlap)
			}
			out = append(out, one)
		}
		return err
	})
	return out, err
}

// RotateKeys has the next key sign at once, and publishes another: for the security
// group. The key before it still verifies until its last token has ended. A next
// key that was published too lately is refused; now has it sign all the same, once
// every gateway that may decide has acknowledged it.
func (s *Service) RotateKeys(ctx context.Context, c Caller, now bool) error {
	return s.changeKeys(ctx, c, func(k *keyring, by string) error {
		aged, acked, err := k.known(ctx)
		switch {
		case err != nil:
			return err
		case !aged && !now:
			return fault(CodeTooSoon, "mayfly keys rotate --now", "the next key was published at %s, and others may not know it before %s",
				k.next.PublishedAt.UTC().Format(time.RFC3339), k.next.PublishedAt.Add(k.tokenKeys.Overlap).UTC().Format(time.RFC3339))
		case !aged && !acked:
			return fault(CodeTooSoon, "mayfly nodes", "a gateway has not acknowledged the next key yet: try again in a moment")
		}
		k.retire()
		return k.settle(ctx, by)
	})
}

// RemoveKey has a key verify nothing any more, at once and everywhere, whatever
// tokens it signed: for the security group. If it is the one that signs, the next
// one does from now on. Doing it twice changes nothing.
func (s *Service) RemoveKey(ctx context.Context, c Caller, kid string) error {
	return s.changeKeys(ctx, c, func(k *keyring, by string) error {
		row, err := k.tx.TokenKeys().Get(ctx, kid)
		switch {
		case errors.Is(err, ErrNotFound):
			return fault(CodeNotFound, "mayfly keys", "there is no key %q", clip(kid))
		case err != nil:
			return err
		case !row.State.Verifies():
			return nil
		}
		if err := k.end(ctx, row, KeyRemoved, keyEmergency, by); err != nil {
			return err
		}
		switch row.State {
		case KeyActive:
			k.active = nil
		case KeyNext:
			k.next = nil
		}
		return k.settle(ctx, by)
	})
}

// changeKeys runs f for a member of the security group. Changing keys widens
// nothing, so it needs no grant, as ending access needs none.
func (s *Service) changeKeys(ctx context.Context, c Caller, f func(k *keyring, by string) error) error {
	if s.seal == nil {
		return errNoTokens
	}
	return s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		if err := w.notLocked(ctx, set, c.Principal); err != nil {
			return err
		}
		member, err := inSecurity(set, c, w.now)
		if err != nil {
			return err
		}
		if !member {
			return fault(CodeNotEligible, "", "only members of the group that policy names security change the keys")
		}
		by, err := w.pseudonym(ctx, c.Principal)
		if err != nil {
			return err
		}
		k, err := w.keyring(ctx)
		if err != nil {
			return err
		}
		if k.active == nil || k.next == nil {
			if err := k.settle(ctx, ""); err != nil {
				return err
			}
			if k, err = w.keyring(ctx); err != nil {
				return err
			}
		}
		return f(k, by)
	})
}
