package oauth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/tokens"
)

const (
	issuer  = "https://mayfly.acme.example:8443"
	mutual  = "https://mayfly.acme.example:8445"
	client  = "/ns/web/sa/client"
	redir   = "http://127.0.0.1:40000/callback"
	shopAPI = "https://shop.acme.example"

	typeAccess = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"
	typeID     = "urn:ietf:params:oauth:token-type:id_token"
	exchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// world is a Server over the real verbs and database, called without a network. Apps
// shop, stock and bank pass access on: shop to both, stock to bank and wiki, bank to stock.
type world struct {
	*access.Service
	t                 testing.TB
	public, workloads http.Handler
	server            *oauth.Server
	ca                *dev.CA
	log               *lockedBuffer
	key               tokens.Prover // of the person at the command
	verifier          *tokens.Verifier
	db                *sqlite.Store
	idTokens          map[string]oauth.IDToken
	kept              []byte // of the newest login

	mu    sync.Mutex
	began time.Time     // its clock stands still there,
	ahead time.Duration // but for what a test lets pass
}

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
	return w.began.Add(w.ahead)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// files is a policy of four web apps, of which three speak for themselves.
func files(edit ...string) map[string][]byte {
	out := map[string]string{
		"mayfly.yaml": "organisation: acme\ncaps: {grant: 12h, pending_per_principal: 5}\nenvironments: [prod]\n" +
			"nodes:\n  - {sidecar: spiffe://acme.example/gw/sidecar, listener: spiffe://acme.example/gw/listener, role: gateway, apps: [shop, stock, bank, wiki], environment: prod}\n" +
			"people:\n  - {person: alice, accounts: [\"user:idp:alice\"]}\n  - {person: bob, accounts: [\"user:idp:bob\"]}\n" +
			"signers:\n  - {person: alice, key: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83\"}\nsecurity: group:idp/security\n",
	}
	for app, onward := range map[string]string{"shop": "onward: [bank, stock]\n", "stock": "onward: [bank, wiki]\n", "bank": "onward: [stock]\n", "wiki": ""} {
		workload := "workload: spiffe://acme.example/ns/" + app + "/sa/app\n"
		if app == "wiki" {
			workload = ""
		}
		out["apps/"+app+".yaml"] = "app: " + app + "\nkind: web\nowner: team\nhosts: [" + app + ".acme.example, " + app + "-old.acme.example]\ncallers: [services]\n" +
			"upstream: {url: \"https://" + app + ".internal.acme.example\"}\nstale_after: 1m\n" + workload
		out["entitlements/"+app+"/read.yaml"] = "entitlement: " + app + "/read\nowner: team\napp: " + app + "\n" + onward +
			"allow:\n  - {operations: [http.get], where: {path: {under: $folder}}}\nparams:\n  folder: {type: path, any: true}\n" +
			"sensitivity: read\ngrant: {max: 8h, default: 30m}\n" +
			"request:\n  who: [group:idp/staff, \"spiffe://acme.example" + client + "\"]\n  for: [self]\n  justification: none\n" +
			"approve:\n  auto: {when: \"true\"}\n"
	}
	made := map[string][]byte{}
	for name, text := range out {
		for i := 0; i+1 < len(edit); i += 2 {
			text = strings.ReplaceAll(text, edit[i], edit[i+1])
		}
		made[name] = []byte(text)
	}
	return made
}

func kinds(t testing.TB) map[string]*scope.Catalogue {
	t.Helper()
	s, err := stripe.New()
	check(t, err)
	v, err := web.New()
	check(t, err)
	return map[string]*scope.Catalogue{s.Name(): s.Catalogue(), v.Name(): v.Catalogue()}
}

func newWorld(t testing.TB, edit ...string) *world {
	t.Helper()
	w := &world{t: t, ca: devtest.CA(t), log: &lockedBuffer{}, idTokens: map[string]oauth.IDToken{}, began: time.Now()}
	db, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "mayfly.db"), Now: w.clock, BootNow: func() time.Duration { return w.clock().Sub(w.began) },
	})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	w.db = db
	key, _, err := audit.GenerateKey("mayfly.acme.example/log")
	check(t, err)
	signer, err := audit.NewSigner(key)
	check(t, err)
	known := kinds(t)
	w.Service, err = access.New(access.Config{
		Unsettled: true,
		Store:     db, Signer: signer, Minter: grant.NewMinter(), Console: issuer, Seal: access.NewSealKey(),
		Policy: policy.Options{Catalogue: func(kind string) (*scope.Catalogue, bool) { c, ok := known[kind]; return c, ok }},
	})
	check(t, err)
	_, err = w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: files(edit...), Commit: strings.Repeat("1", 40), Signer: "sam"})
	check(t, err)
	w.key, err = tokens.NewProver()
	check(t, err)
	nonces, err := tokens.NewNonces()
	check(t, err)
	proofs, err := tokens.NewProofs(tokens.ProofConfig{Nonces: nonces})
	check(t, err)
	w.server, err = oauth.New(oauth.Config{
		Service: w.Service, Issuer: issuer, MTLS: mutual, Kinds: known, Peers: devtest.Verifier(t, w.ca), JWTSVID: w.jwtSVID, IDToken: w.idToken,
		Proofs: proofs, Nonce: nonces.Current, Now: w.clock, Log: slog.New(slog.NewJSONHandler(w.log, nil)),
		Login: func(out http.ResponseWriter, r *http.Request, idp string, kept []byte) {
			w.kept = kept
			p := principal(t, "user:idp:"+max(idp, "alice"))
			w.server.LoggedIn(out, r, kept, access.Login{Kind: access.SessionAPI, Principal: p, Name: "Alice", Refresh: []byte("refresh-token"), AuthTime: w.clock(), ACR: "urn:mfa"})
		},
	})
	check(t, err)
	check(t, w.KeepTokenKeys(t.Context()))
	w.public, w.workloads = w.server.Public(), w.server.Workloads()
	keys, err := w.TokenKeys(t.Context())
	check(t, err)
	w.verifier, err = tokens.NewVerifier(tokens.VerifierConfig{Issuer: issuer, Keys: func() *tokens.KeySet { return keys }})
	check(t, err)
	return w
}

// jwtSVID stands for package spiffe: svid.<path>.x is a JWT-SVID of a workload, and
// svid.<path>~2.x another one.
func (w *world) jwtSVID(_ context.Context, token, audience string, now time.Time) (oauth.Workload, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] != "svid" || audience != issuer {
		return oauth.Workload{}, errors.New("not a JWT-SVID")
	}
	path, _, _ := strings.Cut(parts[1], "~")
	p, err := identity.ParsePrincipal("spiffe://acme.example" + path)
	return oauth.Workload{Principal: p, Ends: now.Add(2 * time.Minute)}, err
}

func svidToken(path string) string { return "svid." + path + ".x" }

func (w *world) idToken(_ context.Context, token string) (oauth.IDToken, error) {
	if id, ok := w.idTokens[token]; ok {
		return id, nil
	}
	return oauth.IDToken{}, errors.New("not an ID token")
}

// call is one POST; zero fields are those of a good one.
type call struct {
	path, body string
	form       url.Values
	header     http.Header
	key        tokens.Prover // at the public door; nil: w's
	bound      string        // the token that the proof is for
	noProof    bool
	cert       *tls.Certificate // at the workloads door
	remote     string
}

// do sends one request, and once more with the nonce that it is given.
func (w *world) do(c call) *httptest.ResponseRecorder {
	w.t.Helper()
	nonce := ""
	for {
		res := w.once(c, nonce)
		if given := res.Header().Get("DPoP-Nonce"); c.cert == nil && !c.noProof && given != "" && given != nonce && strings.Contains(res.Body.String(), "use_dpop_nonce") {
			nonce = given
			continue
		}
		return res
	}
}

func (w *world) once(c call, nonce string) *httptest.ResponseRecorder {
	w.t.Helper()
	if c.path == "" {
		c.path = "/oauth/token"
	}
	body := c.body
	if c.form != nil {
		body = c.form.Encode()
	}
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, c.path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1000"
	if c.remote != "" {
		r.RemoteAddr = c.remote
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	door := w.public
	r.TLS = &tls.ConnectionState{}
	if c.cert != nil {
		door = w.workloads
		for _, der := range c.cert.Certificate {
			leaf, err := x509.ParseCertificate(der)
			check(w.t, err)
			r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, leaf)
		}
	} else if !c.noProof {
		key := w.key
		if !c.key.IsZero() {
			key = c.key
		}
		proof, err := key.Prove(http.MethodPost, issuer+c.path, c.bound, nonce, w.clock())
		check(w.t, err)
		r.Header.Set("DPoP", proof)
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	out := httptest.NewRecorder()
	door.ServeHTTP(out, r)
	if cc := out.Header().Get("Cache-Control"); cc != "no-store" {
		w.t.Errorf("%s is answered with Cache-Control %q", c.path, cc)
	}
	return out
}

// answer is what the endpoints say.
type answer struct {
	AccessToken string          `json:"access_token"`
	IssuedType  string          `json:"issued_token_type"`
	TokenType   string          `json:"token_type"`
	ExpiresIn   int64           `json:"expires_in"`
	Details     json.RawMessage `json:"authorization_details"`
	Error       string          `json:"error"`
	Description string          `json:"error_description"`
}

func read(t testing.TB, res *httptest.ResponseRecorder) answer {
	t.Helper()
	var out answer
	if kind := res.Header().Get("Content-Type"); kind != "application/json" {
		t.Fatalf("status %d, content type %q: %s", res.Code, kind, res.Body)
	}
	check(t, json.Unmarshal(res.Body.Bytes(), &out))
	return out
}

// want holds an answer to a status and an error code.
func want(t testing.TB, name string, res *httptest.ResponseRecorder, status int, code oauth.Code) {
	t.Helper()
	if told := res.Header().Get("WWW-Authenticate"); (told != "") != (status == http.StatusUnauthorized) {
		t.Errorf("%s: %d with WWW-Authenticate %q", name, res.Code, told)
	}
	a := read(t, res)
	if strings.ContainsFunc(a.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		t.Errorf("%s: RFC 6749 has no such error_description: %q", name, a.Description)
	}
	if res.Code != status || a.Error != string(code) || a.AccessToken != "" || a.Description == "" {
		t.Errorf("%s: %d %s (%s), want %d %s", name, res.Code, a.Error, a.Description, status, code)
	}
}

// issued returns the claims of an answer's token.
func (w *world) issued(name string, res *httptest.ResponseRecorder) (answer, *tokens.Claims) {
	w.t.Helper()
	a := read(w.t, res)
	if res.Code != http.StatusOK || a.AccessToken == "" {
		w.t.Fatalf("%s: %d %s", name, res.Code, res.Body)
	}
	c, err := w.verifier.VerifyUnbound(a.AccessToken, w.clock())
	if err != nil {
		w.t.Fatalf("%s: %v", name, errors.Unwrap(err))
	}
	return a, c
}

func (w *world) svid(path string) *tls.Certificate {
	w.t.Helper()
	c, err := w.ca.Mint(dev.Template{ID: devtest.ID(w.t, path)})
	check(w.t, err)
	return &c
}

func appOf(name string) string { return "/ns/" + name + "/sa/app" }

// grantOf has somebody granted an entitlement, now.
func (w *world) grantOf(who, entitlement string, d time.Duration, params map[string]string) grant.GrantID {
	w.t.Helper()
	c := access.Caller{Principal: principal(w.t, who), GroupsAt: w.clock()}
	if strings.HasPrefix(who, "user:") {
		g, err := identity.ParseGroup("group:idp/staff")
		check(w.t, err)
		c.Groups = []identity.Group{g}
	}
	r, err := w.Request(w.t.Context(), c, access.Ask{Entitlement: entitlement, Duration: d, Params: params})
	check(w.t, err)
	if r.State != access.Approved {
		w.t.Fatalf("%s is %s: %s", entitlement, r.State, r.Sentence)
	}
	return r.Grant
}

// login logs alice in at the command and returns the session's secret.
func (w *world) login(key tokens.Prover) string {
	w.t.Helper()
	a := read(w.t, w.do(call{form: w.codeForm(w.code(nil)), key: key}))
	if a.AccessToken == "" {
		w.t.Fatalf("no session: %+v", a)
	}
	return a.AccessToken
}

const verifierText = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

func challenge() string {
	sum := sha256.Sum256([]byte(verifierText))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func authorization(change url.Values) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {"mayfly-cli"}, "redirect_uri": {redir}, "state": {"of-the-command"},
		"code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}
	for name, v := range change {
		if q[name] = v; v == nil {
			delete(q, name)
		}
	}
	return "/oauth/authorize?" + q.Encode()
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil)
	r.RemoteAddr = "192.0.2.9:1000"
	out := httptest.NewRecorder()
	w.public.ServeHTTP(out, r)
	return out
}

// code goes the way of a browser and returns the code that it brings back.
func (w *world) code(change url.Values) string {
	w.t.Helper()
	res := w.get(authorization(change))
	to, err := res.Result().Location()
	if err != nil {
		w.t.Fatalf("%d %s", res.Code, res.Body)
	}
	return to.Query().Get("code")
}

func (w *world) codeForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"mayfly-cli"}, "redirect_uri": {redir}, "code": {code}, "code_verifier": {verifierText},
	}
}

func principal(t testing.TB, text string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(text)
	check(t, err)
	return p
}

// leaves returns the records of a type.
func (w *world) leaves(of audit.Type) []audit.Record {
	w.t.Helper()
	var out []audit.Record
	check(w.t, w.db.View(w.t.Context(), func(tx access.Tx) error {
		size, err := tx.Log().Size(w.t.Context())
		if err != nil {
			return err
		}
		raw, err := tx.Log().ReadLeaves(w.t.Context(), 0, size)
		for _, b := range raw {
			r, err := audit.Decode(b)
			if err != nil {
				return err
			}
			if r.Type == of {
				out = append(out, r)
			}
		}
		return err
	}))
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func noCert() *tls.Certificate { return &tls.Certificate{} }

// byKey is the confirmation of w's key.
func (w *world) byKey() tokens.Confirmation {
	w.t.Helper()
	print, err := w.key.Thumbprint()
	check(w.t, err)
	return tokens.Confirmation{JKT: print}
}

// stored returns a grant as the database has it.
func (w *world) stored(id grant.GrantID) grant.Grant {
	w.t.Helper()
	var out grant.Grant
	check(w.t, w.db.View(w.t.Context(), func(tx access.Tx) (err error) {
		out, err = tx.Grants().Get(w.t.Context(), id)
		return err
	}))
	return out
}

// finish ends a grant of the client's, if it has not ended.
func (w *world) finish(text string) {
	w.t.Helper()
	var id grant.GrantID
	check(w.t, id.UnmarshalText([]byte(text)))
	_, err := w.Finish(w.t.Context(), access.Caller{Principal: principal(w.t, me)}, id)
	if access.CodeOf(err) != access.CodeEnded {
		check(w.t, err)
	}
}

// flush has the server write what it gathered.
func (w *world) flush() error {
	ctx, stop := context.WithCancel(w.t.Context())
	stop()
	return w.server.Run(ctx)
}
