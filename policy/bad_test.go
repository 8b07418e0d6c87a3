package policy

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bad is one file of testdata/bad: what changes the example policy into one that is
// refused. It is an archive of the changed files; the comment says what is wrong, the
// code of an error that must be among them, and with "without:" a file that is missing.
// The last file, want, is every message that an author reads.
type bad struct {
	name    string
	archive *txtar.Archive
	code    Code
	files   map[string][]byte // the whole policy
	changed []string
	want    string
}

func readBad(t testing.TB) []bad {
	t.Helper()
	names, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(names) < 150 {
		t.Fatalf("%d bad policies, %v", len(names), err)
	}
	var out []bad
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b := bad{name: strings.TrimSuffix(filepath.Base(name), ".txtar"), archive: a, files: exampleFiles(t)}
		for line := range strings.Lines(string(a.Comment)) {
			if code, ok := strings.CutPrefix(line, "code: "); ok {
				b.code = Code(strings.TrimSpace(code))
			}
			if file, ok := strings.CutPrefix(line, "without: "); ok {
				delete(b.files, strings.TrimSpace(file))
			}
		}
		for _, f := range a.Files {
			if f.Name == "want" {
				b.want = string(f.Data)
				continue
			}
			b.files[f.Name] = f.Data
			b.changed = append(b.changed, f.Name)
		}
		out = append(out, b)
	}
	return out
}

// What authors read is held whole: file, line, column and what was expected.
func TestBadPoliciesAreRefused(t *testing.T) {
	for _, b := range readBad(t) {
		t.Run(b.name, func(t *testing.T) {
			_, err := Load(b.files, options(t))
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("loaded, want %s (%v)", b.code, err)
			}
			if !slices.ContainsFunc(all, func(e *Error) bool { return e.Code == b.code }) {
				t.Errorf("want %s, got\n%v", b.code, err)
			}
			got := err.Error() + "\n"
			if *update && got != b.want {
				b.archive.Files = slices.DeleteFunc(b.archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				b.archive.Files = append(b.archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile("testdata/bad/"+b.name+".txtar", txtar.Format(b.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != b.want {
				t.Errorf("messages changed (-update writes them)\n%s", firstDifference(got, b.want))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}
