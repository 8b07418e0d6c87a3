package hop

import (
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/app/credential"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

func TestP7_TheUpstreamSeesTheKeyAndNothingOfTheCallers(t *testing.T) {
	r := newRig(t, ok, bend{})
	q := r.request(r.allow())
	q.Header.Set("Authorization", "Bearer sk_test_callers")
	q.Header.Add("Cookie", "session=callers")
	q.Header.Set("X-Api-Key", "callers")
	q.Header.Set("X-Forwarded-For", "192.0.2.1")
	q.Header.Set("X-Envoy-Expected-Rq-Timeout-Ms", "1")
	q.Header.Set("Accept-Encoding", "gzip")
	q.Header.Set("Idempotency-Key", "k1")
	got := r.do(q)
	if got.status != 200 || got.body != `{"id":"re_1"}` || got.header.Get(ActionHeader) != "" || got.header.Get("Set-Cookie") != "" {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	seen := r.last
	if seen.Header.Get("Authorization") != "Bearer "+canary || "https://"+seen.Host != r.upstream.URL || seen.RequestURI != "/v1/refunds?a=b" ||
		seen.Method != "POST" || r.body != form || seen.Header.Get("Idempotency-Key") != "k1" || seen.Header.Get("Accept-Encoding") != "identity" {
		t.Fatalf("the upstream saw %s %s %s %v %q", seen.Method, seen.Host, seen.RequestURI, seen.Header, r.body)
	}
	for _, name := range []string{"Cookie", "X-Api-Key", "X-Forwarded-For", "X-Envoy-Expected-Rq-Timeout-Ms", ActionHeader} {
		if _, there := seen.Header[name]; there {
			t.Errorf("the upstream saw %s", name)
		}
	}
	if strings.Contains(fmt.Sprint(seen.Header), "callers") {
		t.Errorf("the upstream saw the caller's credential: %v", seen.Header)
	}
	if o := r.outcome(); o.Result != audit.ResultSent || o.Status != 200 || o.Bytes != 13 || o.UpstreamID != "req_up_1" || o.EndedBy != "" {
		t.Fatalf("outcome %+v", o)
	}
}

func TestP2_TheHopCarriesOutOnlyWhatWasDecided(t *testing.T) {
	for _, c := range []struct {
		name   string
		action func(*proxy.Action)
		later  time.Duration
		send   func(*http.Request)
		want   grant.Reason
	}{
		{"no action", nil, 0, func(q *http.Request) { q.Header.Del(ActionHeader) }, grant.Internal},
		{"an empty action", nil, 0, func(q *http.Request) { q.Header.Set(ActionHeader, "") }, grant.Internal},
		{"two actions", nil, 0, func(q *http.Request) { q.Header.Add(ActionHeader, q.Header.Get(ActionHeader)) }, grant.Internal},
		{"no id", nil, 0, func(q *http.Request) { q.Header.Set(ActionHeader, "act_1") }, grant.Internal},
		{"an unknown action", nil, 0, func(q *http.Request) { q.Header.Set(ActionHeader, "act_01ARZ3NDEKTSV4RRFFQ69G5FAV") }, grant.Internal},
		{"lower case", nil, 0, func(q *http.Request) {
			q.Header.Set(ActionHeader, "act_"+strings.ToLower(strings.TrimPrefix(q.Header.Get(ActionHeader), "act_")))
		}, grant.Internal},
		{"a direct app's", func(a *proxy.Action) { a.Hop = false }, 0, nil, grant.Internal},
		{"too old", nil, proxy.TakeWithin + time.Second, nil, grant.Timeout},
		{"another method", nil, 0, func(q *http.Request) { q.Method = "PUT" }, grant.ConflictingHeaders},
		{"another host", nil, 0, func(q *http.Request) { q.Host = "wiki.acme.example" }, grant.ConflictingHeaders},
		{"another port", nil, 0, func(q *http.Request) { q.Host += ":443" }, grant.ConflictingHeaders},
		{"another path", nil, 0, func(q *http.Request) { q.URL.Path = "/v1/payouts" }, grant.ConflictingHeaders},
		{"another query", nil, 0, func(q *http.Request) { q.URL.RawQuery = "a=c" }, grant.ConflictingHeaders},
		{"another body", nil, 0, body("amount=999&charge=ch_1"), grant.ConflictingHeaders},
		{"a longer body", nil, 0, body(form + "&amount=999"), grant.ConflictingHeaders},
		{"no body", nil, 0, body(""), grant.ConflictingHeaders},
		{"a body where none was seen", reading, 0, body("a=b"), grant.ConflictingHeaders},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, ok, bend{})
			var change []func(*proxy.Action)
			if c.action != nil {
				change = append(change, c.action)
			}
			q := r.request(r.allow(change...))
			if c.send != nil {
				c.send(q)
			}
			r.world.Pass(c.later)
			r.world.Pong()
			if got := r.do(q); got.reason() != c.want {
				t.Errorf("%d %q, want %s", got.status, got.body, c.want)
			}
			if r.dials.Load() != 0 {
				t.Error("the upstream was dialled")
			}
		})
	}
}

func body(s string) func(*http.Request) {
	return func(q *http.Request) { q.Body, q.ContentLength = io.NopCloser(strings.NewReader(s)), int64(len(s)) }
}

func TestP5_AnActionIsCarriedOutOnce(t *testing.T) {
	r := newRig(t, ok, bend{})
	a := r.allow()
	answers := make(chan answer)
	for range 8 {
		q := r.request(a)
		go func() { answers <- r.do(q) }()
	}
	passed := 0
	for range 8 {
		if got := <-answers; got.status == 200 {
			passed++
		} else if got.reason() != grant.Internal {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if got := r.do(r.request(a)); passed != 1 || got.reason() != grant.Internal || r.asked.Load() != 1 {
		t.Fatalf("%d passed, later %d; the upstream was asked %d times", passed, got.status, r.asked.Load())
	}
}

// net/http sends an idempotent request again when a kept connection dies under
// it. An action is not sent again.
func TestP5_ADyingConnectionIsNoSecondTry(t *testing.T) {
	var r *rig
	r = newRig(t, func(w http.ResponseWriter, q *http.Request) {
		if r.asked.Load() == 2 {
			panic(http.ErrAbortHandler)
		}
		ok(w, q)
	}, bend{})
	if got := r.do(r.request(r.allow(reading))); got.status != 200 {
		t.Fatal(got.status, got.body)
	}
	second := r.allow(reading)
	got := r.do(r.request(second))
	if got.reason() != grant.UpstreamUnavailable || r.asked.Load() != 2 {
		t.Fatalf("%d %s, the upstream was asked %d times", got.status, got.body, r.asked.Load())
	}
	if o := r.outcomeOf(second, 2); o.Result != audit.ResultUnknown {
		t.Fatalf("outcome %+v", o)
	}
}

func TestP7_AnAnswerWithTheCredentialIsWithheld(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, auth string)
		status int // 0: the answer is aborted
		by     string
		most   string // of the body may come through
	}{
		"in a header": {func(w http.ResponseWriter, a string) { w.Header().Set("X-Debug", a); w.WriteHeader(200) }, 503, "echo", ""},
		"in a cookie": {func(w http.ResponseWriter, a string) { w.Header().Set("Set-Cookie", a); w.WriteHeader(200) }, 503, "echo", ""},
		"at once":     {func(w http.ResponseWriter, a string) { _, _ = io.WriteString(w, a) }, 0, "echo", "Bearer "},
		"split": {func(w http.ResponseWriter, a string) {
			for i := range len(a) {
				_, _ = io.WriteString(w, a[i:i+1])
				w.(http.Flusher).Flush()
			}
		}, 0, "echo", "Bearer "},
		"deep inside": {func(w http.ResponseWriter, a string) { _, _ = io.WriteString(w, strings.Repeat("x", 50_000)+a) }, 0, "echo", strings.Repeat("x", 50_000) + "Bearer "},
		"compressed": {func(w http.ResponseWriter, a string) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, a)
			_ = z.Close()
		}, 502, "upstream", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, q *http.Request) { c.answer(w, q.Header.Get("Authorization")) }, bend{})
			got := r.do(r.request(r.allow(reading)))
			switch {
			case c.status != 0 && got.status != c.status:
				t.Errorf("%d %s, want %d", got.status, got.body, c.status)
			case c.status == 0 && got.status != 503 && (got.err == nil || !strings.HasPrefix(c.most, got.body)):
				t.Errorf("%d %q, %v", got.status, got.body, got.err)
			}
			if o := r.outcome(); o.Result != audit.ResultSent || o.EndedBy != c.by || o.Status != 200 {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, "/elsewhere", http.StatusTemporaryRedirect)
	}, bend{})
	got := r.do(r.request(r.allow()))
	if got.status != 307 || got.header.Get("Location") != "/elsewhere" || r.asked.Load() != 1 {
		t.Fatalf("%d %v, asked %d times", got.status, got.header, r.asked.Load())
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		raw    string
		status int
		result audit.Result
	}{
		"another protocol": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw", 502, audit.ResultSent},
		"early hints":      {"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, audit.ResultSent},
		"no HTTP":          {"hello\r\n\r\n", 502, audit.ResultUnknown},
		"a huge header":    {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxAnswerHeader+8192) + "\r\n\r\n", 502, audit.ResultUnknown},
		"two lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 502, audit.ResultUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				_, _ = io.WriteString(conn, c.raw)
				_ = conn.Close()
			}, bend{})
			if got := r.do(r.request(r.allow())); got.status != c.status {
				t.Errorf("%d %s", got.status, got.body)
			}
			if o := r.outcome(); o.Result != c.result {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}

// An upstream that answers by itself, before it was asked, makes nothing pass.
func TestP5_AnAnswerBeforeTheQuestionCountsForNothing(t *testing.T) {
	var r *rig
	r = newRig(t, ok, bend{
		upstream: func(s *httptest.Server) { s.Listener = eager{s.Listener, s} },
		gate: func(w *proxytest.World) Gate {
			return gateFunc{deaf{w.Table}, func() { r.world.End(r.grant, grant.Revoked) }}
		},
	})
	if got := r.do(r.request(r.allow())); got.status == 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if o := r.outcome(); o.Result != audit.ResultNotSent {
		t.Fatalf("outcome %+v", o)
	}
}

// eager answers each connection right after its handshake; the server behind it
// gets none.
type eager struct {
	net.Listener
	s *httptest.Server
}

func (l eager) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		go func() {
			defer func() { _ = c.Close() }()
			t := tls.Server(c, l.s.TLS)
			if t.Handshake() == nil {
				_, _ = io.WriteString(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
			_, _ = io.Copy(io.Discard, t)
		}()
	}
}

func TestP7_ACredentialGoesNowhereElse(t *testing.T) {
	for name, c := range map[string]struct {
		bend  bend
		want  grant.Reason
		dials int64
	}{
		"to another host":  {bend{secret: func(e *credential.Entry) { e.Hosts = []string{"api.stripe.com"} }}, grant.CredentialUnavailable, 0},
		"to another port":  {bend{secret: func(e *credential.Entry) { e.Hosts = []string{"127.0.0.1"} }}, grant.CredentialUnavailable, 0},
		"for another app":  {bend{secret: func(e *credential.Entry) { e.Apps = []string{"wiki"} }}, grant.CredentialUnavailable, 0},
		"without its file": {bend{secret: func(e *credential.Entry) { e.File += "x" }}, grant.CredentialUnavailable, 0},
		"to a name that the certificate does not have": {bend{url: func(s string) string { return strings.Replace(s, "127.0.0.1", "localhost", 1) }}, grant.UpstreamUnavailable, 1},
		"under roots that are not ours":                {bend{config: func(c *Config) { c.Roots = nil }}, grant.UpstreamUnavailable, 1},
		"in the clear":                                 {bend{url: func(s string) string { return strings.Replace(s, "https", "http", 1) }}, grant.UpstreamUnavailable, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ok, c.bend)
			if got := r.do(r.request(r.allow())); got.reason() != c.want || r.dials.Load() != c.dials {
				t.Errorf("%d %s after %d connections, want %s after %d", got.status, got.body, r.dials.Load(), c.want, c.dials)
			}
			r.notSent(c.want)
		})
	}
}

func TestAnUpstreamThatIsDown(t *testing.T) {
	r := newRig(t, ok, bend{})
	r.upstream.Close()
	got := r.do(r.request(r.allow()))
	if got.status != 502 || !strings.Contains(got.body, "mayfly_upstream_unavailable") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.notSent(grant.UpstreamUnavailable)
}

func TestTheActionIDGoesUpOnlyWhenAsked(t *testing.T) {
	r := newRig(t, ok, bend{config: func(c *Config) { c.SendActionID = true }})
	a := r.allow()
	r.do(r.request(a))
	if got := r.last.Header.Get(ActionHeader); got != a.ID.String() {
		t.Fatalf("the upstream saw %q", got)
	}
}

func TestAnEndedGrantIsNotEvenPrepared(t *testing.T) {
	r := newRig(t, ok, bend{})
	a := r.allow()
	r.world.End(r.grant, grant.Revoked)
	if got := r.do(r.request(a)); got.reason() != grant.Revoked {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.notSent(grant.Revoked)
}

func TestNewNeedsEverything(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Fatal("an empty Config")
	}
}

func TestP2_AConnectionWithoutADecisionWritesNothing(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	c := &conn{Conn: near, raw: near}
	if _, err := c.Write([]byte("a")); !errors.Is(err, errNone) {
		t.Fatalf("%v", err)
	}
	refused := &ticket{pass: func(func() error) error { return errors.New("no") }}
	c.begin(refused)
	for range 2 {
		if _, err := c.Write([]byte("a")); err == nil {
			t.Fatal("a write after a refused look")
		}
	}
	go func() { _, _ = io.WriteString(far, "HTTP/1.1 200 OK") }()
	if n, err := c.Read(make([]byte, 99)); n != 0 || !errors.Is(err, errUnasked) {
		t.Fatalf("%d bytes that nobody asked for: %v", n, err)
	}
	spent := &ticket{pass: func(write func() error) error { return write() }}
	if sent, err := spent.spend(); sent || err != nil {
		t.Fatal(sent, err)
	}
	c.begin(spent)
	if _, err := c.Write([]byte("a")); !errors.Is(err, errTwice) {
		t.Fatalf("a write after the failure is on record: %v", err)
	}
}
