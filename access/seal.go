package access

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
)

const sealKeySize = 32

// SealKey is the key under which refresh tokens and the private parts of token keys
// lie in the database. It is in a file outside of it, so that a copy of the database
// opens no account and signs no token anywhere. It is a Sealer. It prints, marshals
// and logs as "redacted". The zero value is no key.
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

// Seal encrypts a secret for a purpose: AES-256-GCM, with a random nonce in front,
// and the purpose bound in. It implements Sealer.
func (k SealKey) Seal(_ context.Context, purpose string, secret []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, secret, []byte(purpose)), nil
}

// Open returns what Seal was given, for the same purpose only.
func (k SealKey) Open(_ context.Context, purpose string, sealed []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	secret, err := aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("it is not sealed for this purpose under this key: %w", err)
	}
	return secret, nil
}

func (k SealKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.b)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
