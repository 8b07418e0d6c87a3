package access

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// keyRotated is the body of the leaf key.rotated.
type keyRotated struct {
	Active  string `json:"active,omitempty"`  // kid that signs from now on; empty: no other than before
	Retired string `json:"retired,omitempty"` // kid that only verifies from now on
	Next    string `json:"next,omitempty"`    // kid that was published
	By      string `json:"by,omitempty"`      // pseudonym; empty: the schedule
}

// keyRemoved is the body of the leaf key.removed.
type keyRemoved struct {
	Key string `json:"key"`
	Was string `json:"was"`          // its state before
	Why string `json:"why"`          // over, algorithm or emergency
	By  string `json:"by,omitempty"` // pseudonym
}

// Why a key verifies nothing any more, in the leaf key.removed.
const (
	keyOver      = "over"      // the last token that it signed has ended
	keyAlgorithm = "algorithm" // another one is configured, and it never signed
	keyEmergency = "emergency"
)

// keyring is the keys that verify, inside one transaction.
type keyring struct {
	*work
	next, active *TokenKey
	retired      []TokenKey
	told         keyRotated
	changed      []TokenKey // rows to write once the leaf is there
	fresh        []TokenKey
}

func (w *work) keyring(ctx context.Context) (*keyring, error) {
	rows, err := w.tx.TokenKeys().In(ctx, KeyNext, KeyActive, KeyRetired)
	if err != nil {
		return nil, err
	}
	k := &keyring{work: w}
	for _, row := range rows {
		switch row.State {
		case KeyNext:
			k.next = &row
		case KeyActive:
			k.active = &row
		default:
			k.retired = append(k.retired, row)
		}
	}
	return k, nil
}

// publish makes a key known that will sign later.
func (k *keyring) publishNext(ctx context.Context) error {
	row, err := k.generate(ctx)
	if err != nil {
		return err
	}
	k.fresh, k.told.Next = append(k.fresh, row), row.ID
	k.next = &k.fresh[len(k.fresh)-1]
	return nil
}

func (k *keyring) generate(ctx context.Context) (TokenKey, error) {
	var key tokens.PrivateKey
	for { // a kid is an argument of a command: one that looks like a flag is none
		var err error
		if key, err = tokens.GenerateKey(k.tokenKeys.Alg); err != nil {
			return TokenKey{}, fmt.Errorf("token key: %w", err)
		}
		if !strings.HasPrefix(key.Public().ID, "-") {
			break
		}
	}
	public := key.Public()
	der, err := x509.MarshalPKIXPublicKey(public.Key)
	if err != nil {
		return TokenKey{}, fmt.Errorf("token key: %w", err)
	}
	private, err := key.Marshal()
	if err != nil {
		return TokenKey{}, fmt.Errorf("token key: %w", err)
	}
	sealed, err := k.seal.Seal(ctx, privateOf(public.ID), private)
	if err != nil {
		return TokenKey{}, fmt.Errorf("seal the token key %s: %w", public.ID, err)
	}
	return TokenKey{ID: public.ID, Alg: string(public.Alg), State: KeyNext, Public: der, Sealed: sealed, PublishedAt: k.now}, nil
}

// retire has the active key sign no more. Its private part is gone with that.
func (k *keyring) retire() {
	old := *k.active
	old.State, old.Sealed, old.RetiredAt, old.Until = KeyRetired, nil, k.now, k.now.Add(verifiesOn)
	k.changed, k.retired, k.told.Retired, k.active = append(k.changed, old), append(k.retired, old), old.ID, nil
}

// activate has the next key sign; of none, a fresh one that nobody knows yet.
func (k *keyring) activate(ctx context.Context) error {
	if k.next == nil {
		row, err := k.generate(ctx)
		if err != nil {
			return err
		}
		row.State, row.ActivatedAt = KeyActive, k.now
		k.fresh, k.told.Active, k.active = append(k.fresh, row), row.ID, &row
		return nil
	}
	row := *k.next
	row.State, row.ActivatedAt = KeyActive, k.now
	k.changed, k.told.Active, k.active, k.next = append(k.changed, row), row.ID, &row, nil
	return nil
}

// end has a key verify nothing any more, with its own leaf.
func (k *keyring) end(ctx context.Context, row TokenKey, state TokenKeyState, why, by string) error {
	was := row.State
	row.State, row.Sealed, row.EndedAt = state, nil, k.now
	if err := k.tx.TokenKeys().Update(ctx, row); err != nil {
		return err
	}
	reason := grant.Ended
	if state == KeyRemoved {
		reason = grant.Revoked
	}
	k.remove(feed.Everyone, feed.KindKey, row.ID, string(reason))
	_, err := k.leaf(ctx, audit.TypeKeyRemoved, row.ID, keyRemoved{Key: row.ID, Was: string(was), Why: why, By: by}, row.ID)
	return err
}

// write stores what changed, with its leaf, and tells every instance. The key that
// signs comes last among the rows: there is one at a time.
func (k *keyring) write(ctx context.Context, by string) error {
	if len(k.changed) == 0 && len(k.fresh) == 0 {
		return nil
	}
	k.told.By = by
	subject := k.told.Active
	if subject == "" {
		subject = k.told.Next
	}
	index, err := k.leaf(ctx, audit.TypeKeyRotated, subject, k.told, k.told.Active, k.told.Retired, k.told.Next)
	if err != nil {
		return err
	}
	for _, row := range k.changed {
		if err := k.tx.TokenKeys().Update(ctx, row); err != nil {
			return err
		}
		k.put(feed.Everyone, k.keyResource(row))
	}
	for _, row := range k.fresh {
		row.Leaf = index
		if err := k.tx.TokenKeys().Insert(ctx, row); err != nil {
			return err
		}
		k.put(feed.Everyone, k.keyResource(row))
	}
	return nil
}

// known reports whether the next key may sign: it was published for so long that
// no instance that may still decide has not heard of it, or each of them has said
// that it has.
func (k *keyring) known(ctx context.Context) (aged, acked bool, err error) {
	if k.next == nil {
		return false, false, nil
	}
	aged = !k.now.Before(k.next.PublishedAt.Add(k.tokenKeys.Overlap))
	running, err := k.tx.Instances().List(ctx)
	if err != nil {
		return false, false, fmt.Errorf("instances: %w", err)
	}
	for _, i := range running {
		lease := later(i.LastPong, i.JoinedAt).Add(i.StaleAfter + time.Second)
		if k.now.Before(lease) && i.Acked.Revision <= k.next.Leaf {
			return aged, false, nil
		}
	}
	return aged, true, nil
}

var errNoKey = errors.New("no key signs tokens")
