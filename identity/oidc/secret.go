package oidc

import (
	"log/slog"
	"strings"
)

// Secret is a client secret, or what Refresh takes. It prints, marshals and logs
// as "redacted". The zero value is none.
type Secret struct{ text string }

// NewSecret takes a secret as it was read from its file or from where it was kept.
func NewSecret(s string) Secret { return Secret{strings.TrimSpace(s)} }

// Reveal returns the text, to be sealed and kept; "" for none.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is none.
func (s Secret) IsZero() bool { return s.text == "" }

// String hides the secret.
func (s Secret) String() string { return "redacted" }

// GoString hides the secret.
func (s Secret) GoString() string { return "redacted" }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue("redacted") }
