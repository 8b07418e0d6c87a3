package credential

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Bounds of a secret, in bytes. A shorter one would be found in answers by chance.
const (
	minSecret = 8
	maxSecret = 8 << 10
)

// Secret is a credential of an app. It prints, marshals and logs as redacted;
// only Reveal shows it. The zero value is no secret.
type Secret struct{ held **material }

// material is behind two pointers: fmt, which cannot call the methods of an
// unexported field, follows one for a verb that it does not know, and so prints
// an address and not the bytes.
type material struct {
	raw     []byte
	name    string
	version string
}

// New returns a secret with the name that policy uses and a version for the
// record, which must not be derived from raw. It copies raw, which must be 8
// bytes to 8 KiB without control characters, as a header value takes it.
func New(name, version string, raw []byte) (Secret, error) {
	switch {
	case len(raw) < minSecret:
		return Secret{}, fmt.Errorf("secret %s is shorter than %d bytes", name, minSecret)
	case len(raw) > maxSecret:
		return Secret{}, fmt.Errorf("secret %s is longer than %d bytes", name, maxSecret)
	}
	for _, b := range raw {
		if b < 0x20 || b == 0x7f {
			return Secret{}, fmt.Errorf("secret %s has a line break or another control character", name)
		}
	}
	held := &material{raw: append([]byte(nil), raw...), name: name, version: version}
	return Secret{&held}, nil
}

// Reveal returns a copy of the secret's bytes, nil for no secret. Its callers are
// few and listed by a test.
func (s Secret) Reveal() []byte {
	if s.held == nil {
		return nil
	}
	return append([]byte(nil), (*s.held).raw...)
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s.held == nil }

// Name returns the name that policy uses, "" for no secret.
func (s Secret) Name() string {
	if s.held == nil {
		return ""
	}
	return (*s.held).name
}

// Version says which content of the named secret this is, for the record. It
// tells nothing about the content.
func (s Secret) Version() string {
	if s.held == nil {
		return ""
	}
	return (*s.held).version
}

// String returns "redacted", with the name.
func (s Secret) String() string {
	if s.held == nil {
		return "no secret"
	}
	return "redacted(" + (*s.held).name + ")"
}

// GoString returns what String returns.
func (s Secret) GoString() string { return s.String() }

// Format writes what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText writes what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON writes what String returns, in quotes.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// UnmarshalText refuses: no document holds a secret.
func (s *Secret) UnmarshalText([]byte) error {
	return errors.New("a secret is not read from a document: name its file")
}
