package interop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/test/need"
)

// product is mayflyd from its built binary, without a gateway.
type product struct {
	*env.Env
	stop func() error
}

var (
	started = sync.OnceValues(func() (*product, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		e, stop, err := env.Launch(ctx, env.Config{})
		return &product{e, stop}, err
	})
	used atomic.Bool
)

func theProduct(t testing.TB) *product {
	t.Helper()
	if env.Tool("bin", "stripe-mock") == "stripe-mock" {
		need.Missing(t, fmt.Errorf("no stripe-mock: make tools"))
	}
	used.Store(true)
	p, err := started()
	check(t, err)
	return p
}

func TestMain(m *testing.M) {
	code := m.Run()
	if used.Load() {
		if p, _ := started(); p != nil && p.stop != nil {
			if err := p.stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
	}
	os.Exit(code)
}

// minted is a token of a workload, and what verifiers are told.
type minted struct {
	Token    string          `json:"token"`
	JWKS     json.RawMessage `json:"jwks"`
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
	details  json.RawMessage
	cert     tls.Certificate
}

const reports = "https://" + env.ReportsHost

// mint has the reporter granted reports/read, and mints a token that is bound to a new
// certificate of it.
func (p *product) mint(t testing.TB) minted {
	t.Helper()
	return p.mintFor(t, 10*time.Minute)
}

// mintFor is mint under a grant of that length.
func (p *product) mintFor(t testing.TB, d time.Duration) minted {
	t.Helper()
	reporter, err := p.WorkloadAPIClient(t.Context(), "reporter")
	check(t, err)
	g, err := p.Grant(t.Context(), reporter, nil, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": "/daily"}, Duration: d.String()})
	check(t, err)
	t.Cleanup(func() { _, _ = reporter.Finish(context.WithoutCancel(t.Context()), g.ID) })
	cert := p.svid(t, env.ReporterID)
	out := minted{Issuer: p.Public, Audience: reports, JWKS: p.get(t, "/oauth/jwks"), cert: cert}
	var meta struct {
		Aliases map[string]string `json:"mtls_endpoint_aliases"`
	}
	check(t, json.Unmarshal(p.get(t, "/.well-known/oauth-authorization-server"), &meta))
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // mayflyd proves a SPIFFE ID there and no host name; who it is is not asked here
	}}}
	defer client.CloseIdleConnections()
	res, err := client.PostForm(meta.Aliases["token_endpoint"], url.Values{
		"grant_type": {"client_credentials"}, "resource": {reports}, "authorization_details": {`[{"type":"urn:mayfly:web","grant":"` + g.ID + `"}]`},
	})
	check(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	check(t, err)
	var answer struct {
		Token   string          `json:"access_token"`
		Details json.RawMessage `json:"authorization_details"`
	}
	check(t, json.Unmarshal(body, &answer))
	if res.StatusCode != http.StatusOK || answer.Token == "" {
		t.Fatalf("%s %s", res.Status, body)
	}
	out.Token, out.details = answer.Token, answer.Details
	return out
}

func (p *product) svid(t testing.TB, id string) tls.Certificate {
	t.Helper()
	parsed, err := spiffeid.FromString(id)
	check(t, err)
	cert, err := p.CA.Mint(dev.Template{ID: parsed})
	check(t, err)
	return cert
}

// get reads a document of the public door.
func (p *product) get(t testing.TB, path string) json.RawMessage {
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Roots(), MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	res, err := client.Get(p.Public + path)
	check(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	check(t, err)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
	return body
}

// bent returns the token changed in ways that every verifier must see.
func (m minted) bent(t testing.TB) map[string]minted {
	t.Helper()
	parts := strings.Split(m.Token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	check(t, err)
	raw[10] ^= 1
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	check(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	with := func(token string) minted { out := m; out.Token = token; return out }
	return map[string]minted{
		"another signature": with(parts[0] + "." + parts[1] + "." + encode(raw)),
		"another subject":   with(parts[0] + "." + encode(bytes.Replace(claims, []byte("/reporter"), []byte("/reported"), 1)) + "." + parts[2]),
		"no algorithm":      with(encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."),
	}
}

// verdict is what a verifier's script says.
type verdict struct {
	OK      bool           `json:"ok"`
	Why     string         `json:"why"`
	Payload map[string]any `json:"payload"`
}

// ask runs a verifier's script with v as its input.
func ask(t testing.TB, v any, name string, args ...string) verdict {
	t.Helper()
	in, err := json.Marshal(v)
	check(t, err)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, errs.String())
	}
	var said verdict
	check(t, json.Unmarshal(out, &said))
	return said
}

// npm returns the path of a script of test/npm where its modules are.
func npm(t testing.TB, script, module string) (node, path string) {
	t.Helper()
	modules := filepath.Dir(need.NPM(t, module))
	root, err := env.Root()
	check(t, err)
	text, err := os.ReadFile(filepath.Join(root, "test", "npm", script))
	check(t, err)
	dir := t.TempDir()
	check(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	check(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	path = filepath.Join(dir, script)
	check(t, os.WriteFile(path, text, 0o600))
	return need.Node(t), path
}

// pair writes a certificate and its key as PEM.
func pair(t testing.TB, dir, name string, c tls.Certificate) (cert, key string) {
	t.Helper()
	var chain bytes.Buffer
	for _, der := range c.Certificate {
		check(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	check(t, err)
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	check(t, os.WriteFile(cert, chain.Bytes(), 0o600))
	check(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	check(t, err)
	return raw
}
