package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key that others on the machine can read is not used, whatever it was used for
// before.
func TestKeysThatOthersCanReadAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := config{DataDir: dir, Origin: "mayfly.acme.example/log"}
	if err := initialise(&bytes.Buffer{}, c, true); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		sealKeyName:    func() error { _, err := sealKey(dir); return err },
		signingKeyName: func() error { _, _, err := recordKeys(dir, c.Origin); return err },
	} {
		if err := read(); err != nil {
			t.Fatalf("%s as init made it: %v", name, err)
		}
		for _, mode := range []os.FileMode{0o640, 0o604, 0o644} {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			if err := read(); err == nil || !strings.Contains(err.Error(), "others can read it") {
				t.Errorf("%s with mode %v: %v", name, mode, err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o400); err != nil {
			t.Fatal(err)
		}
		if err := read(); err != nil {
			t.Errorf("%s with mode 0400: %v", name, err)
		}
	}
}
