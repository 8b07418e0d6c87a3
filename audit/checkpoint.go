package audit

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint says that the log named Origin had Size leaves under Root.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// Text returns the body of the note (C2SP tlog-checkpoint): origin, size and
// base64 root, one a line, no extension.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpoint reads exactly what Text writes. It checks no signature: see
// Verifier.Open.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("checkpoint: want the three lines origin, size, root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %.40q: want a decimal number", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(Hash{}) {
		return Checkpoint{}, fmt.Errorf("checkpoint: root %.80q: want 32 bytes in base64", lines[2])
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}
	if c.Text() != text {
		return Checkpoint{}, fmt.Errorf("checkpoint: not in canonical form")
	}
	return c, nil
}

// SigningKey is a note signer key: whoever has it can sign checkpoints. It
// prints, marshals and logs as "redacted".
type SigningKey struct{ text string }

// ParseSigningKey reads the text that Reveal returned.
func ParseSigningKey(s string) (SigningKey, error) {
	if _, err := note.NewSigner(s); err != nil {
		return SigningKey{}, fmt.Errorf("signing key: want PRIVATE+KEY+<name>+<hash>+<data>")
	}
	return SigningKey{s}, nil
}

// Reveal returns the secret text, for a 0600 file only.
func (k SigningKey) Reveal() string { return k.text }

// String hides the key.
func (k SigningKey) String() string { return "redacted" }

// GoString hides the key.
func (k SigningKey) GoString() string { return "redacted" }

// MarshalText hides the key.
func (k SigningKey) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the key.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue("redacted") }

// GenerateKey makes an Ed25519 key pair for the log named origin: the secret
// key, and the verifier key in the form <origin>+<hash>+<data> of
// golang.org/x/mod/sumdb/note. An origin has no blanks and no plus; by custom it
// is a host and path without scheme.
func GenerateKey(origin string) (SigningKey, string, error) {
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return SigningKey{}, "", fmt.Errorf("generate checkpoint key: %w", err)
	}
	if _, err := note.NewVerifier(public); err != nil {
		return SigningKey{}, "", fmt.Errorf("generate checkpoint key: origin %.80q: want text without blanks and plus", origin)
	}
	return SigningKey{secret}, public, nil
}

// Signer signs the checkpoints of one log. It is safe for concurrent use.
type Signer struct{ signer note.Signer }

// NewSigner returns the signer of key.
func NewSigner(key SigningKey) (*Signer, error) {
	s, err := note.NewSigner(key.text)
	if err != nil {
		return nil, fmt.Errorf("checkpoint signer: %w", err)
	}
	return &Signer{s}, nil
}

// Origin returns the name of the log.
func (s *Signer) Origin() string { return s.signer.Name() }

// Sign returns the signed note of the checkpoint of the log at size with root.
// The caller sees to it that it extends every checkpoint signed before.
func (s *Signer) Sign(size int64, root Hash) ([]byte, error) {
	c := Checkpoint{Origin: s.Origin(), Size: size, Root: root}
	if _, err := ParseCheckpoint(c.Text()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b, err := note.Sign(&note.Note{Text: c.Text()}, s.signer)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return b, nil
}

// Signed reports whether a note is exactly what this signer signs: its signature is
// good, and no other's is beside it.
func (s *Signer) Signed(signed []byte) bool {
	c, err := ParseNote(signed)
	if err != nil {
		return false
	}
	own, err := s.Sign(c.Size, c.Root) // Ed25519: the same each time
	return err == nil && bytes.Equal(own, signed)
}

// ParseNote reads the checkpoint of a signed note. It checks no signature: see
// Verifier.Open.
func ParseNote(signed []byte) (Checkpoint, error) {
	text, _, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return Checkpoint{}, fmt.Errorf("checkpoint: no signed note")
	}
	return ParseCheckpoint(string(text) + "\n")
}

// Verifier opens the signed checkpoints of one log. It is safe for concurrent use.
type Verifier struct {
	key      string
	verifier note.Verifier
	last     atomic.Pointer[opened] // the newest that was opened; it is often shown again
}

// opened is a note whose signature is good.
type opened struct {
	note       string
	checkpoint Checkpoint
}

// NewVerifier returns the verifier of a verifier key, see GenerateKey.
func NewVerifier(key string) (*Verifier, error) {
	key = strings.TrimSpace(key)
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("verifier key %.80q: want <origin>+<hash>+<data>", key)
	}
	return &Verifier{key: key, verifier: v}, nil
}

// Key returns the verifier key's text.
func (v *Verifier) Key() string { return v.key }

// Open checks the signature of a signed note and returns its checkpoint, which
// must be of this log. Signatures of others beside it are let be.
func (v *Verifier) Open(signed []byte) (Checkpoint, error) {
	if last := v.last.Load(); last != nil && last.note == string(signed) {
		return last.checkpoint, nil
	}
	n, err := note.Open(signed, note.VerifierList(v.verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: signature of %s: %w", v.verifier.Name(), err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.verifier.Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint: of log %q, not %q", c.Origin, v.verifier.Name())
	}
	v.last.Store(&opened{string(signed), c})
	return c, nil
}
