package interop_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

var update = flag.Bool("update", false, "rewrite docs/interop.md")

// peer is an implementation that is not ours, and what the run shows with it.
type peer struct{ name, version, shows, test string }

func peers(t testing.TB) []peer {
	t.Helper()
	apache := regexp.MustCompile(`Apache/(\d+\.\d+)`).FindStringSubmatch(run(t, need.Tool(t, "apache2", "make interop"), "-v"))
	if apache == nil {
		t.Fatal("Apache does not say its version")
	}
	return []peer{
		{"npm jose", npmVersion(t, "jose"), "verifies tokens: issuer, audience, type, algorithm, claims", "TestNPMJose"},
		{"PyPI jwcrypto", strings.TrimSpace(run(t, need.Python(t), "-c", "import importlib.metadata as m; print(m.version('jwcrypto'))")), "verifies tokens: issuer, audience, algorithm, claims", "TestPyPIJwcrypto"},
		{"latchset jose", debian(t, "jose"), "verifies signatures", "TestLatchsetJose"},
		{"Apache with mod_oauth2", apache[1] + ", " + debian(t, "libapache2-mod-oauth2"), "verifies tokens and enforces the certificate binding (RFC 8705)", "TestApacheHoldsTheBinding"},
		{"npm oauth4webapi", npmVersion(t, "oauth4webapi"), "is the client: discovery, code with PKCE, DPoP with nonces, exchange, revocation; and validates the token as a resource server", "TestNPMOauth4webapi"},
		{"npm ajv", npmVersion(t, "ajv"), "holds authorization details to the published schemas", "TestNPMAjv"},
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	check(t, err)
	return string(out)
}

func npmVersion(t testing.TB, module string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(need.NPM(t, module), "package.json"))
	check(t, err)
	var p struct {
		Version string `json:"version"`
	}
	check(t, json.Unmarshal(text, &p))
	return p.Version
}

// debian returns the version of a package as its authors count, without Debian's part.
func debian(t testing.TB, name string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		need.Missing(t, fmt.Errorf("not Debian: the version of %s is not known: %w", name, err))
	}
	version, _, _ := strings.Cut(run(t, "dpkg-query", "-W", "-f", "${Version}", name), "-")
	return version
}

// TestDocsInterop holds docs/interop.md to the run.
func TestDocsInterop(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`# What reads our tokens

Written by ` + "`go test ./test/interop -run DocsInterop -update`" + `; a test of ` + "`make test`" + ` fails when it
differs. Tokens of a real ` + "`mayflyd`" + ` are verified by implementations that are not ours, and
each is shown to refuse tokens that were planted bad.

| Implementation | Version | What the run shows | Test |
|---|---|---|---|
`)
	for _, p := range peers(t) {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", p.name, p.version, p.shows, p.test)
	}
	b.WriteString(`
mod_oauth2 caches what it found of a token, so a token that it knows counts there for some
minutes after its end. A gateway of ours does not.
`)
	root, err := env.Root()
	check(t, err)
	path := filepath.Join(root, "docs", "interop.md")
	if *update {
		check(t, os.WriteFile(path, b.Bytes(), 0o644))
	}
	got, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("docs/interop.md is not what the run says:\n%s", b.String())
	}
}
