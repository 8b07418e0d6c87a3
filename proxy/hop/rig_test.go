package hop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/credential"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

const (
	canary = "sk_live_canary_0123456789"
	form   = "amount=100&charge=ch_1"
)

// rig is a hop between a test that plays Envoy and an upstream over TLS.
type rig struct {
	t        *testing.T
	world    *proxytest.World
	grant    grant.GrantID
	actions  *proxy.Actions
	journal  *proxytest.Journal
	minter   *grant.Minter
	upstream *httptest.Server
	front    *httptest.Server
	logs     *logs

	stuck watch
	asked atomic.Int64 // requests that the upstream's handler saw
	dials atomic.Int64

	mu   sync.Mutex
	last *http.Request // as the upstream saw it
	body string
}

// logs is a buffer that many may write to.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bend changes a rig before it starts.
type bend struct {
	upstream func(*httptest.Server)      // before it listens for TLS
	url      func(string) string         // of the upstream, as the feed tells it
	gate     func(*proxytest.World) Gate // nil: the table
	secret   func(*credential.Entry)     // of the key in the sidecar's configuration
	config   func(*Config)               //
}

func newRig(t *testing.T, answer http.HandlerFunc, b bend) *rig {
	t.Helper()
	r := &rig{t: t, actions: proxy.NewActions(), journal: &proxytest.Journal{}, minter: grant.NewMinter(), logs: &logs{}}
	r.serveUpstream(answer, b)
	url := r.upstream.URL
	if b.url != nil {
		url = b.url(url)
	}
	r.world = proxytest.NewWorld(t, proxytest.Stripe(url))
	var resource *feed.Resource
	r.grant, resource = r.world.Refunds(time.Hour)
	r.world.Add(resource)
	var gate Gate = r.world.Table
	hold := func(a proxy.Action) Hold { return r.world.Hold(a) }
	if b.gate != nil {
		gate = b.gate(r.world)
		hold = func(proxy.Action) Hold { return deafHold{} }
	}
	kind, err := stripe.New()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(r.upstream.Certificate())
	c := Config{
		Gate: gate, Hold: hold, Actions: r.actions, Kinds: map[string]app.Credentialed{"stripe": kind}, Secrets: r.secrets(url, b.secret),
		Journal: r.journal, Now: r.world.Now, Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Roots: roots,
	}
	if b.config != nil {
		b.config(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.front = httptest.NewUnstartedServer(h)
	r.front.Listener = watchedListener{r.front.Listener, &r.stuck}
	r.front.Start()
	t.Cleanup(r.front.Close)
	t.Cleanup(r.noSecret)
	return r
}

func (r *rig) serveUpstream(answer http.HandlerFunc, b bend) {
	r.upstream = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.last, r.body = q, string(body)
		r.mu.Unlock()
		answer(w, q)
	}))
	r.upstream.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.upstream.Listener = countingListener{r.upstream.Listener, &r.dials}
	if b.upstream != nil {
		b.upstream(r.upstream)
	}
	r.upstream.StartTLS()
	r.t.Cleanup(r.upstream.Close)
	r.t.Cleanup(r.upstream.CloseClientConnections)
}

type countingListener struct {
	net.Listener
	dials *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.dials.Add(1)
	}
	return c, err
}

// watch sees writes to Envoy that do not come to an end.
type watch struct{ begun, ended atomic.Int64 }

// wait returns when one write has stood still for a while. If the machine is just
// slow, the test is easier than it should be, and still right.
func (w *watch) wait(t *testing.T) {
	t.Helper()
	for still, last := 0, int64(-1); still < 100; time.Sleep(time.Millisecond) {
		if n := w.begun.Load(); n == last && n > w.ended.Load() {
			still++
		} else {
			still, last = 0, n
		}
	}
}

type watchedListener struct {
	net.Listener
	w *watch
}

func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return watchedConn{c, l.w}, err
}

type watchedConn struct {
	net.Conn
	w *watch
}

func (c watchedConn) Write(b []byte) (int, error) {
	c.w.begun.Add(1)
	defer c.w.ended.Add(1)
	return c.Conn.Write(b)
}

func (r *rig) secrets(url string, change func(*credential.Entry)) credential.Source {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(canary), 0o600); err != nil {
		r.t.Fatal(err)
	}
	_, host, _ := strings.Cut(url, "://")
	e := credential.Entry{File: path, Apps: []string{"stripe"}, Hosts: []string{host}}
	if change != nil {
		change(&e)
	}
	files, err := credential.NewFiles(credential.Config{Entries: map[string]credential.Entry{"stripe-key": e}})
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

// allow puts an action that Check allowed, with a body of form.
func (r *rig) allow(change ...func(*proxy.Action)) proxy.Action {
	r.t.Helper()
	now := r.world.Now()
	a := proxy.Action{
		ID: r.minter.NewActionID(now), Grant: r.grant, App: "stripe", Secret: "stripe-key", Hop: true,
		Method: "POST", Authority: "stripe.acme.example", Path: "/v1/refunds?a=b", Body: sha256.Sum256([]byte(form)), HasBody: true,
		Decided: now, Deadline: now.Add(time.Minute),
	}
	for _, f := range change {
		f(&a)
	}
	if err := r.actions.Put(a); err != nil {
		r.t.Fatal(err)
	}
	return a
}

func reading(a *proxy.Action) {
	a.Method, a.Path, a.HasBody, a.Body = "GET", "/v1/charges/ch_1", false, [32]byte{}
}

// request is what Envoy sends for an action.
func (r *rig) request(a proxy.Action) *http.Request {
	r.t.Helper()
	body := io.Reader(http.NoBody)
	if a.HasBody {
		body = strings.NewReader(form)
	}
	q, err := http.NewRequestWithContext(r.t.Context(), a.Method, r.front.URL+a.Path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Host = a.Authority
	q.Header.Set(ActionHeader, a.ID.String())
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return q
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (a answer) reason() grant.Reason { return grant.Reason(a.header.Get("Mayfly-Reason")) }

func (r *rig) do(q *http.Request) answer {
	r.t.Helper()
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		return answer{err: err, header: http.Header{}}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if strings.Contains(string(b)+fmt.Sprint(resp.Header, resp.Trailer), canary) {
		r.t.Errorf("the credential came back: %v %s", resp.Header, b)
	}
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

// outcome waits for the one outcome.
func (r *rig) outcome() audit.Outcome {
	r.t.Helper()
	all := r.outcomes(1)
	return all[0]
}

// outcomeOf waits for the outcomes of n actions and returns that of one. The answer
// to a program does not wait for its outcome to be written.
func (r *rig) outcomeOf(a proxy.Action, n int) audit.Outcome {
	r.t.Helper()
	all := r.outcomes(n)
	i := slices.IndexFunc(all, func(o audit.Outcome) bool { return o.Action == a.ID.String() })
	if i < 0 {
		r.t.Fatalf("no outcome of %s: %+v", a.ID, all)
	}
	return all[i]
}

// outcomes waits for n of them. More is a failure.
func (r *rig) outcomes(n int) []audit.Outcome {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		switch all := r.journal.Outcomes(); {
		case len(all) == n:
			return all
		case len(all) > n:
			r.t.Fatalf("%d outcomes of %d actions", len(all), n)
		case time.Now().After(end):
			r.t.Fatal("no outcome")
		}
	}
}

// notSent fails the test if the upstream got a request, or the record says that it may have.
func (r *rig) notSent(reason grant.Reason) {
	r.t.Helper()
	if o := r.outcome(); o.Result != audit.ResultNotSent || o.Reason != string(reason) || r.asked.Load() != 0 {
		r.t.Errorf("outcome %+v, want not_sent for %s; the upstream saw %d requests", o, reason, r.asked.Load())
	}
}

// noSecret looks for the canary wherever it must not be.
func (r *rig) noSecret() {
	text, err := json.Marshal(r.journal.Outcomes())
	if err != nil {
		r.t.Error(err)
	}
	for name, s := range map[string]string{"logs": r.logs.String(), "record": string(text)} {
		if strings.Contains(s, canary) {
			r.t.Errorf("the credential is in the %s: %s", name, s)
		}
	}
}

func ok(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Request-Id", "req_up_1")
	w.Header().Set("Set-Cookie", "a=b")
	w.Header().Set(ActionHeader, "act_forged")
	_, _ = io.WriteString(w, `{"id":"re_1"}`)
}

// deaf is a gate, and deafHold a hold, that hears no revocation: only its last look refuses.
type deaf struct{ *proxy.Table }

type deafHold struct{}

func (deafHold) Wait(ctx context.Context) *proxy.Cut { <-ctx.Done(); return nil }

func (deafHold) LetGo(bool) {}

// duringHandshake runs f in the upstream's part of each TLS handshake: the hop
// has decided to dial, and has not yet looked a last time.
func duringHandshake(f func()) func(*httptest.Server) {
	return func(s *httptest.Server) {
		s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			f()
			return nil, nil
		}}
	}
}
