package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
)

const personKeySize = 32

// PersonKey is the key under which one person, or one app, appears in the
// record. Deleting it erases the person from the record: the pseudonyms and
// commitments stay, and nobody can tell any more whose they were. It prints,
// marshals and logs as "redacted". The zero value is no key.
type PersonKey struct{ b []byte }

// NewPersonKey draws a key.
func NewPersonKey() PersonKey {
	b := make([]byte, personKeySize)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return PersonKey{b}
}

// ParsePersonKey reads the bytes that Reveal returned.
func ParsePersonKey(b []byte) (PersonKey, error) {
	if len(b) != personKeySize {
		return PersonKey{}, errors.New("person key: want 32 bytes")
	}
	return PersonKey{append([]byte(nil), b...)}, nil
}

// Reveal returns the secret bytes, for the erasable table only.
func (k PersonKey) Reveal() []byte { return append([]byte(nil), k.b...) }

// IsZero reports whether k is no key.
func (k PersonKey) IsZero() bool { return len(k.b) == 0 }

// String hides the key.
func (k PersonKey) String() string { return "redacted" }

// GoString hides the key.
func (k PersonKey) GoString() string { return "redacted" }

// MarshalText hides the key.
func (k PersonKey) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the key.
func (k PersonKey) LogValue() slog.Value { return slog.StringValue("redacted") }

// Pseudonym returns the name under which principal stands in the record: p_ and
// 32 hexadecimal digits of HMAC-SHA-256 under the person's key. It is the same
// for the same two, and tells nothing without the key.
func Pseudonym(key PersonKey, principal string) string {
	return "p_" + key.mac("mayfly pseudonym", principal)[:32]
}

// Commit returns what stands in the record for the value of an attribute that is
// not recordable: 64 hexadecimal digits of HMAC-SHA-256 over name and value.
func Commit(key PersonKey, name, value string) string {
	return key.mac("mayfly attribute", name, value)
}

// mac takes the parts with their lengths, so that no two lists of parts agree.
func (k PersonKey) mac(parts ...string) string {
	h := hmac.New(sha256.New, k.b)
	for _, p := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		_, _ = h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}
