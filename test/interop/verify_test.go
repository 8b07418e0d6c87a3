package interop_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// held has a verifier accept a good token and refuse each that is not.
func held(t *testing.T, m minted, verify func(minted) verdict) {
	t.Helper()
	if said := verify(m); !said.OK || said.Payload["sub"] != env.ReporterID || said.Payload["aud"] != reports {
		t.Fatalf("our token: %+v", said)
	}
	bad := m.bent(t)
	other := m
	other.Audience = "https://wiki.acme.example"
	bad["another audience"] = other
	other = m
	other.Issuer = "https://evil.example"
	bad["another issuer"] = other
	other = m
	other.JWKS = json.RawMessage(strings.ReplaceAll(string(m.JWKS), `"x":"`, `"x":"A`)) // no point of the curve any more
	bad["other keys"] = other
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		if said := verify(bad[name]); said.OK {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestNPMJose(t *testing.T) {
	node, script := npm(t, "verify.js", "jose")
	held(t, theProduct(t).mint(t), func(m minted) verdict { return ask(t, m, node, script, "jose") })
}

func TestPyPIJwcrypto(t *testing.T) {
	python := need.Python(t)
	script, err := filepath.Abs("verify.py")
	check(t, err)
	held(t, theProduct(t).mint(t), func(m minted) verdict { return ask(t, m, python, script) })
}

// TestLatchsetJose has the C implementation verify signatures; claims are not its
// business.
func TestLatchsetJose(t *testing.T) {
	jose := need.Tool(t, "jose", "latchset jose: make interop")
	m := theProduct(t).mint(t)
	dir := t.TempDir()
	verify := func(m minted) error {
		keys, token := filepath.Join(dir, "jwks.json"), filepath.Join(dir, "token.jws")
		check(t, os.WriteFile(keys, m.JWKS, 0o600))
		check(t, os.WriteFile(token, []byte(m.Token), 0o600))
		return exec.CommandContext(t.Context(), jose, "jws", "ver", "-i", token, "-k", keys).Run()
	}
	if err := verify(m); err != nil {
		t.Fatalf("our token: %v", err)
	}
	for name, bad := range m.bent(t) {
		if verify(bad) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestNPMAjv holds what a token says, and what the answer beside it says, to the schema
// that the server publishes; and has ajv refuse details that are bent.
func TestNPMAjv(t *testing.T) {
	node, script := npm(t, "verify.js", "ajv")
	p := theProduct(t)
	m := p.mint(t)
	schema := p.get(t, "/oauth/schemas/web.json")
	verify := func(details string) verdict {
		return ask(t, map[string]json.RawMessage{"schema": schema, "details": json.RawMessage(details)}, node, script, "ajv")
	}
	for name, details := range map[string]string{"the answer's": string(m.details), "the token's": string(claim(t, m.Token, "authorization_details"))} {
		if said := verify(details); !said.OK {
			t.Errorf("%s: %s: %s", name, details, said.Why)
		}
	}
	for name, change := range map[string][2]string{
		"another type":         {`urn:mayfly:web`, `urn:mayfly:stripe`},
		"an unknown operation": {`"http.get"`, `"http.gets"`},
		"an unknown attribute": {`"attribute":"path"`, `"attribute":"colour"`},
		"an unknown member":    {`"locations"`, `"actions"`},
		"a relative path":      {`"value":"/daily"`, `"value":"daily"`},
	} {
		bent := strings.ReplaceAll(string(m.details), change[0], change[1])
		if bent == string(m.details) {
			t.Fatalf("%s: %s does not say %s", name, m.details, change[0])
		}
		if said := verify(bent); said.OK {
			t.Errorf("%s was accepted: %s", name, bent)
		}
	}
}

// claim returns a claim of a token, unverified.
func claim(t testing.TB, token, name string) json.RawMessage {
	t.Helper()
	var all map[string]json.RawMessage
	check(t, json.Unmarshal(decode(t, strings.Split(token, ".")[1]), &all))
	return all[name]
}

// TestNPMOauth4webapi has a certified client go its whole way: discovery, code with
// PKCE, DPoP with nonces, exchange, revocation.
func TestNPMOauth4webapi(t *testing.T) {
	node, script := npm(t, "client.js", "oauth4webapi")
	p := theProduct(t)
	alice, err := p.Person(t.Context(), "alice")
	check(t, err)
	bob, err := p.Person(t.Context(), "bob")
	check(t, err)
	_, err = p.Grant(t.Context(), alice, bob, api.Ask{Entitlement: "wiki/read", Reason: "plan of the week"})
	check(t, err)
	cmd := exec.CommandContext(t.Context(), node, script, p.Public, "https://"+env.WikiHost)
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.RootsFile())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	var steps []string
	token := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said map[string]any
		check(t, json.Unmarshal(lines.Bytes(), &said))
		if address, ok := said["open"].(string); ok {
			_, err := in.Write([]byte(browse(t, p, address, "alice") + "\n"))
			check(t, err)
			continue
		}
		step := said["step"].(string)
		if name, ok := said["name"].(string); ok {
			step += " " + name
		}
		if text, ok := said["token"].(string); ok {
			token = text
		}
		if why, ok := said["why"].(string); ok && strings.HasPrefix(step, "refused after") && why != "invalid_target" {
			t.Errorf("%s: %s", step, why)
		}
		steps = append(steps, step)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v after %v: %s", err, steps, errs.String())
	}
	const want = "discovery nonce code exchange validated|refused another audience|refused a stolen token|revoked|refused after revocation"
	if got := strings.Join(steps, " "); got != strings.ReplaceAll(want, "|", " ") {
		t.Errorf("the client went %q", got)
	}
	if strings.Count(token, ".") != 2 {
		t.Error("no token was exchanged")
	}
}

// browse goes the way of a person's browser and returns where it comes back to.
func browse(t testing.TB, p *product, address, who string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Roots(), MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	callback, err := dev.Login(t.Context(), client, address, who)
	check(t, err)
	to, err := dev.Confirm(t.Context(), client, callback, "")
	check(t, err)
	return to
}
