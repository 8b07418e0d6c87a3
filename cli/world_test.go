package cli_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/cli"
	"github.com/mayflyproxy/mayfly/console"
	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/policy/git"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/server"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/tokens"
)

// world is mayflyd without the data path: both doors over TLS, the real Service
// over a real database, an OpenID provider and a Workload API, and the policy
// that the documentation shows. Its clock runs, and the test can move it on.
type world struct {
	signer *audit.Signer // of the record
	*access.Service
	t         testing.TB
	db        access.Store
	ca        *dev.CA
	public    string // address
	workloads string
	socket    string // of the Workload API; hints refunder, shop
	roots     string // PEM file
	browser   *http.Client
	recordKey string
	verifier  *audit.Verifier

	mu    sync.Mutex
	ahead time.Duration
}

const (
	gateway  = "spiffe://acme.example/gw/sidecar"
	mayflyd  = "/mayflyd"
	refunder = "/ns/pay/sa/refunder"
	shop     = "/ns/web/sa/shop"
)

// people log in with these groups. alice-admin is alice, by policy.
func people() []dev.User {
	user := func(name string, groups ...string) dev.User {
		return dev.User{Name: name, Subject: name, Email: name + "@acme.example", EmailVerified: true, Groups: groups}
	}
	return []dev.User{
		user("alice", "support"), user("alice-admin", "payments-leads"), user("bob", "payments-leads", "engineers"),
		user("carol", "engineers"), user("dave", "security"), user("erin"), user("frank", "support", "engineers"),
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ca: devtest.CA(t)}
	w.openService()
	w.openDoors()
	_, sockets := devtest.WorkloadAPI(t, w.ca,
		dev.Entry{ID: devtest.ID(t, refunder), Hint: "refunder"}, dev.Entry{ID: devtest.ID(t, shop), Hint: "shop"})
	w.socket = sockets[0]
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// pass moves every clock of mayflyd on.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func (w *world) openService() {
	w.t.Helper()
	began := time.Now()
	db, err := sqlite.Open(w.t.Context(), sqlite.Config{
		Path: filepath.Join(w.t.TempDir(), "mayfly.db"), Now: w.clock,
		BootNow: func() time.Duration { return w.clock().Sub(began) },
	})
	check(w.t, err)
	w.t.Cleanup(func() { check(w.t, db.Close()) })
	key, public, err := audit.GenerateKey("mayfly.acme.example/log")
	check(w.t, err)
	w.signer, err = audit.NewSigner(key)
	check(w.t, err)
	w.verifier, err = audit.NewVerifier(public)
	check(w.t, err)
	options, err := kinds()
	check(w.t, err)
	w.Service, err = access.New(access.Config{Store: db, Signer: w.signer, Minter: grant.NewMinter(), Policy: options, Seal: access.NewSealKey(), Console: "https://mayfly.acme.example"})
	check(w.t, err)
	_, err = w.ApplyPolicy(w.t.Context(), access.PolicyCommit{Files: examples(w.t), Commit: strings.Repeat("1", 40), Signer: "sam"})
	check(w.t, err)
	w.recordKey, w.db = public, db
}

// openDoors serves both doors on loopback.
func (w *world) openDoors() {
	w.t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(w.t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	check(w.t, err)
	w.public = "https://localhost:" + port
	idp := devtest.StartIdP(w.t, dev.IdPConfig{Users: people(), Clients: []dev.Client{{
		ID: "mayflyd", Secret: "not-for-production", Redirects: []string{w.public + "/oidc/idp/callback"},
	}}})
	rp, err := oidc.New(oidc.Config{
		Name: "idp", Issuer: idp.Issuer(), ClientID: "mayflyd", ClientSecret: oidc.NewSecret("not-for-production"), AllowAddresses: egress.Loopback(),
		RedirectURL: w.public + "/oidc/idp/callback",
	})
	check(w.t, err)
	options, err := kinds()
	check(w.t, err)
	nonces, err := tokens.NewNonces()
	check(w.t, err)
	proofs, err := tokens.NewProofs(tokens.ProofConfig{Nonces: nonces})
	check(w.t, err)
	var s *server.Server
	stripeKind, _ := options.Catalogue("stripe")
	webKind, _ := options.Catalogue("web")
	o, err := oauth.New(oauth.Config{
		Service: w.Service, Issuer: w.public, Kinds: map[string]*scope.Catalogue{"stripe": stripeKind, "web": webKind}, Peers: devtest.Verifier(w.t, w.ca),
		Proofs: proofs, Nonce: nonces.Current, Now: w.clock,
		Login: func(out http.ResponseWriter, r *http.Request, idp string, kept []byte) { s.Login(out, r, idp, kept) },
	})
	check(w.t, err)
	pages, err := console.New(console.Config{Service: w.Service, Origin: w.public, Now: w.clock})
	check(w.t, err)
	s, err = server.New(server.Config{
		Authorization: o, Pages: pages, Proofs: proofs, Nonce: nonces.Current,
		Service: w.Service, Store: w.db, Providers: []server.Provider{rp}, URL: w.public, Peers: devtest.Verifier(w.t, w.ca), RecordKey: w.recordKey, Now: w.clock,
		EnvoyStatus: func() map[string]server.EnvoyStatus {
			return map[string]server.EnvoyStatus{instance("a").String(): {Connected: true, Nack: "listener: no such cluster"}}
		},
	})
	check(w.t, err)
	cert, err := w.ca.Mint(dev.Template{ID: devtest.ID(w.t, mayflyd), DNS: []string{"localhost"}})
	check(w.t, err)
	serve(w.t, listener, door(o.Public(), s.Public()), &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	check(w.t, err)
	w.workloads = "https://" + inner.Addr().String()
	config, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(w.t, w.ca, mayflyd), Verifier: devtest.Verifier(w.t, w.ca), Authorize: spiffe.AnyWorkload(),
	})
	check(w.t, err)
	serve(w.t, inner, door(o.Workloads(), s.Workloads()), config)
	w.trust()
}

// door is a door of mayflyd: tokens, and everything else.
func door(o, s http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if oauth.Owns(r.URL.Path) {
			o.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// trust writes the roots to a file, and makes a browser that believes them.
func (w *world) trust() {
	w.t.Helper()
	var out bytes.Buffer
	for _, c := range w.ca.Roots() {
		check(w.t, pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	w.roots = filepath.Join(w.t.TempDir(), "roots.pem")
	check(w.t, os.WriteFile(w.roots, out.Bytes(), 0o600))
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool(w.ca.Roots())}
	jar, err := cookiejar.New(nil)
	check(w.t, err)
	w.browser = &http.Client{Transport: t, Jar: jar}
	w.t.Cleanup(t.CloseIdleConnections)
}

func serve(t testing.TB, l net.Listener, h http.Handler, config *tls.Config) {
	t.Helper()
	s := &http.Server{Handler: h, TLSConfig: config, ErrorLog: log.New(discard{}, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { check(t, s.Close()); <-done })
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// cli runs one command as it would run with that environment.
func (w *world) cli(ctx context.Context, in, out, errs *pipe, terminal bool, env func(string) string, args ...string) int {
	return cli.Run(ctx, cli.Config{
		Stdin: in, Stdout: out, Stderr: errs, Terminal: func() bool { return terminal }, Getenv: env,
		UserConfigDir: func() (string, error) { return "", fs.ErrNotExist }, Policy: kinds, PolicyAt: git.FilesAt, Now: w.clock,
		Loopback: openWay, Environ: func() []string { return []string{"PATH=" + os.Getenv("PATH")} },
	}, args)
}

// way is a way to no gateway: what gets through one is tested with real ones.
type way struct{ p cli.Passage }

func openWay(p cli.Passage) (cli.Loopback, error) { return way{p}, nil }

func (w way) Environment() []string {
	return []string{"MAYFLY_URL=http://127.0.0.1:1", "MAYFLY_KEY=key-of-the-run", "WAY=" + w.p.Kind + " " + w.p.Host + " " + w.p.Gateway + " " + w.p.Gateways[0].String()}
}

func (way) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// pipe is a buffer that several goroutines use.
type pipe struct {
	mu  sync.Mutex
	buf bytes.Buffer
	to  func(string) // sees each write, may be nil
}

// atBrowser is the output of mayfly login: who does at the browser what it says.
func (w *world) atBrowser(ctx context.Context, who string, done chan<- error) *pipe {
	out := &pipe{}
	out.to = func(text string) {
		if strings.Contains(text, "/oauth/authorize?") {
			go func() { done <- dev.LoginCommand(ctx, w.browser, out.String(), who) }()
		}
	}
	return out
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	n, err := p.buf.Write(b)
	p.mu.Unlock()
	if p.to != nil {
		p.to(string(b))
	}
	return n, err
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Read(b)
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}

// kinds are those that the product links.
func kinds() (policy.Options, error) {
	s, err := stripe.New()
	if err != nil {
		return policy.Options{}, err
	}
	v, err := web.New()
	if err != nil {
		return policy.Options{}, err
	}
	known := map[string]*scope.Catalogue{s.Name(): s.Catalogue(), v.Name(): v.Catalogue()}
	return policy.Options{
		Catalogue:    func(kind string) (*scope.Catalogue, bool) { c, ok := known[kind]; return c, ok },
		Credentialed: func(kind string) bool { return kind == s.Name() },
		GroupSources: []string{"idp"},
	}, nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func examples(t testing.TB) map[string][]byte {
	t.Helper()
	return filesOf(t, "../examples/policy")
}

func filesOf(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	root, files := os.DirFS(dir), map[string][]byte{}
	check(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	}))
	return files
}

func instance(run string) feed.Instance {
	return feed.Instance{Sidecar: gateway, Run: strings.Repeat(run, 32)}
}

// join admits an instance and answers its first Ping.
func (w *world) join(run string) {
	w.t.Helper()
	i := instance(run)
	_, err := w.Source().Join(w.t.Context(), i, &feed.Subscribe{Instance: i.String(), Version: "test", Reader: 1})
	check(w.t, err)
	_, err = w.Source().Beat(w.t.Context(), []feed.Beat{{Instance: i, Ping: &feed.Ping{Nonce: "n"}}})
	check(w.t, err)
}

// keeps has an instance say that it keeps the newest checkpoint, or one of as many
// entries of another history.
func (w *world) keeps(run string, forked bool) {
	w.t.Helper()
	note, err := w.Checkpoint(w.t.Context())
	check(w.t, err)
	c, err := audit.ParseNote(note)
	check(w.t, err)
	if forked {
		note, err = w.signer.Sign(c.Size, audit.SHA256([]byte("another history")))
		check(w.t, err)
	}
	ping := &feed.Ping{Nonce: "n", CheckpointSize: c.Size, Checkpoint: note}
	if forked {
		ping.Doubt = "two checkpoints have different roots"
	}
	_, err = w.Source().Beat(w.t.Context(), []feed.Beat{{Instance: instance(run), Ping: ping}})
	check(w.t, err)
}

// ack has an instance acknowledge everything until now.
func (w *world) ack(run string) {
	w.t.Helper()
	head, err := w.Source().Head(w.t.Context())
	check(w.t, err)
	check(w.t, w.Source().Acknowledge(w.t.Context(), []feed.Receipt{{Instance: instance(run), At: head, StreamsCut: 2}}))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
