package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/process"
)

func TestMistypedCommandLinesAreToldApartFromErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		exit int
		want string
	}{
		{"--chekc", 2, "hint: mayflyd --help"},
		{"frob", 2, "hint: mayflyd --help"},
		{"init frob", 2, "hint: mayflyd init --help"},
		{"--check --config /nowhere/mayflyd.yaml", 1, "--config names another file"},
		{"--check --config " + empty, 1, "nothing stands in it"},
		{"recover --config /nowhere/mayflyd.yaml", 1, "say --accept-rollback"},
		{"init --config /nowhere/mayflyd.yaml", 1, "--config names another file"},
	} {
		var said strings.Builder
		if exit := process.Execute(t.Context(), command(), strings.Fields(c.args), &said); exit != c.exit || !strings.Contains(said.String(), c.want) {
			t.Errorf("mayflyd %s: exit %d, want %d, and %q in %s", c.args, exit, c.exit, c.want, said.String())
		}
	}
}
