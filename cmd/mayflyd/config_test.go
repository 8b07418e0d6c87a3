package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const provider = "oidc:\n  - {name: idp, issuer: \"https://login.acme.example\", client_id: mayfly}\n"

func TestTheFirstAdministratorIsOfAProvider(t *testing.T) {
	for line, want := range map[string]string{
		"user:idp:3f1c7a52 4h": "", "user:other:3f1c7a52 4h": "user:other:3f1c7a52 is of no provider", "bob 4h": "is not an account",
	} {
		path := filepath.Join(t.TempDir(), "first")
		if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := load(t, provider+"first_administrator: "+path+"\n", false)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: want an error with %q, got %v", line, want, err)
		}
	}
}

func TestAddressesAsConfigured(t *testing.T) {
	for _, c := range []struct{ name, old, written, want string }{
		{"apart", "127.0.0.1:8444", "127.0.0.2:8443", ""},
		{"a host name", "127.0.0.1:8444", "mayfly.acme.example:8444", `"mayfly.acme.example:8444": want IP:port`},
		{"no address", "127.0.0.1:8444", `":8444"`, `":8444": want IP:port`},
		{"twice", "127.0.0.1:8444", "127.0.0.1:8443", "nodes: public.address listens on 127.0.0.1:8443 already"},
		{"another folder", "policy: {", "policy: {folder: ../policy, ", "policy.folder: want a path inside the repository"},
		{"at every address", "127.0.0.1:8445", "0.0.0.0:8444", "workloads: nodes listens on 127.0.0.1:8444 already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "mayflyd.yaml")
			if err := os.WriteFile(path, []byte(strings.Replace(aroundOIDC, c.old, c.written, 1)+provider), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadConfig(path, false)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
