package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/xds"
)

const patience = 15 * time.Second // until a test gives up on another process

// findEnvoy returns the Envoy to test with, or skips.
func findEnvoy(t testing.TB) envoy.Binary {
	t.Helper()
	b, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: "../../.cache/envoy/envoy"})
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIP: ", err)
	}
	if b.Path, err = filepath.Abs(b.Path); err != nil {
		t.Fatal(err)
	}
	return b
}

// control stands for mayflyd: ADS over mTLS.
type control struct {
	ca      *dev.CA
	xds     *xds.Server
	address string

	mu   sync.Mutex
	apps []xds.App
}

func startControl(t testing.TB, ca *dev.CA, apps ...xds.App) *control {
	t.Helper()
	c := &control{ca: ca, apps: apps}
	verifier := devtest.Verifier(t, ca)
	config, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, "/mayflyd"), Verifier: verifier, Authorize: spiffe.AnyWorkload(), NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.xds, err = xds.NewServer(xds.Config{
		Peer: func(ctx context.Context) (identity.Principal, error) {
			p, err := verifier.PeerFromContext(ctx, time.Now())
			return p.Principal, err
		},
		Apps: c.appsOf, TrustDomains: []string{ca.TrustDomain().Name()}, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(append(xds.ServerOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	c.xds.Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	serve(t, func() error { return s.Serve(l) }, s.Stop)
	return c
}

// appsOf registers one node: /gw/sidecar with /gw/listener.
func (c *control) appsOf(_ context.Context, listener, sidecar identity.Principal) ([]xds.App, error) {
	if listener.String() != "spiffe://acme.example/gw/listener" || sidecar.String() != "spiffe://acme.example/gw/sidecar" {
		return nil, errors.New("no such node")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.apps), nil
}

// commit changes the apps as a policy commit does.
func (c *control) commit(t testing.TB, apps ...xds.App) {
	c.mu.Lock()
	c.apps = apps
	c.mu.Unlock()
	c.xds.Refresh(t.Context())
}

// status waits until the instance's status satisfies ok.
func (c *control) status(t testing.TB, node, what string, ok func(xds.Status) bool) xds.Status {
	t.Helper()
	var last xds.Status
	eventually(t, what, func() error {
		for _, s := range c.xds.Statuses() {
			if s.Node.ID == node {
				last = s
				if ok(s) {
					return nil
				}
			}
		}
		return fmt.Errorf("status is %+v", last)
	})
	return last
}

// gateway stands for the sidecar with its Envoy.
type gateway struct {
	node     string
	address  string // of the services port
	run      string
	envoy    *envoy.Supervisor
	decision *decider
	hop      *recorder
}

type gatewayConfig struct {
	node    string // after the #
	address netip.AddrPort
	source  *spiffe.Source // nil: a fixed listener SVID
}

func startGateway(t testing.TB, c *control, gc gatewayConfig) *gateway {
	t.Helper()
	binary := findEnvoy(t)
	run := filepath.Dir(devtest.Socket(t, "x"))
	g := &gateway{
		node: "spiffe://acme.example/gw/sidecar#" + gc.node, address: gc.address.String(), run: run,
		decision: &decider{}, hop: &recorder{},
	}
	bootstrap, err := envoy.Bootstrap(envoy.Config{
		NodeID: g.node, ServicesAddress: gc.address, RunDir: run, Version: "test",
		ControlAddress: c.address, ControlID: devtest.ID(t, "/mayflyd"),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.envoy, err = envoy.NewSupervisor(envoy.SupervisorConfig{Binary: binary, Bootstrap: bootstrap, RunDir: run, Concurrency: 1, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	g.serveSDS(t, c.ca, gc.source)
	g.serveDecisions(t)
	hop := &http.Server{Handler: g.hop}
	hopListener := g.listen(t, envoy.SocketHop)
	serve(t, func() error { return hop.Serve(hopListener) }, func() { hop.Close() })
	ctx, stop := context.WithCancel(context.Background())
	serve(t, func() error { return g.envoy.Run(ctx) }, stop)
	return g
}

func (g *gateway) listen(t testing.TB, socket string) net.Listener {
	t.Helper()
	l, err := envoy.Listen(filepath.Join(g.run, socket), g.envoy.PID, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (g *gateway) serveSDS(t testing.TB, ca *dev.CA, source *spiffe.Source) {
	t.Helper()
	if source == nil {
		source = devtest.Source(t, ca, "/gw/listener")
	}
	sds, err := envoy.NewSDS(envoy.SDSConfig{
		NodeID: g.node, Identity: source, ControlDomain: ca.TrustDomain(), ClientDomains: []spiffeid.TrustDomain{ca.TrustDomain()}, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	serve(t, func() error { return sds.Run(ctx) }, stop)
	s := grpc.NewServer(envoy.ServerOptions()...)
	sds.Register(s)
	l := g.listen(t, envoy.SocketSDS)
	serve(t, func() error { return s.Serve(l) }, s.Stop)
}

func (g *gateway) serveDecisions(t testing.TB) {
	t.Helper()
	s := grpc.NewServer(envoy.ServerOptions()...)
	authv3.RegisterAuthorizationServer(s, g.decision)
	alsv3.RegisterAccessLogServiceServer(s, g.decision)
	l := g.listen(t, envoy.SocketSidecar)
	serve(t, func() error { return s.Serve(l) }, s.Stop)
}

// decider is a sidecar that says what the test wants and remembers what it heard.
type decider struct {
	authv3.UnimplementedAuthorizationServer
	alsv3.UnimplementedAccessLogServiceServer

	mu      sync.Mutex
	deny    bool
	headers map[string]string
	checks  []*authv3.CheckRequest
	http    []*accesslogv3.HTTPAccessLogEntry
	tcp     []*accesslogv3.TCPAccessLogEntry
}

func (d *decider) set(deny bool, headers map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deny, d.headers = deny, headers
}

func (d *decider) last() *authv3.CheckRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.checks) == 0 {
		return nil
	}
	return d.checks[len(d.checks)-1]
}

func (d *decider) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.checks)
}

func (d *decider) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checks = append(d.checks, r)
	if d.deny {
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: `{"code":"no_grant"}`,
			}},
		}, nil
	}
	ok := &authv3.OkHttpResponse{}
	for k, v := range d.headers {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}})
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}, nil
}

func (d *decider) StreamAccessLogs(st alsv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := st.Recv()
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.http = append(d.http, m.GetHttpLogs().GetLogEntry()...)
		d.tcp = append(d.tcp, m.GetTcpLogs().GetLogEntry()...)
		d.mu.Unlock()
	}
}

// recorder is an app that remembers what reached it.
type recorder struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body)
	r.mu.Lock()
	r.seen = append(r.seen, req)
	r.mu.Unlock()
	w.Header().Set("x-mayfly-action", "act_forged")
	if req.URL.Path == "/hang" {
		<-req.Context().Done()
		return
	}
	fmt.Fprint(w, "hello")
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

func (r *recorder) last() *http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[len(r.seen)-1]
}

// upstream starts an app on loopback and returns it as xds names it.
func upstream(t testing.TB, name string) (xds.App, *recorder) {
	t.Helper()
	r := &recorder{}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return xds.App{Name: name, Kind: "web", Hosts: []string{name + ".acme.example"}, Upstream: u}, r
}

func hopApp() xds.App {
	return xds.App{Name: "stripe", Kind: "stripe", Hosts: []string{"stripe.acme.example"}, Hop: true, BodyMethods: []string{"POST"}}
}

// caller is a workload with an SVID, or without.
type caller struct {
	*http.Client
}

func newCaller(t testing.TB, address, sni string, config *tls.Config) caller {
	t.Helper()
	config = config.Clone()
	config.ServerName = sni
	tr := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return caller{&http.Client{Transport: tr, Timeout: patience}}
}

func clientTLS(t testing.TB, ca *dev.CA, path string) *tls.Config {
	t.Helper()
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, path), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.Only(devtest.ID(t, "/gw/listener")),
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

func (c caller) do(ctx context.Context, method, url string, body io.Reader, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if json.Unmarshal(text, &out.body) != nil {
		out.body = nil
	}
	return out, nil
}

func (c caller) get(t testing.TB, url string, header ...string) answer {
	t.Helper()
	a, err := c.do(t.Context(), "GET", url, nil, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ready waits until url answers 200.
func (c caller) ready(t testing.TB, url string) {
	t.Helper()
	eventually(t, url+" answers", func() error {
		a, err := c.do(t.Context(), "GET", url, nil)
		if err != nil {
			return err
		}
		if a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.text)
		}
		return nil
	})
}

// eventually waits for another process: it asks until there is no error.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		<-tick.C
	}
}

// serve runs f until the test ends.
func serve(t testing.TB, f func() error, stop func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("server ended: %v", err)
		}
	})
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// testLog keeps what is logged and shows it if the test fails.
func testLog(t testing.TB) *slog.Logger {
	b := &lockedBuffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.String())
		}
	})
	return slog.New(slog.NewTextHandler(b, nil))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
