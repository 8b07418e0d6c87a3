package caller

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"strings"
)

const redacted = "redacted"

// Secret is the key of one run: who shows it is a program that this run was meant
// for. It prints, marshals and logs as redacted. The zero value matches nothing.
type Secret struct {
	text string
	hash [sha256.Size]byte
}

// NewSecret returns a fresh key: 128 random bits behind prefix, such as rk_live_.
func NewSecret(prefix string) Secret { return secretOf(prefix + "mayfly" + rand.Text()) }

func secretOf(text string) Secret { return Secret{text: text, hash: sha256.Sum256([]byte(text))} }

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s.text == "" }

// Reveal returns the key itself, for the environment or the file of the programs
// that may show it. It is called by nobody else.
func (s Secret) Reveal() string { return s.text }

// matches compares in a time that tells nothing of the key, its length included.
func (s Secret) matches(shown string) bool {
	h := sha256.Sum256([]byte(shown))
	return subtle.ConstantTimeCompare(h[:], s.hash[:]) == 1 && !s.IsZero()
}

// isIn reports whether text would carry the key on.
func (s Secret) isIn(text string) bool { return !s.IsZero() && strings.Contains(text, s.text) }

// String returns "redacted".
func (Secret) String() string { return redacted }

// GoString returns "redacted".
func (Secret) GoString() string { return redacted }

// LogValue returns "redacted".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "redacted".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
