package access

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mayflyproxy/mayfly/identity"
)

const sealKeySize = 32

// SealKey is the key under which refresh tokens lie in the database. It is in a
// file outside of it, so that a copy of the database opens no account anywhere. It
// prints, marshals and logs as "redacted". The zero value is no key.
type SealKey struct{ b []byte }

// NewSealKey draws a key.
func NewSealKey() SealKey {
	b := make([]byte, sealKeySize)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return SealKey{b}
}

// ParseSealKey reads the bytes that Reveal returned.
func ParseSealKey(b []byte) (SealKey, error) {
	if len(b) != sealKeySize {
		return SealKey{}, errors.New("seal key: want 32 bytes")
	}
	return SealKey{append([]byte(nil), b...)}, nil
}

// Reveal returns the secret bytes, for the key file only.
func (k SealKey) Reveal() []byte { return append([]byte(nil), k.b...) }

// IsZero reports whether k is no key.
func (k SealKey) IsZero() bool { return len(k.b) == 0 }

// String hides the key.
func (k SealKey) String() string { return "redacted" }

// GoString hides the key.
func (k SealKey) GoString() string { return "redacted" }

// MarshalText hides the key.
func (k SealKey) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the key.
func (k SealKey) LogValue() slog.Value { return slog.StringValue("redacted") }

// sealRefresh is what refresh tokens are sealed for: it and the account they are
// of are bound into the seal, so that no row opens in another's place.
const sealRefresh = "mayfly refresh token"

// seal encrypts a refresh token of p: AES-256-GCM, with a random nonce in front.
func (k SealKey) seal(p identity.Principal, token []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, token, sealedFor(p)), nil
}

// open returns what seal was given, for the same account only.
func (k SealKey) open(p identity.Principal, sealed []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	token, err := aead.Open(nil, nil, sealed, sealedFor(p))
	if err != nil {
		return nil, fmt.Errorf("the refresh token is not sealed for this account under this key: %w", err)
	}
	return token, nil
}

func (k SealKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.b)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sealedFor(p identity.Principal) []byte { return []byte(sealRefresh + "\x00" + p.String()) }
