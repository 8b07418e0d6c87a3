package access

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/tokens"
)

// The bounds of TokenKeyConfig, and what stands for nothing.
const (
	DefaultKeyRotation = 720 * time.Hour
	DefaultKeyOverlap  = 10 * time.Minute
	MinKeyRotation     = time.Hour
	// MinKeyOverlap is the longest stale_after there is: a gateway that has not heard
	// of a key for so long denies everything.
	MinKeyOverlap = 5 * time.Minute
)

// verifiesOn is how long a retired key counts: the life of the last token that it
// signed, and the skew of clocks.
const verifiesOn = tokens.MaxLife + 30*time.Second

// TokenKeyConfig says how keys of the token service are made and changed.
type TokenKeyConfig struct {
	// Alg is ES256 or RS256. Empty: ES256.
	Alg tokens.Alg
	// RotateEvery is how long a key signs, at least MinKeyRotation. Zero:
	// DefaultKeyRotation.
	RotateEvery time.Duration
	// Overlap is how long a key is published before it signs, at least MinKeyOverlap.
	// Zero: DefaultKeyOverlap.
	Overlap time.Duration
}

// Check reports what is wrong with c.
func (c TokenKeyConfig) Check() error { return c.complete() }

func (c *TokenKeyConfig) complete() error {
	if c.Alg == "" {
		c.Alg = tokens.ES256
	}
	if c.RotateEvery == 0 {
		c.RotateEvery = DefaultKeyRotation
	}
	if c.Overlap == 0 {
		c.Overlap = DefaultKeyOverlap
	}
	switch {
	case c.Alg != tokens.ES256 && c.Alg != tokens.RS256:
		return fmt.Errorf("tokens.alg: tokens are signed with ES256 or RS256, not %q", c.Alg)
	case c.RotateEvery < MinKeyRotation || c.Overlap < MinKeyOverlap || c.Overlap >= c.RotateEvery:
		return fmt.Errorf("tokens: a key signs for at least %s, and is published at least %s before it does, but less than it signs", MinKeyRotation, MinKeyOverlap)
	}
	return nil
}

// signingKeys keeps the opened private part of the key that signs.
type signingKeys struct {
	mu  sync.Mutex
	kid string
	key tokens.PrivateKey
}

// signToken signs claims with the key that is active in this transaction: once a
// removal is committed, the key that it removed signs nothing.
func (s *Service) signToken(ctx context.Context, tx Tx, c tokens.Claims) (string, error) {
	key, err := s.activeKey(ctx, tx)
	if err != nil {
		return "", err
	}
	issuer, err := tokens.NewIssuer(tokens.IssuerConfig{Issuer: s.console, Key: func() (tokens.PrivateKey, error) { return key, nil }})
	if err != nil {
		return "", err
	}
	return issuer.Sign(c)
}

func (s *Service) activeKey(ctx context.Context, tx Tx) (tokens.PrivateKey, error) {
	rows, err := tx.TokenKeys().In(ctx, KeyActive)
	if err != nil {
		return tokens.PrivateKey{}, err
	}
	if len(rows) != 1 || s.seal == nil {
		return tokens.PrivateKey{}, errNoKey
	}
	row := rows[0]
	s.signing.mu.Lock()
	defer s.signing.mu.Unlock()
	if s.signing.kid == row.ID {
		return s.signing.key, nil
	}
	raw, err := s.seal.Open(ctx, privateOf(row.ID), row.Sealed)
	if err != nil {
		return tokens.PrivateKey{}, fmt.Errorf("open the token key %s: %w", row.ID, err)
	}
	key, err := tokens.ParsePrivateKey(raw)
	if err != nil {
		return tokens.PrivateKey{}, fmt.Errorf("token key %s: %w", row.ID, err)
	}
	if key.Public().ID != row.ID {
		return tokens.PrivateKey{}, fmt.Errorf("token key %s: its private part is of another key", row.ID)
	}
	s.signing.kid, s.signing.key = row.ID, key
	return key, nil
}

// TokenKeys returns the public keys that tokens verify under, with those that will
// sign later: what the JWKS document shows.
func (s *Service) TokenKeys(ctx context.Context) (*tokens.KeySet, error) {
	var set *tokens.KeySet
	err := s.store.View(ctx, func(tx Tx) (err error) {
		set, err = tokenKeys(ctx, tx)
		return err
	})
	return set, err
}

func tokenKeys(ctx context.Context, tx Tx) (*tokens.KeySet, error) {
	rows, err := tx.TokenKeys().In(ctx, KeyNext, KeyActive, KeyRetired)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(k TokenKey) bool { return k.State == KeyRetired && !tx.Now().Before(k.Until) })
	public := make([]tokens.PublicKey, len(rows))
	for i, row := range rows {
		key, err := x509.ParsePKIXPublicKey(row.Public)
		if err != nil {
			return nil, fmt.Errorf("token key %s: %w", row.ID, err)
		}
		public[i] = tokens.PublicKey{ID: row.ID, Alg: tokens.Alg(row.Alg), Key: key}
	}
	return tokens.NewKeySet(public)
}

// keyResource turns a key into what every instance holds of it.
func (s *Service) keyResource(k TokenKey) *feed.Resource {
	return &feed.Resource{Id: k.ID, MinReader: minReaderKey, Resource: &feed.Resource_Key{Key: &feed.Key{
		PublicKey: k.Public, Alg: k.Alg, State: string(k.State), Issuer: s.console,
	}}}
}

// keysTold appends the resources of the keys that verify.
func (s *Service) keysTold(ctx context.Context, tx Tx, out []*feed.Resource) ([]*feed.Resource, error) {
	rows, err := tx.TokenKeys().In(ctx, KeyNext, KeyActive, KeyRetired)
	for _, row := range rows {
		out = append(out, s.keyResource(row))
	}
	return out, err
}

// KeepTokenKeys makes the first keys, and changes them as time has it: the next key
// signs once the active one has signed for long enough, and retired ones go when
// the last token of theirs has ended. Call it before tokens are asked for, and each
// second. Without Config.Seal it does nothing.
func (s *Service) KeepTokenKeys(ctx context.Context) error {
	if s.seal == nil {
		return nil
	}
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		w := &work{Service: s, tx: tx, now: tx.Now()}
		k, err := w.keyring(ctx)
		if err != nil {
			return false, err
		}
		due, err := k.due(ctx)
		return due || k.active == nil || k.next == nil || k.stray() || len(k.over()) > 0, err
	}, func(w *work) error {
		k, err := w.keyring(ctx)
		if err != nil {
			return err
		}
		return k.keep(ctx)
	})
}

// due reports whether the schedule has the next key sign.
func (k *keyring) due(ctx context.Context) (bool, error) {
	if k.active == nil || k.next == nil || k.now.Before(k.active.ActivatedAt.Add(k.tokenKeys.RotateEvery)) {
		return false, nil
	}
	aged, _, err := k.known(ctx)
	return aged, err
}

// stray reports whether the next key is of an algorithm that is not configured.
func (k *keyring) stray() bool { return k.next != nil && k.next.Alg != string(k.tokenKeys.Alg) }

func (k *keyring) over() []TokenKey {
	var out []TokenKey
	for _, row := range k.retired {
		if !k.now.Before(row.Until) {
			out = append(out, row)
		}
	}
	return out
}

func (k *keyring) keep(ctx context.Context) error {
	for _, row := range k.over() {
		if err := k.end(ctx, row, KeyGone, keyOver, ""); err != nil {
			return err
		}
	}
	if k.stray() {
		if err := k.end(ctx, *k.next, KeyGone, keyAlgorithm, ""); err != nil {
			return err
		}
		k.next = nil
	}
	due, err := k.due(ctx)
	if err != nil {
		return err
	}
	if due {
		k.retire()
	}
	return k.settle(ctx, "")
}

// settle has a key sign and another one wait.
func (k *keyring) settle(ctx context.Context, by string) error {
	if k.active == nil {
		if err := k.activate(ctx); err != nil {
			return err
		}
	}
	if k.next == nil {
		if err := k.publishNext(ctx); err != nil {
			return err
		}
	}
	return k.write(ctx, by)
}

var errNoTokens = errors.New("this mayflyd has no seal key, so it signs no tokens")
