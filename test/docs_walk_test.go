package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
)

// section is a page's part below a heading, up to the next one of its rank.
func (p page) section(t *testing.T, heading string) page {
	t.Helper()
	_, rest, ok := strings.Cut(p.text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", p.name, heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return page{p.name, rest}
}

// TestDocsFromAnEmptyRepository types what docs/policy.md tells a newcomer to type. What
// comes of it is a signed policy that mayflyd would put in force.
func TestDocsFromAnEmptyRepository(t *testing.T) {
	for _, program := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REQUIRE_ALL") != "" {
				t.Fatal(err)
			}
			t.Skipf("SKIP: no %s here", program)
		}
	}
	home := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(home, "bin", "mayfly"), "./cmd/mayfly")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var typed strings.Builder
	for _, b := range readPage(t, "docs/policy.md").section(t, "From an empty repository").blocks() {
		if b.language == "sh" {
			typed.WriteString(strings.Join(b.lines, "\n") + "\n")
		}
	}
	shell := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", typed.String())
	shell.Dir = home
	shell.Env = []string{"HOME=" + home, "PATH=" + filepath.Join(home, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1"}
	said, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, want := range []string{"policy is a policy: 1 app, 1 entitlement", "3 tests, 0 failed", "max"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("nothing says %q:\n%s", want, said)
		}
	}
	key, err := os.ReadFile(filepath.Join(home, ".ssh", "mayfly-policy.pub"))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(key))
	r, err := git.Open(git.Options{Location: filepath.Join(home, "access"), Branch: "main", Folder: "policy"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Candidate(t.Context(), "", []policy.Signer{{Person: "carol", Key: words[0] + " " + words[1]}})
	if err != nil {
		t.Fatalf("mayflyd would refuse it: %v", err)
	}
	set, err := policy.Load(got.Files, policyOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := set.Entitlement("wiki/read"); !ok || e.Max.Hours() != 4 {
		t.Errorf("what is signed is not what was written: %+v", e)
	}
}
