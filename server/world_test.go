package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/server"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/tokens"
)

const (
	public   = "https://mayfly.acme.example:8443"
	callback = public + "/oidc/idp/callback"
	refunder = "/ns/pay/sa/refunder"
)

// world is a Server over the real Service and database, called without a network.
type world struct {
	*access.Service
	t                 testing.TB
	public, workloads http.Handler
	ca                *dev.CA
	idp               *dev.IdP
	log               *lockedBuffer
	verifier          *audit.Verifier
	dir               string   // of the database
	patterns          []string // of the public door
	me                *browser // begins and ends logins of the command
	key               tokens.Prover
	codes             codes

	mu    sync.Mutex
	ahead time.Duration
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, func(*world, *server.Config) {})
}

// newWorldWith lets a test change what the Server is made of.
func newWorldWith(t testing.TB, change func(*world, *server.Config)) *world {
	t.Helper()
	w := &world{t: t, ca: devtest.CA(t), log: &lockedBuffer{}}
	began := time.Now()
	w.dir = t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(w.dir, "mayfly.db"), Now: w.clock,
		BootNow: func() time.Duration { return w.clock().Sub(began) },
	})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	key, recordKey, err := audit.GenerateKey("mayfly.acme.example/log")
	check(t, err)
	signer, err := audit.NewSigner(key)
	check(t, err)
	w.verifier, err = audit.NewVerifier(recordKey)
	check(t, err)
	w.Service, err = access.New(access.Config{Store: db, Signer: signer, Minter: grant.NewMinter(), Policy: kinds(t), Console: public, Seal: access.NewSealKey()})
	check(t, err)
	_, err = w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: examples(t), Commit: strings.Repeat("1", 40), Signer: "sam"})
	check(t, err)
	w.idp = devtest.StartIdP(t, dev.IdPConfig{
		Users: []dev.User{
			{Name: "alice", Email: "alice@acme.example", EmailVerified: true, Groups: []string{"support"}},
			{Name: "bob", Email: "bob@acme.example", EmailVerified: true, Groups: []string{"payments-leads"}},
			{Name: "dave", Email: "dave@acme.example", EmailVerified: true, Groups: []string{"security"}},
		},
		Clients: []dev.Client{{ID: "mayflyd", Secret: "not-for-production", Redirects: []string{callback, public + "/oidc/partner/callback"}}},
	})
	w.key, err = tokens.NewProver()
	check(t, err)
	proofs, err := tokens.NewProofs(tokens.ProofConfig{})
	check(t, err)
	c := server.Config{
		Authorization: &w.codes, Proofs: proofs,
		Service: w.Service, Store: db, Providers: []server.Provider{w.provider("idp")}, URL: public, Peers: devtest.Verifier(t, w.ca),
		RecordKey: recordKey, Now: w.clock, Log: slog.New(slog.NewJSONHandler(w.log, nil)), TempDir: t.TempDir(),
	}
	change(w, &c)
	s, err := server.New(c)
	check(t, err)
	w.public, w.workloads, w.patterns, w.me = w.codes.door(s), s.Workloads(), s.Patterns(), w.browser()
	return w
}

// provider is the world's IdP, under a name.
func (w *world) provider(name string) *oidc.RP {
	w.t.Helper()
	rp, err := oidc.New(oidc.Config{
		Name: name, Issuer: w.idp.Issuer(), ClientID: "mayflyd", ClientSecret: oidc.NewSecret("not-for-production"), AllowAddresses: egress.Loopback(),
		RedirectURL: public + "/oidc/" + name + "/callback",
	})
	check(w.t, err)
	return rp
}

func kinds(t testing.TB) policy.Options {
	t.Helper()
	s, err := stripe.New()
	check(t, err)
	v, err := web.New()
	check(t, err)
	known := map[string]*scope.Catalogue{s.Name(): s.Catalogue(), v.Name(): v.Catalogue()}
	return policy.Options{Catalogue: func(kind string) (*scope.Catalogue, bool) { c, ok := known[kind]; return c, ok }}
}

func examples(t testing.TB) map[string][]byte {
	t.Helper()
	root, files := os.DirFS("../examples/policy"), map[string][]byte{}
	check(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	}))
	const reports = "apps/reports.yaml"
	files[reports] = bytes.Replace(files[reports], []byte("callers: [services]"), []byte("callers: [services, people]"), 1)
	return files
}

// session returns the secret of a new session with these groups.
func (w *world) session(name string, groups ...string) string {
	w.t.Helper()
	p, err := identity.User("idp", name)
	check(w.t, err)
	key, err := w.key.Thumbprint()
	check(w.t, err)
	l := access.Login{Kind: access.SessionAPI, ProofKey: key, Principal: p, Name: name}
	for _, g := range groups {
		group, err := identity.ParseGroup("group:idp/" + g)
		check(w.t, err)
		l.Groups = append(l.Groups, group)
	}
	secret, _, err := w.NewSession(w.t.Context(), l)
	check(w.t, err)
	return secret.Reveal()
}

// ask is one request of a test; zero fields are those of a good one.
type ask struct {
	method, path, body string
	stream             io.Reader // from which the body comes instead
	header             http.Header
	session            string
	cert               *tls.Certificate // at the workloads door
	remote             string
}

// do sends one request through a door.
func (w *world) do(a ask) *httptest.ResponseRecorder {
	w.t.Helper()
	var body io.Reader = http.NoBody
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	if a.stream != nil {
		body = a.stream
	}
	r := httptest.NewRequestWithContext(w.t.Context(), a.method, a.path, body)
	r.RemoteAddr = "192.0.2.1:1000"
	if a.remote != "" {
		r.RemoteAddr = a.remote
	}
	r.Host = strings.TrimPrefix(public, "https://")
	if a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.session != "" {
		proof, err := w.key.Prove(a.method, public+r.URL.EscapedPath(), a.session, "", w.clock())
		check(w.t, err)
		r.Header.Set("Authorization", "DPoP "+a.session)
		r.Header.Set("DPoP", proof)
	}
	for name, values := range a.header {
		r.Header[name] = values
	}
	door := w.public
	r.TLS = &tls.ConnectionState{}
	if a.cert != nil {
		door = w.workloads
		for _, der := range a.cert.Certificate {
			c, err := x509.ParseCertificate(der)
			check(w.t, err)
			r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, c)
		}
	}
	out := httptest.NewRecorder()
	door.ServeHTTP(out, r)
	conforms(w.t, a, r, out)
	return out
}

// problem reads the problem of an answer, and holds it to what every one must be.
func problem(t testing.TB, res *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	var p api.Problem
	if kind := res.Header().Get("Content-Type"); kind != "application/problem+json" {
		t.Fatalf("status %d, content type %q: %s", res.Code, kind, res.Body)
	}
	check(t, json.Unmarshal(res.Body.Bytes(), &p))
	if p.Status != res.Code || p.Code == "" || p.Title == "" || p.Detail == "" || !strings.HasSuffix(p.Type, p.Code) {
		t.Errorf("not a whole problem: %s", res.Body)
	}
	return p
}

// want holds an answer to a status and a code.
func want(t testing.TB, name string, res *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	if p := problem(t, res); res.Code != status || p.Code != code {
		t.Errorf("%s: %d %s (%s), want %d %s", name, res.Code, p.Code, p.Detail, status, code)
	}
}

func read[T any](t testing.TB, res *httptest.ResponseRecorder, status int) T {
	t.Helper()
	var out T
	if res.Code != status {
		t.Fatalf("status %d, want %d: %s", res.Code, status, res.Body)
	}
	check(t, json.Unmarshal(res.Body.Bytes(), &out))
	return out
}

const goodAsk = `{"entitlement":"stripe/refunds","params":{"charge":"ch_1","amount_max":"5000"},"reason":"order 17"}`

// codes stands for the authorization server: logins at its address go back to the
// command's.
type codes struct{ made []access.Login }

const (
	kept         = "kept-by-the-authorization-server"
	commandLogin = "/oauth/authorize?x=1"
)

func (c *codes) door(s *server.Server) http.Handler {
	public := s.Public()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL != nil && r.URL.Path == "/oauth/authorize" { // a test sends a request without
			s.Login(w, r, r.URL.Query().Get("idp"), []byte(kept))
			return
		}
		public.ServeHTTP(w, r)
	})
}

func (c *codes) Asks(body []byte) (api.CommandLogin, error) {
	if string(body) != kept {
		return api.CommandLogin{}, errors.New("not what was kept")
	}
	return api.CommandLogin{Address: "127.0.0.1:40000", Code: "ABCDE-FGHIJ"}, nil
}

func (c *codes) LoggedIn(w http.ResponseWriter, r *http.Request, body []byte, l access.Login) {
	c.made = append(c.made, l)
	http.Redirect(w, r, "http://127.0.0.1:40000/callback?"+url.Values{"code": {"code-of-" + l.Name}, "kept": {string(body)}}.Encode(), http.StatusSeeOther)
}

func (c *codes) LoginFailed(w http.ResponseWriter, r *http.Request, body []byte, p *api.Problem) {
	http.Redirect(w, r, "http://127.0.0.1:40000/callback?"+url.Values{"error": {p.Code}, "error_description": {p.Detail + ": " + strings.Join(p.Allowed, ", ")}, "kept": {string(body)}}.Encode(), http.StatusSeeOther)
}

// begin starts a login of the command and returns the provider's address.
func (w *world) begin() string {
	w.t.Helper()
	res := w.me.get(commandLogin)
	if res.Code != http.StatusSeeOther {
		w.t.Fatalf("login: %d %s", res.Code, res.Body)
	}
	return res.Header().Get("Location")
}

// browse logs name in at the provider and returns the query of its answer.
func (w *world) browse(authURL, name string) string {
	w.t.Helper()
	to, err := dev.Login(context.Background(), nil, authURL, name)
	check(w.t, err)
	u, err := url.Parse(to)
	check(w.t, err)
	return u.RawQuery
}

// back calls the callback, continues if it asks, and returns where the browser is sent.
func (w *world) back(query string) *url.URL {
	w.t.Helper()
	res := w.me.get("/oidc/idp/callback?" + query)
	if res.Code == http.StatusOK {
		res = w.me.confirm(w.me.asked(res).Token, "continue", ownPage())
	}
	if res.Code != http.StatusSeeOther {
		w.t.Fatalf("callback: %d %s", res.Code, res.Body)
	}
	u, err := url.Parse(res.Header().Get("Location"))
	check(w.t, err)
	return u
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
