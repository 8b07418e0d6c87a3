package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// start runs the command until the test ends and returns what it printed up to
// "ready".
func start(t *testing.T, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		cmd := newCommand()
		cmd.SetArgs(args)
		cmd.SetOut(w)
		err := cmd.ExecuteContext(ctx)
		w.CloseWithError(io.EOF)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%v: %v", args, err)
		}
	})
	var lines []string
	for s := bufio.NewScanner(r); s.Scan(); {
		if s.Text() == "ready" {
			return lines
		}
		lines = append(lines, s.Text())
	}
	t.Fatalf("%v ended after %q", args, lines)
	return nil
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCAServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "mf") // short: a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	entries := write(t, "entries.yaml", `
entries:
  - {id: spiffe://acme.example/gw/sidecar, hint: sidecar, ttl: 10m}
  - {id: spiffe://acme.example/gw/listener, hint: listener, dns: [stripe.acme.example]}
  - {id: spiffe://acme.example/a, socket: a.sock}
`)
	lines := start(t, "ca", "serve", "--dir", dir, "--trust-domain", "acme.example", "--entries", entries)
	want := []string{
		"spiffe://acme.example/gw/sidecar unix://" + dir + "/workload.sock",
		"spiffe://acme.example/gw/listener unix://" + dir + "/workload.sock",
		"spiffe://acme.example/a unix://" + dir + "/a.sock",
		"bundle " + dir + "/bundle.pem",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("printed %q", lines)
	}
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr("unix://"+dir+"/workload.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	svids, err := client.FetchX509SVIDs(t.Context())
	if err != nil || len(svids) != 2 || svids[1].Hint != "listener" {
		t.Fatalf("%v, %v", svids, err)
	}
	if left := time.Until(svids[0].Certificates[0].NotAfter); left > 10*time.Minute {
		t.Errorf("ttl: 10m gives %s", left)
	}
	if err := svids[1].Certificates[0].VerifyHostname("stripe.acme.example"); err != nil {
		t.Error(err)
	}
}

func TestIdPServe(t *testing.T) {
	users := write(t, "users.yaml", `
users:
  - {name: alice, subject: 3f1c7a52, email: alice@acme.example, email_verified: true, groups: [support]}
clients:
  - {id: mayfly, redirects: ["https://127.0.0.1/cli/callback"]}
`)
	lines := start(t, "idp", "serve", "--users", users)
	issuer, ok := strings.CutPrefix(lines[0], "issuer ")
	if !ok {
		t.Fatalf("printed %q", lines)
	}
	if _, err := oidc.NewProvider(t.Context(), issuer); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	entries := func(text string) []string {
		return []string{"ca", "serve", "--check", "--dir", dir, "--trust-domain", "acme.example", "--entries", write(t, "entries.yaml", text)}
	}
	good := write(t, "users.yaml", "users: [{name: alice}]\nclients: [{id: a, redirects: [x]}]\n")
	idp := func(addr string) []string {
		return []string{"idp", "serve", "--check", "--addr", addr, "--users", good}
	}
	for _, c := range []struct {
		name string
		args []string
		want string // in the error, "": accepted
	}{
		{"good entries", entries("entries: [{id: 'spiffe://acme.example/a', uid: 0}]"), ""},
		{"unknown key", entries("entries: [{id: 'spiffe://acme.example/a', user: 1}]"), `unknown field "user"`},
		{"key twice", entries("entries: []\nentries: []"), "entries"},
		{"negative uid", entries("entries: [{id: 'spiffe://acme.example/a', uid: -1}]"), "-1"},
		{"no entries", entries("entries: []"), "no entries"},
		{"bad ID", entries("entries: [{id: acme.example/a}]"), "entry 1"},
		{"foreign ID", entries("entries: [{id: 'spiffe://other.example/a'}]"), "acme.example"},
		{"ttl without unit", entries("entries: [{id: 'spiffe://acme.example/a', ttl: 3}]"), "ttl"},
		{"no flags", []string{"ca", "serve"}, "required"},
		{"bad trust domain", []string{"ca", "serve", "--dir", dir, "--trust-domain", "ACME", "--entries", good}, "--trust-domain"},
		{"good users", idp("127.0.0.1:0"), ""},
		{"IPv6 loopback", idp("[::1]:0"), ""},
		{"all interfaces", idp("0.0.0.0:5556"), "loopback"},
		{"all interfaces, unsaid", idp(":5556"), "loopback"},
		{"a host name", idp("localhost:5556"), "loopback"},
		{"another address", idp("192.0.2.1:5556"), "loopback"},
		{"no users file", []string{"idp", "serve"}, "--users"},
		{"argument", []string{"idp", "serve", "x"}, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := newCommand()
			cmd.SetArgs(c.args)
			cmd.SetOut(io.Discard)
			err := cmd.ExecuteContext(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("--check wrote %v, %v", left, err)
	}
}
