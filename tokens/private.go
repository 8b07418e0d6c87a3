package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// PrivateKey signs tokens. It prints, marshals and logs as "redacted"; Marshal is
// the only way out. The zero value signs nothing.
type PrivateKey struct {
	// A pointer: what prints a struct around this one shows an address, no key.
	k *privateKey
}

type privateKey struct {
	public PublicKey
	signer crypto.Signer
}

// GenerateKey makes a key: P-256 for ES256, RSA of 2048 bits for RS256.
func GenerateKey(alg Alg) (PrivateKey, error) {
	switch alg {
	case ES256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return PrivateKey{}, fmt.Errorf("generate key: %w", err)
		}
		return newPrivateKey(alg, key)
	case RS256:
		key, err := rsa.GenerateKey(rand.Reader, minRSA)
		if err != nil {
			return PrivateKey{}, fmt.Errorf("generate key: %w", err)
		}
		return newPrivateKey(alg, key)
	default:
		return PrivateKey{}, fmt.Errorf("generate key: alg %q is not of the profile", alg)
	}
}

func newPrivateKey(alg Alg, key crypto.Signer) (PrivateKey, error) {
	public, err := NewPublicKey(alg, key.Public())
	if err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{&privateKey{public, key}}, nil
}

// ParsePrivateKey reads what Marshal wrote: PKCS#8 in DER (RFC 5208).
func ParsePrivateKey(der []byte) (PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return PrivateKey{}, errors.New("private key: it is not PKCS#8")
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return newPrivateKey(ES256, k)
	case *rsa.PrivateKey:
		return newPrivateKey(RS256, k)
	default:
		return PrivateKey{}, fmt.Errorf("private key: %T is no key of the profile", key)
	}
}

// Marshal returns the key itself, as PKCS#8 in DER, to be sealed and kept.
func (k PrivateKey) Marshal() ([]byte, error) {
	if k.IsZero() {
		return nil, errNoKey()
	}
	return x509.MarshalPKCS8PrivateKey(k.k.signer)
}

// IsZero reports whether there is no key.
func (k PrivateKey) IsZero() bool { return k.k == nil }

// Public returns the key that verifies, the zero PublicKey of no key.
func (k PrivateKey) Public() PublicKey {
	if k.IsZero() {
		return PublicKey{}
	}
	return k.k.public
}

// sign returns the JWS signature over input (RFC 7515 §5.1).
func (k PrivateKey) sign(input string) ([]byte, error) {
	if k.IsZero() {
		return nil, errNoKey()
	}
	return k.k.public.Alg.method().Sign(input, k.k.signer)
}

func errNoKey() error { return errors.New("private key: there is none") }

// String hides the key.
func (k PrivateKey) String() string { return "redacted" }

// GoString hides the key.
func (k PrivateKey) GoString() string { return "redacted" }

// MarshalText hides the key.
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the key.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue("redacted") }
