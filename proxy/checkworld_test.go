package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/app/stripe"
	"github.com/mayflyproxy/mayfly/app/web"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/trace"
)

// desk is a Checker in a world with the apps stripe and wiki, and one grant of an
// hour on each to Refunder.
type desk struct {
	*proxy.Checker
	t        testing.TB
	world    *proxytest.World
	journal  *proxytest.Journal
	reserver *reserver
	sessions *sessions
	actions  *proxy.Actions
	denials  proxy.Denials
	logs     *logs
	assert   func(*feed.AssertRequest) (string, time.Time, error)
	traces   *trace.Tracer // nil: off; taken by build
	ca       *dev.CA
	stripe   grant.GrantID
	wiki     grant.GrantID
}

// reserver is a control plane that acknowledges, or does what a test wants.
type reserver struct {
	mu    sync.Mutex
	act   func(ctx context.Context) error
	asked []string // class and amount
}

func (r *reserver) Reserve(ctx context.Context, _ proxy.Action, class, amount string, m proxy.Mark) error {
	r.mu.Lock()
	r.asked = append(r.asked, class+" "+amount)
	act := r.act
	r.mu.Unlock()
	if m.Seq == 0 || m.Frame.IsZero() {
		return grant.Deny(grant.Internal, "a reservation without its intent")
	}
	if act != nil {
		return act(ctx)
	}
	return nil
}

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

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{t: t, world: proxytest.NewWorld(t, proxytest.Wiki(), proxytest.Stripe("https://api.stripe.com"))}
	var a, b *feed.Resource
	d.stripe, a = d.world.Refunds(time.Hour)
	d.wiki, b = d.world.Reads(time.Hour)
	d.world.Add(a, b)
	d.build(&proxytest.Journal{})
	return d
}

// build makes the Checker of d's world with a journal.
func (d *desk) build(j proxy.Journal) {
	d.t.Helper()
	var err error
	if d.ca == nil {
		d.ca, err = dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(devtest.Domain), Now: proxytest.Noon})
		if err != nil {
			d.t.Fatal(err)
		}
	}
	s, err := stripe.New()
	if err != nil {
		d.t.Fatal(err)
	}
	w, err := web.New()
	if err != nil {
		d.t.Fatal(err)
	}
	d.journal, _ = j.(*proxytest.Journal)
	d.sessions = newSessions(d.world)
	d.reserver, d.actions, d.logs = &reserver{}, proxy.NewActions(), &logs{}
	d.Checker, err = proxy.NewChecker(proxy.CheckerConfig{
		Table: d.world.Table, Kinds: map[string]app.Kind{"stripe": s, "web": w}, Peers: devtest.Verifier(d.t, d.ca), Journal: j,
		Reserver: d.reserver, Sessions: d.sessions, Actions: d.actions, Denials: &d.denials, Minter: grant.NewMinter(), RecordKey: audit.NewPersonKey(), ClientsPort: 8447, Asserter: d, Traces: d.traces,
		Log: slog.New(slog.NewTextHandler(d.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// Assert implements proxy.Asserter: the control plane is silent unless a test says else.
func (d *desk) Assert(_ context.Context, r *feed.AssertRequest) (string, time.Time, error) {
	if d.assert == nil {
		return "", time.Time{}, errors.New("connection refused")
	}
	return d.assert(r)
}

// certificate is the SVID of a workload as Envoy hands it on.
func (d *desk) certificate(who string) string {
	d.t.Helper()
	svid, err := d.ca.SVID(spiffeid.RequireFromString(who), 3*time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	return escape(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: svid.Certificates[0].Raw}))
}

func escape(text []byte) string { return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20") }

// ask is a request as Envoy 1.40 describes it, in parts that a test changes.
type ask struct {
	certificate, sni, app    string
	door                     string // "" is services
	hop, guard               bool
	method, authority, path  string
	headers                  [][2]string
	body                     string
	noHeaders, told, inValue bool // told: the pseudo-headers say something else
	partial, unmarked        bool // how Envoy marks the body
}

func (d *desk) refund(who string) ask {
	return ask{
		certificate: d.certificate(who), sni: "stripe.acme.example", app: "stripe", hop: true, method: "POST", authority: "stripe.acme.example",
		path: "/v1/refunds", headers: [][2]string{{"content-type", "application/x-www-form-urlencoded"}, {"authorization", "Bearer sk_test_callers"}},
		body: "amount=100&charge=ch_1",
	}
}

func (d *desk) read(who string) ask {
	return ask{certificate: d.certificate(who), sni: "wiki.acme.example", app: "wiki", method: "GET", authority: "wiki.acme.example", path: "/docs/a?b=c"}
}

func (a ask) message() *authv3.CheckRequest {
	header := func(name, value string) *corev3.HeaderValue {
		if a.inValue {
			return &corev3.HeaderValue{Key: name, Value: value}
		}
		return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
	}
	m := &corev3.HeaderMap{}
	if !a.noHeaders {
		path := a.path
		if a.told {
			path = "/elsewhere"
		}
		m.Headers = []*corev3.HeaderValue{header(":authority", a.authority), header(":method", a.method), header(":path", path), header(":scheme", "https")}
		if a.body != "" && !a.unmarked {
			m.Headers = append(m.Headers, header("x-envoy-auth-partial-body", cond(a.partial, "true", "false")))
		}
		for _, h := range a.headers {
			m.Headers = append(m.Headers, header(h[0], h[1]))
		}
	}
	route := &structpb.Struct{Fields: map[string]*structpb.Value{"door": structpb.NewStringValue(cond(a.door == "", "services", a.door)), "app": structpb.NewStringValue(a.app), "hop": structpb.NewBoolValue(a.hop), "guard": structpb.NewBoolValue(a.guard)}}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:               &authv3.AttributeContext_Peer{Principal: "spiffe://acme.example/forged", Certificate: a.certificate},
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: a.sni},
		RouteMetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"mayfly": route}},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)), // a wall clock that is wrong
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "1", Method: a.method, Host: a.authority, Path: a.path, Scheme: "https", Protocol: "HTTP/2", HeaderMap: m, RawBody: []byte(a.body),
			},
		},
	}}
}

func cond(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// verdict is what a test reads of an answer.
type verdict struct {
	allowed bool
	status  int
	reason  grant.Reason
	header  map[string]string
	cookies []string // Set-Cookie
	removed []string // headers of the request
	meta    map[string]string
	body    string
}

func (d *desk) check(a ask) verdict { return d.checkWith(d.t.Context(), a) }

func (d *desk) checkWith(ctx context.Context, a ask) verdict {
	d.t.Helper()
	return d.judge(d.Check(ctx, a.message()))
}

// judge reads an answer. Envoy 1.40 writes a raw_value as an empty header, so
// none may be used.
func (d *desk) judge(r *authv3.CheckResponse, err error) verdict {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	v := verdict{header: map[string]string{}, meta: map[string]string{}}
	headers := r.GetOkResponse().GetHeaders()
	if denied := r.GetDeniedResponse(); denied != nil {
		headers, v.status, v.body = denied.GetHeaders(), int(denied.GetStatus().GetCode()), denied.GetBody()
	}
	v.allowed = r.GetOkResponse() != nil && r.GetDeniedResponse() == nil && r.GetStatus().GetCode() == 0
	if !v.allowed && (r.GetStatus().GetCode() == 0 || r.GetOkResponse() != nil) {
		d.t.Fatalf("an answer that is neither yes nor no: %v", r)
	}
	for _, h := range headers {
		// Of several values that overwrite, Envoy keeps the last.
		want := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if len(v.cookies) > 0 && strings.EqualFold(h.GetHeader().GetKey(), "set-cookie") {
			want = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
		if len(h.GetHeader().GetRawValue()) > 0 || h.GetHeader().GetValue() == "" || h.GetAppendAction() != want {
			d.t.Errorf("header %v", h)
		}
		if strings.EqualFold(h.GetHeader().GetKey(), "set-cookie") {
			v.cookies = append(v.cookies, h.GetHeader().GetValue())
			continue
		}
		if _, twice := v.header[strings.ToLower(h.GetHeader().GetKey())]; twice {
			d.t.Errorf("the header %s twice", h.GetHeader().GetKey())
		}
		v.header[strings.ToLower(h.GetHeader().GetKey())] = h.GetHeader().GetValue()
	}
	v.removed = r.GetOkResponse().GetHeadersToRemove()
	for k, f := range r.GetDynamicMetadata().GetFields() {
		v.meta[k] = f.GetStringValue()
	}
	if v.meta["reason"] == "" && v.meta["action"] == "" || v.meta["reason"] != "" && v.meta["action"] != "" {
		d.t.Errorf("Envoy cannot tell whose answer this is: %v", v.meta)
	}
	if v.reason = grant.Reason(v.meta["reason"]); v.reason == "answered" {
		v.reason = ""
	}
	return v
}

// problem is the RFC 9457 document of a denial.
func (v verdict) problem(t testing.TB) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(v.body), &out); err != nil {
		t.Fatalf("%v in %q", err, v.body)
	}
	return out
}

func (a ask) with(change func(*ask)) ask {
	change(&a)
	return a
}

func refunderID() spiffeid.ID { return spiffeid.RequireFromString(proxytest.Refunder) }

func pemOf(chain [][]byte) string {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return escape(out)
}
