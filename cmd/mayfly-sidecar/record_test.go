package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A gateway without the record's key could be shown any record: there is none, with
// --dev neither.
func TestP9_EveryGatewayHasTheRecordsKey(t *testing.T) {
	for _, c := range []struct{ name, line, want string }{
		{"the key", "record: {key: record.pub}", ""},
		{"no key", "", "record.key: want the file"},
		{"no file", "record: {key: none.pub}", "no such file"},
		{"another file", "record: {key: wiki.key}", "want <origin>+<hash>+<data>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeRecordKey(t, filepath.Join(dir, "record.pub"))
			writeCertificate(t, dir, "wiki", "wiki.acme.example")
			file := filepath.Join(dir, "sidecar.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(basic, "record: {key: record.pub}", c.line, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := command()
			cmd.SetArgs([]string{"--config", file, "--check", "--dev"})
			err := cmd.Execute()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
