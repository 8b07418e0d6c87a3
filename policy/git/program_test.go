package git

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/policy"
)

// The programs that people sign with make what we take: loose objects first,
// packed ones after.
func TestCommitsOfTheRealPrograms(t *testing.T) {
	for _, program := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REQUIRE_ALL") != "" {
				t.Fatal(err)
			}
			t.Skipf("SKIP: no %s here", program)
		}
	}
	dir, home := t.TempDir(), t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=carol", "GIT_AUTHOR_EMAIL=carol@acme.example", "GIT_COMMITTER_NAME=carol", "GIT_COMMITTER_EMAIL=carol@acme.example",
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, typ := range []string{"ed25519", "ecdsa", "rsa"} {
		run("ssh-keygen", "-q", "-t", typ, "-N", "", "-C", "", "-f", filepath.Join(home, typ))
	}
	run("git", "init", "-q", "-b", "main")
	run("git", "config", "gpg.format", "ssh")
	if err := os.WriteFile(filepath.Join(dir, "mayfly.yaml"), []byte("organisation: acme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("git", "add", "mayfly.yaml")
	var signers []policy.Signer
	for _, typ := range []string{"ed25519", "ecdsa", "rsa"} {
		public, err := os.ReadFile(filepath.Join(home, typ+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, policy.Signer{Person: typ, Key: strings.TrimSpace(string(public))})
	}
	r, err := Open(Options{Location: dir, Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	inForce := ""
	for _, typ := range []string{"ed25519", "ecdsa", "rsa"} {
		run("git", "-c", "user.signingkey="+filepath.Join(home, typ), "commit", "-q", "--allow-empty", "-S", "-m", "policy: sign with "+typ+"\n\nA body, and a line with an umlaut: ü.")
		if typ == "rsa" {
			run("git", "gc", "-q")
		}
		got, err := r.Candidate(t.Context(), inForce, signers)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		if got.Signer.Person != typ || string(got.Files["mayfly.yaml"]) != "organisation: acme\n" {
			t.Errorf("%s: signed by %q, files %q", typ, got.Signer.Person, got.Files)
		}
		inForce = got.Commit
	}
}
