package oauth_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/oauth"
)

var update = flag.Bool("update", false, "rewrite docs/schemas")

// TestPublishedSchemas holds the schemas of the documentation to those that are served.
func TestPublishedSchemas(t *testing.T) {
	w := newWorld(t)
	for kind, catalogue := range kinds(t) {
		want := oauth.Schema(kind, catalogue)
		path := filepath.Join("..", "docs", "schemas", kind+".json")
		if *update {
			check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			check(t, os.WriteFile(path, want, 0o644))
		}
		got, err := os.ReadFile(path)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s is another: go test ./oauth -run Schemas -update", path)
		}
		if served := w.get("/oauth/schemas/" + kind + ".json").Body.Bytes(); !bytes.Equal(served, want) {
			t.Errorf("%s is served otherwise", kind)
		}
	}
	found, err := filepath.Glob("../docs/schemas/*")
	found = slices.DeleteFunc(found, func(name string) bool { return strings.HasPrefix(filepath.Base(name), "policy-") }) // for editors
	check(t, err)
	if len(found) != len(kinds(t)) {
		t.Errorf("docs/schemas holds %v", found)
	}
}
