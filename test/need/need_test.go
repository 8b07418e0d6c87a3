package need_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// ended is a test that notes how it was ended.
type ended struct {
	testing.TB
	how string
}

func (e *ended) Helper()      {}
func (e *ended) Fatal(...any) { e.how += "fatal" }
func (e *ended) Skip(...any)  { e.how += "skip" }

func TestMissingIsASkipUnlessAllIsRequired(t *testing.T) {
	for required, want := range map[string]string{"": "skip", "1": "fatal"} {
		t.Setenv("REQUIRE_ALL", required)
		e := &ended{TB: t}
		need.Missing(e, errors.New("away"))
		if !strings.HasPrefix(e.how, want) { // a real Fatal ends there
			t.Errorf("REQUIRE_ALL=%q: %s, want %s", required, e.how, want)
		}
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	t.Setenv("MAYFLY_CHROMIUM", filepath.Join(t.TempDir(), "chromium"))
	if path, err := need.FindChromium(); err == nil {
		t.Errorf("found %s", path)
	}
	if dir, err := need.FindNPM("no-such-module"); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("%s, %v", dir, err)
	}
	old := t.TempDir()
	if err := os.WriteFile(filepath.Join(old, "node"), []byte("#!/bin/sh\necho v16.20.0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", old)
	if path, err := need.FindNode(); err == nil && filepath.Dir(path) == old {
		t.Error("took a Node of 2021")
	}
}

// TestTheLockFileNamesNoRegistry: where a module comes from is the machine's to say.
func TestTheLockFileNamesNoRegistry(t *testing.T) {
	root, err := env.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "test", "npm", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Resolved  string `json:"resolved"`
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 3 {
		t.Fatalf("the lock file holds %d packages", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" {
			t.Errorf("%s is resolved at %s", name, p.Resolved)
		}
		if name != "" && p.Integrity == "" {
			t.Errorf("%s has no integrity", name)
		}
	}
}
