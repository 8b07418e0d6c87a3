package envoy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeEnvoy writes a program that answers --version with line.
func fakeEnvoy(t *testing.T, dir, line string) string {
	t.Helper()
	path := filepath.Join(dir, "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+line+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	good := fakeEnvoy(t, t.TempDir(), "envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL")
	newer := fakeEnvoy(t, t.TempDir(), "envoy  version: 9e55/1.41.2-dev/Clean/RELEASE/BoringSSL")
	old := fakeEnvoy(t, t.TempDir(), "envoy  version: 9e55/1.39.9/Clean/RELEASE/BoringSSL")
	other := fakeEnvoy(t, t.TempDir(), "something else")
	for _, c := range []struct {
		name, named, path, fallback string
		want                        string // path, or
		because                     string // part of the error
	}{
		{"named", newer, good, good, newer, ""},
		{"on PATH", "", good, newer, good, ""},
		{"fallback", "", "", good, good, ""},
		{"old on PATH, fallback good", "", old, good, good, ""},
		{"named one is old, others are not asked", old, good, good, "", "is 1.39.9, older than 1.40.0"},
		{"named one is gone", "/nowhere/envoy", good, good, "", "MAYFLY_ENVOY"},
		{"old", "", old, "", "", "older than 1.40.0"},
		{"not Envoy", "", other, "", "", "not Envoy's version line"},
		{"none", "", "", "", "", "make envoy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			if c.path != "" {
				path = filepath.Dir(c.path)
			}
			t.Setenv("PATH", path)
			b, err := Find(t.Context(), FindConfig{Named: c.named, Fallback: c.fallback})
			if b.Path != c.want {
				t.Errorf("found %q, want %q (%v)", b.Path, c.want, err)
			}
			if c.because != "" && (!errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.because)) {
				t.Errorf("want an error with %q, got %v", c.because, err)
			}
		})
	}
}
