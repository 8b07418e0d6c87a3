package cli

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/policy"
)

func testConfig(out *bytes.Buffer) Config {
	return Config{
		Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Getenv: func(string) string { return "" },
		UserConfigDir: func() (string, error) { return "", fs.ErrNotExist }, Policy: func() (policy.Options, error) { return policy.Options{}, nil },
	}
}

// Every command says what it does and shows how it is typed.
func TestHelpHasExamples(t *testing.T) {
	a, err := newApp(testConfig(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	var seen int
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has no description or no example of itself", c.CommandPath())
		}
		seen++
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(a.root())
	if seen < 20 {
		t.Errorf("only %d commands", seen)
	}
}

// What cannot be understood exits with 2 and sends nothing.
func TestUsageExits(t *testing.T) {
	for _, args := range [][]string{
		{"bogus"}, {"whoami", "x"}, {"whoami", "--nope"}, {"approve"}, {"audit"}, {"audit", "bogus"}, {"policy"}, {"whoami", "-o", "xml"},
		{"request", "a", "b"}, {"request", "--duration", "soon", "a"}, {"whoami"}, {"whoami", "--server", "localhost:8443"},
	} {
		out := &bytes.Buffer{}
		if code := Run(t.Context(), testConfig(out), args); code != exitUsage || out.Len() == 0 {
			t.Errorf("mayfly %s exits with %d: %s", strings.Join(args, " "), code, out)
		}
	}
}
