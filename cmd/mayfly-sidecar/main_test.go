package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/process"
)

func TestMistypedCommandLinesAreToldApartFromErrors(t *testing.T) {
	same := filepath.Join(t.TempDir(), "sidecar.yaml")
	text := strings.NewReplacer("gw/listener", "gw/sidecar", "mayfly.acme.example:8444", "mayfly.acme.example").Replace(basic)
	if err := os.WriteFile(same, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		exit int
		want string
	}{
		{"--chekc", 2, "hint: mayfly-sidecar --help"},
		{"caller --chek", 2, "hint: mayfly-sidecar caller --help"},
		{"frob", 2, "hint: mayfly-sidecar --help"},
		{"status --config /nowhere/sidecar.yaml", 1, "--config names another file"},
		{"caller --check --config /nowhere/caller.yaml", 1, "--config names another file"},
		{"--check --config " + same, 1, "identity.listener.id: want another one than the sidecar's"},
		{"--check --config " + same, 1, "control_plane.address: want host:port"},
	} {
		var said strings.Builder
		if exit := process.Execute(t.Context(), command(), strings.Fields(c.args), &said); exit != c.exit || !strings.Contains(said.String(), c.want) {
			t.Errorf("mayfly-sidecar %s: exit %d, want %d, and %q in %s", c.args, exit, c.exit, c.want, said.String())
		}
	}
}
