package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const basic = `control_plane: {address: "mayfly.acme.example:8444", id: "spiffe://acme.example/mayflyd"}
identity:
  workload_api: unix:///run/spire/agent.sock
  sidecar: {id: "spiffe://acme.example/gw/sidecar"}
  listener: {id: "spiffe://acme.example/gw/listener"}
trust_domains: [acme.example]
record: {key: record.pub}
run_dir: run
state_dir: state
services: 127.0.0.1:8443
`

// check runs mayfly-sidecar --check on a file with these lines besides.
func check(t *testing.T, dev bool, lines string) error {
	t.Helper()
	dir := t.TempDir()
	writeCertificate(t, dir, "wiki", "wiki.acme.example")
	writeCertificate(t, dir, "docs", "docs.acme.example")
	writeRecordKey(t, filepath.Join(dir, "record.pub"))
	file := filepath.Join(dir, "sidecar.yaml")
	if err := os.WriteFile(file, []byte(basic+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command()
	c.SetArgs([]string{"--config", file, "--check", fmt.Sprintf("--dev=%v", dev)})
	return c.Execute()
}

func writeRecordKey(t *testing.T, path string) {
	t.Helper()
	_, public, err := audit.GenerateKey("mayfly.acme.example/log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(public+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeCertificate(t *testing.T, dir, name, host string) {
	t.Helper()
	c, err := devtest.CA(t).Mint(dev.Template{DNS: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := dev.PEM(c)
	if err != nil {
		t.Fatal(err)
	}
	for ext, text := range map[string][]byte{".crt": chain, ".key": key} {
		if err := os.WriteFile(filepath.Join(dir, name+ext), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckOfThePeopleDoor(t *testing.T) {
	const (
		wiki   = "  - {hosts: [wiki.acme.example], cert: wiki.crt, key: wiki.key}\n"
		docs   = "  - {hosts: [docs.acme.example], cert: docs.crt, key: docs.key}\n"
		people = "people: 127.0.0.2:8443\ncertificates:\n"
	)
	for _, c := range []struct {
		name, lines string
		dev         bool
		want        string // "" is taken
	}{
		{"nobody", "", true, ""},
		{"two hosts", people + wiki + docs, true, ""},
		{"no certificate", "people: 127.0.0.2:8443\n", true, "want certificates where"},
		{"no door", "certificates:\n" + wiki, true, "want certificates where"},
		{"the door of workloads", "people: 127.0.0.1:8443\ncertificates:\n" + wiki, true, "workloads come in"},
		{"the port of workloads at every address", "people: 0.0.0.0:8443\ncertificates:\n" + wiki, false, "workloads come in"},
		{"a host name", "people: localhost:8443\ncertificates:\n" + wiki, true, `"localhost:8443": want IP:port`},
		{"port 0", "people: 127.0.0.2:0\ncertificates:\n" + wiki, true, "people: want IP:port"},
		{"open to others in development", "people: 192.0.2.1:443\ncertificates:\n" + wiki, true, "loopback only"},
		{"open to others", "people: 192.0.2.1:443\ncertificates:\n" + wiki, false, ""},
		{"host in two entries", people + wiki + wiki, true, "wiki.acme.example is there twice"},
		{"capitals", people + strings.Replace(wiki, "[wiki", "[Wiki", 1), true, "exact DNS name in lower case"},
		{"a wildcard", people + strings.Replace(wiki, "[wiki.acme.example]", `["*.acme.example"]`, 1), true, "exact DNS name"},
		{"a port", people + strings.Replace(wiki, "[wiki.acme.example]", `["wiki.acme.example:443"]`, 1), true, "exact DNS name"},
		{"no host", people + strings.Replace(wiki, "[wiki.acme.example]", "[]", 1), true, "want hosts, cert and key"},
		{"no key", people + strings.Replace(wiki, ", key: wiki.key", "", 1), true, "want hosts, cert and key"},
		{"another host's certificate", people + strings.Replace(wiki, "wiki.acme.example", "docs.acme.example", 1), true, "not for the host docs.acme.example"},
		{"another certificate's key", people + strings.Replace(wiki, "wiki.key", "docs.key", 1), true, "private key does not match"},
		{"no such file", people + strings.Replace(wiki, "wiki.crt", "none.crt", 1), true, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check(t, c.dev, c.lines)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
