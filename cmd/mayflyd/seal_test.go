package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

func TestInitMakesTheSealKeyOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := sealKey(dir); err == nil || !strings.Contains(err.Error(), "mayflyd init") {
		t.Fatalf("without a key: %v", err)
	}
	c := config{DataDir: dir, Origin: "mayfly.acme.example/log"}
	var first, second bytes.Buffer
	if err := initialise(&first, c, true); err != nil {
		t.Fatal(err)
	}
	key, err := sealKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := initialise(&second, c, true); err != nil {
		t.Fatal(err)
	}
	again, err := sealKey(dir)
	if err != nil || !bytes.Equal(key.Reveal(), again.Reveal()) {
		t.Fatalf("init made another key: %v", err)
	}
	if !strings.Contains(first.String(), "seal key (made)") || !strings.Contains(second.String(), "seal key (kept)") {
		t.Errorf("printed\n%s\n%s", first.String(), second.String())
	}
	if strings.Contains(first.String()+second.String(), hex.EncodeToString(key.Reveal())) {
		t.Error("the key is printed")
	}
	path := filepath.Join(dir, sealKeyName)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for name, text := range map[string]string{"short": "00", "no digits": strings.Repeat("x", 64), "empty": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sealKey(dir); err == nil {
			t.Errorf("%s: a broken key was taken", name)
		}
		if err := initialise(&second, c, true); err == nil {
			t.Errorf("%s: init says nothing of a broken key", name)
		}
	}
}

func TestIdentityMaxAgeIsBounded(t *testing.T) {
	for age, ok := range map[time.Duration]bool{
		0: true, time.Second: true, access.MaxIdentityAge: true, access.MaxIdentityAge + 1: false, -time.Second: false,
	} {
		c := config{IdentityAge: age}
		c.defaults(".")
		err := c.check(true)
		if bad := strings.Contains(err.Error(), "identity_max_age"); bad == ok {
			t.Errorf("%s: %v", age, err)
		}
	}
}
