package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256. Its text form, in records and files, is 64 lower-case
// hexadecimal digits. The zero value is "none", and what a chain starts from.
type Hash [sha256.Size]byte

// SHA256 returns the SHA-256 of b.
func SHA256(b []byte) Hash { return sha256.Sum256(b) }

// ParseHash reads what String wrote.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if err := h.UnmarshalText([]byte(s)); err != nil {
		return Hash{}, err
	}
	return h, nil
}

// IsZero reports whether h is none.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes 64 lower-case hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 lower-case hexadecimal digits and nothing else.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != string(text) {
		return fmt.Errorf("hash %.80q: want 64 lower-case hexadecimal digits", text)
	}
	copy(h[:], b)
	return nil
}

// merkleRoot is the RFC 6962 §2.1 tree head over leaf hashes.
func merkleRoot(leaves []Hash) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		return Hash(tlog.NodeHash(tlog.Hash(merkleRoot(leaves[:k])), tlog.Hash(merkleRoot(leaves[k:]))))
	}
}

func leafHash(b []byte) Hash { return Hash(tlog.RecordHash(b)) }
