package mutants_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// script runs scripts/mutants.sh and returns what it printed and its exit status.
func script(t *testing.T, env []string, args ...string) (string, int) {
	t.Helper()
	path, err := filepath.Abs("../../../scripts/mutants.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// planted is a copy of the small module, with its patches.
func planted(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/module")); err != nil {
		t.Fatal(err)
	}
	patches, err := filepath.Abs("testdata/patches")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"MUTANTS_ROOT=" + dir, "MUTANTS_PATCHES=" + patches}
}

func row(t *testing.T, table, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` +(.*)$`).FindStringSubmatch(table)
	if found == nil {
		t.Fatalf("no row %s:\n%s", name, table)
	}
	return found[1]
}

func TestEachPlantedPatchGetsItsVerdict(t *testing.T) {
	t.Parallel()
	env := planted(t)
	table, status := script(t, env)
	if status != 1 {
		t.Errorf("exit %d with a survivor among them", status)
	}
	for name, want := range map[string][]string{
		"killed":   {"killed ", "TestLockedIsLocked", "a locked door stays shut"},
		"survivor": {"SURVIVOR", "go test -run Long ."},
		"broken":   {"no build", "undefined: nonsense"},
		"stale":    {"stale", "patch failed: door.go"},
		"unsound":  {"unsound"},
		"nothing":  {"unsound"},
		"mute":     {"incomplete", "Defence"},
		"cheat":    {"incomplete", "changes a test"},
	} {
		got := row(t, table, name)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not hold %q", name, got, w)
			}
		}
	}
	if !strings.Contains(table, "8 patches, 7 not as they should be") {
		t.Error(table)
	}
	root := strings.TrimPrefix(env[0], "MUTANTS_ROOT=")
	was, _ := os.ReadFile("testdata/module/door.go")
	if is, err := os.ReadFile(filepath.Join(root, "door.go")); err != nil || string(is) != string(was) {
		t.Errorf("the checkout itself was changed: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(root, ".cache", "mutants", "[01]")); len(left) > 0 {
		t.Errorf("copies are left: %s", left)
	}
}

func TestOnlyWhatIsNamedRuns(t *testing.T) {
	t.Parallel()
	env := planted(t)
	if table, status := script(t, env, "killed"); status != 0 || !strings.Contains(table, "1 patches, 0 not") {
		t.Errorf("exit %d:\n%s", status, table)
	}
	if _, status := script(t, env, "no-such-name"); status != 2 {
		t.Errorf("exit %d where nothing was run", status)
	}
	if table, status := script(t, env, "--check", "stale"); status != 1 {
		t.Errorf("exit %d:\n%s", status, table)
	}
}

// TestNoPatchIsStale is a quick look at all of ours: make mutants runs them.
func TestNoPatchIsStale(t *testing.T) {
	t.Parallel()
	if table, status := script(t, nil, "--check"); status != 0 {
		t.Errorf("exit %d:\n%s", status, table)
	}
}
