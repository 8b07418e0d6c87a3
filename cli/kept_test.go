package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

// log signs checkpoints of a record that only the test knows.
type log struct {
	t      *testing.T
	signer *audit.Signer
	key    string
}

func newLog(t *testing.T) log {
	t.Helper()
	secret, key, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	s, err := audit.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return log{t, s, key}
}

func (l log) note(size int64, root string) []byte {
	l.t.Helper()
	b, err := l.signer.Sign(size, audit.SHA256([]byte(root)))
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func TestP9_KeptCheckpoints(t *testing.T) {
	l, k := newLog(t), kept{t.TempDir()}
	for _, c := range []struct {
		name string
		note []byte
		says string // "" is accepted
	}{
		{"the first", l.note(10, "a"), ""},
		{"the same", l.note(10, "a"), ""},
		{"more entries", l.note(12, "b"), ""},
		{"fewer than the newest", l.note(11, "c"), "entries were cut off"},
		{"fewer than all", l.note(3, "d"), "entries were cut off"},
		{"other entries", l.note(12, "x"), "entries were changed"},
		{"of another signer", newLog(t).note(20, "e"), "checkpoint of the record"},
		{"no checkpoint", []byte("hello\n"), "checkpoint of the record"},
	} {
		err := k.add(l.key, c.note)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := k.add(newLog(t).key, l.note(13, "f")); err == nil || !strings.Contains(err.Error(), "somebody signs another record") {
		t.Errorf("another key: %v", err)
	}
}

// Until the record was verified the oldest checkpoint is kept: a newer one could
// be of a record that forked in between.
func TestP9_KeptCheckpointsKeepTheOldest(t *testing.T) {
	l, k := newLog(t), kept{t.TempDir()}
	for size := range int64(maxKept + 20) {
		if err := k.add(l.key, l.note(size+1, "a")); err != nil {
			t.Fatal(err)
		}
	}
	names, err := k.names()
	if err != nil || len(names) != maxKept || !strings.HasSuffix(names[0], "00001.note") || !strings.HasSuffix(names[maxKept-1], "00120.note") {
		t.Fatalf("%d are kept, %v", len(names), err)
	}
	if err := k.verified(); err != nil {
		t.Fatal(err)
	}
	if names, err = k.names(); err != nil || len(names) != 1 || filepath.Base(names[0]) != "00000000000000000120.note" {
		t.Errorf("after verifying %v are kept, %v", names, err)
	}
}

func TestPrivateFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := writePrivate(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readPrivate(path); err == nil {
			t.Errorf("mode %o is read", mode)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrivate(link); err == nil {
		t.Error("a link is followed")
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"order 17, Zoë, 東京":      "order 17, Zoë, 東京",
		"a\nb\tc\r":              `a\nb\tc\u000d`,
		"\x1b[2J\x07\x7f\u009b":  `\u001b[2J\u0007\u007f\u009b`,
		"\u202eevil\u2066\ufeff": `\u202eevil\u2066\ufeff`,
		"bad \xff\xfe":           `bad \xff\xfe`,
		"\U000e0001tag":          `\U000e0001tag`,
		"really \ufffd":          "really \ufffd",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) is %q, want %q", in, got, want)
		}
	}
}
