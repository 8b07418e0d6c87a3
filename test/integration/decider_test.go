package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/mayflyproxy/mayfly/xds"
)

// decider is a sidecar that says what the test wants and remembers what it heard.
type decider struct {
	authv3.UnimplementedAuthorizationServer
	alsv3.UnimplementedAccessLogServiceServer

	mu      sync.Mutex
	deny    bool
	headers map[string]string
	answer  func(*authv3.CheckRequest) *authv3.CheckResponse // nil: deny and headers say it
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
	if d.answer != nil {
		return d.answer(r), nil
	}
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
	return xds.App{Name: name, Kind: "web", Hosts: []string{name + ".acme.example"}, Upstream: u, Services: true}, r
}

func hopApp() xds.App {
	return xds.App{Name: "stripe", Kind: "stripe", Hosts: []string{"stripe.acme.example"}, Hop: true, BodyMethods: []string{"POST"}, Services: true}
}
