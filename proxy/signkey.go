package proxy

import (
	"crypto/x509"
	"fmt"
	"maps"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// signers is what tokens verify under, as the feed told it: an immutable snapshot.
// Without a key nothing verifies.
type signers struct {
	issuer string
	set    *tokens.KeySet
	keys   map[string]signer // by kid
}

// signer is one key and who issues tokens with it.
type signer struct {
	tokens.PublicKey
	issuer string
}

func newSigners() *signers {
	set, _ := tokens.NewKeySet(nil) // of none there is nothing to refuse
	return &signers{set: set}
}

// Keys returns the keys that access tokens verify under, and their issuer; "" until
// the feed has told a key.
func (t *Table) Keys() (set *tokens.KeySet, issuer string) {
	s := t.state.Load().signers
	return s.set, s.issuer
}

// Verifies returns nil while the table holds a key of tokens, and for "", which is no
// token's: else the denial of a token that was verified under it.
func (t *Table) Verifies(kid string) error { return t.state.Load().verifies(kid) }

func (s *state) verifies(kid string) error {
	if _, ok := s.signers.set.Lookup(kid); !ok && kid != "" {
		return grant.Deny(grant.BadToken, "the key of the token was removed")
	}
	return nil
}

// newSigner reads a key as the feed tells it. An error says why it may not be held.
func newSigner(r *feed.Resource) (signer, error) {
	m := r.GetKey()
	key, err := x509.ParsePKIXPublicKey(m.GetPublicKey())
	if err != nil {
		return signer{}, fmt.Errorf("key %q: %w", r.GetId(), err)
	}
	public := tokens.PublicKey{ID: r.GetId(), Alg: tokens.Alg(m.GetAlg()), Key: key}
	if _, err := tokens.NewKeySet([]tokens.PublicKey{public}); err != nil {
		return signer{}, fmt.Errorf("key %q: %w", r.GetId(), err)
	}
	if err := checkOrigin(m.GetIssuer()); err != nil {
		return signer{}, fmt.Errorf("key %q: its issuer %w", r.GetId(), err)
	}
	return signer{public, m.GetIssuer()}, nil
}

// putSigner takes a key in, and dropSigner out.
func (d *draft) putSigner(k signer) error {
	old, known := d.signers.keys[k.ID]
	if err := d.editSigners(func(m map[string]signer) { m[k.ID] = k }); err != nil {
		return err
	}
	if known {
		d.discount(remadeKey(old), tenthOf(k.ID))
	}
	d.count(remadeKey(k), tenthOf(k.ID))
	return nil
}

func (d *draft) dropSigner(kid string) {
	old, known := d.signers.keys[kid]
	_ = d.editSigners(func(m map[string]signer) { delete(m, kid) }) // what is left was held before
	if known {
		d.discount(remadeKey(old), tenthOf(kid))
	}
}

func (d *draft) editSigners(edit func(map[string]signer)) error {
	next := &signers{keys: maps.Clone(d.signers.keys)}
	if next.keys == nil {
		next.keys = map[string]signer{}
	}
	edit(next.keys)
	list := make([]tokens.PublicKey, 0, len(next.keys))
	for _, k := range next.keys {
		if next.issuer != "" && next.issuer != k.issuer {
			return fmt.Errorf("key %q is of another issuer than the others", k.ID)
		}
		next.issuer, list = k.issuer, append(list, k.PublicKey)
	}
	set, err := tokens.NewKeySet(list)
	if err != nil {
		return err
	}
	next.set, d.signers = set, next
	return nil
}
