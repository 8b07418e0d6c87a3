package audit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

func sign(t testing.TB, s *audit.Signer, size int64, root audit.Hash) []byte {
	t.Helper()
	b, err := s.Sign(size, root)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestP9_PinNoticesAnOlderOrAnotherDatabase(t *testing.T) {
	s, v := newKey(t)
	path := filepath.Join(t.TempDir(), "pin")
	if _, err := audit.OpenPin(path, v); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	p, err := audit.CreatePin(path, v, sign(t, s, 10, audit.Hash{1}))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Advance(sign(t, s, 20, audit.Hash{2})); err != nil {
		t.Fatal(err)
	}
	if p, err = audit.OpenPin(path, v); err != nil || p.Checkpoint().Size != 20 {
		t.Fatalf("reopened: %v %v", p, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := p.Check(25, audit.Hash{2}); err != nil {
		t.Errorf("the log that was pinned: %v", err)
	}
	var behind *audit.BehindError
	if err := p.Check(15, audit.Hash{}); !errors.As(err, &behind) || !strings.Contains(err.Error(), "entries 15 to 19 are missing") ||
		!strings.Contains(err.Error(), "Restore a newer copy") {
		t.Errorf("behind: %v", err)
	}
	var diverged *audit.DivergedError
	if err := p.Check(25, audit.Hash{3}); !errors.As(err, &diverged) || !strings.Contains(err.Error(), "Restore a newer copy") {
		t.Errorf("diverged: %v", err)
	}
	if _, err := audit.CreatePin(path, v, sign(t, s, 1, audit.Hash{1})); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created over an old one: %v", err)
	}
}

func TestP9_PinNeverGoesBack(t *testing.T) {
	s, v := newKey(t)
	stranger, _ := newKey(t)
	path := filepath.Join(t.TempDir(), "pin")
	p, err := audit.CreatePin(path, v, sign(t, s, 10, audit.Hash{1}))
	if err != nil {
		t.Fatal(err)
	}
	for name, signed := range map[string][]byte{
		"shorter":       sign(t, s, 9, audit.Hash{1}),
		"another root":  sign(t, s, 10, audit.Hash{2}),
		"another's key": sign(t, stranger, 11, audit.Hash{1}),
		"no note":       nil,
	} {
		if err := p.Advance(signed); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := p.Advance(sign(t, s, 10, audit.Hash{1})); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if p, err = audit.OpenPin(path, v); err != nil || p.Checkpoint().Size != 10 {
		t.Fatalf("%v %v", p, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left over: %v %v", entries, err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenPin(path, v); err == nil {
		t.Error("a damaged pin file was opened")
	}
}

func TestPseudonyms(t *testing.T) {
	a, b := audit.NewPersonKey(), audit.NewPersonKey()
	name := audit.Pseudonym(a, "user:idp:alice")
	if len(name) != 34 || !strings.HasPrefix(name, "p_") || name != audit.Pseudonym(a, "user:idp:alice") {
		t.Fatalf("%q", name)
	}
	if name == audit.Pseudonym(b, "user:idp:alice") || name == audit.Pseudonym(a, "user:idp:bob") {
		t.Error("two principals or keys share a pseudonym")
	}
	if audit.Commit(a, "ab", "c") == audit.Commit(a, "a", "bc") || audit.Commit(a, "x", "y") == audit.Commit(b, "x", "y") {
		t.Error("two commitments agree")
	}
	again, err := audit.ParsePersonKey(a.Reveal())
	if err != nil || audit.Pseudonym(again, "user:idp:alice") != name {
		t.Errorf("parse: %v", err)
	}
	if _, err := audit.ParsePersonKey(nil); err == nil {
		t.Error("an empty key was accepted")
	}
}
