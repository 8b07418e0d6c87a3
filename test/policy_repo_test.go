package test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const policyRepo = "examples/policy-repo"

// policyJob runs the script of a copy of the example repository, after edits of its
// files, with mayfly built from here. What would ask a server is only noted.
type policyJob struct {
	t        *testing.T
	dir, bin string
}

func newPolicyJob(t *testing.T) *policyJob {
	t.Helper()
	j := &policyJob{t: t, dir: t.TempDir(), bin: t.TempDir()}
	if err := os.CopyFS(j.dir, os.DirFS(filepath.Join(root, filepath.FromSlash(policyRepo)))); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(j.bin, "real"), "./cmd/mayfly")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := "#!/bin/sh\n[ \"$1 $2\" = \"policy plan\" ] && { echo \"asked $MAYFLY_SERVER about $3\"; exit 0; }\nexec \"$(dirname \"$0\")/real\" \"$@\"\n"
	if err := os.WriteFile(filepath.Join(j.bin, "mayfly"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *policyJob) run(env ...string) (string, int) {
	j.t.Helper()
	ctx, stop := context.WithTimeout(j.t.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, filepath.Join(j.dir, "ci", "policy.sh"))
	cmd.Env = append([]string{"PATH=" + j.bin + ":" + os.Getenv("PATH"), "HOME=" + j.bin}, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (j *policyJob) edit(file, old, new string) {
	j.t.Helper()
	path := filepath.Join(j.dir, filepath.FromSlash(file))
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		j.t.Fatalf("%s has no %q (%v)", file, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o644); err != nil {
		j.t.Fatal(err)
	}
}

// The job of the example repository passes as it is, compares where there is a server,
// and fails for a mistake and for a test that fails, saying where.
func TestThePolicyRepositoryChecksItself(t *testing.T) {
	j := newPolicyJob(t)
	out, code := j.run()
	if code != 0 || !strings.Contains(out, "9 tests, 0 failed") || !strings.Contains(out, "not compared") || strings.Contains(out, "warning") {
		t.Errorf("as it is: %d\n%s", code, out)
	}
	if out, code := j.run("MAYFLY_SERVER=https://mayfly.acme.example"); code != 0 || !strings.Contains(out, "asked https://mayfly.acme.example about policy") {
		t.Errorf("with a server: %d\n%s", code, out)
	}
	const read = "policy/entitlements/wiki/read.yaml"
	j.edit(read, "expect: approval", "expect: granted")
	if out, code := j.run("MAYFLY_SERVER=x"); code != 1 || !strings.Contains(out, "entitlements/wiki/read.yaml:21: wiki/read as dan: expected granted, got approval") || strings.Contains(out, "asked") {
		t.Errorf("a test that fails: %d\n%s", code, out)
	}
	j.edit(read, "max: 8h", "max: 80h")
	out, code = j.run("GITHUB_ACTIONS=true")
	if code != 1 || !strings.Contains(out, "entitlements/wiki/read.yaml:10:14: grant.max: 80h is over caps.grant") {
		t.Errorf("a mistake: %d\n%s", code, out)
	}
	if _, err := exec.LookPath("jq"); err == nil && !strings.Contains(out, "::error file="+read+",line=10,col=14::grant.max: 80h") {
		t.Errorf("the mistake is not marked at its line:\n%s", out)
	}
}

// The workflow runs the script and nothing else of policy, and reads only.
func TestThePolicyRepositorysWorkflow(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, policyRepo, ".github", "workflows", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct{ Uses, Run string }
		}
	}
	if err := yaml.Unmarshal(b, &workflow); err != nil {
		t.Fatal(err)
	}
	if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
		t.Errorf("permissions %v", workflow.Permissions)
	}
	script := false
	for _, step := range workflow.Jobs["policy"].Steps {
		script = script || step.Run == "ci/policy.sh"
		if strings.Contains(step.Run, "${{") {
			t.Errorf("a run line takes in text of whoever opened the request: %s", step.Run)
		}
	}
	if !script {
		t.Error("no step runs ci/policy.sh")
	}
}

// Each file of policy has an owner, and what decides for everybody has the security team.
func TestThePolicyRepositorysOwners(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, policyRepo, ".github", "CODEOWNERS"))
	if err != nil {
		t.Fatal(err)
	}
	owner := func(name string) (out string) {
		for _, line := range strings.Split(string(b), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 2 || strings.HasPrefix(line, "#") {
				continue
			}
			if fields[0] == "*" || "/"+name == fields[0] || strings.HasSuffix(fields[0], "/") && strings.HasPrefix("/"+name, fields[0]) {
				out = strings.Join(fields[1:], " ")
			}
		}
		return out
	}
	for name, want := range map[string]string{
		"policy/mayfly.yaml": "security", "policy/apps/new.yaml": "security", "policy/exceptions/x.yaml": "security",
		"policy/entitlements/wiki/read.yaml": "team-data", "policy/apps/wiki.yaml": "security", ".github/CODEOWNERS": "security", "ci/policy.sh": "security",
	} {
		if got := owner(name); !regexp.MustCompile("@acme/" + want).MatchString(got) {
			t.Errorf("%s belongs to %q, want %s", name, got, want)
		}
	}
}
