package tracetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/trace"
)

// Receiver is a collector. It is safe for concurrent use.
type Receiver struct {
	coltracepb.UnimplementedTraceServiceServer
	t    testing.TB
	addr string

	mu       sync.Mutex
	answer   func(n int, spans int) (*coltracepb.ExportTraceServiceResponse, error)
	exports  int
	kept     []Span
	all      []*tracepb.ResourceSpans
	headers  []string // the authorization of each export
	changed  chan struct{}
	received chan struct{} // one for each export that has begun
}

// New starts a collector of OTLP over gRPC on a loopback port.
func New(t testing.TB) *Receiver {
	t.Helper()
	r := newReceiver(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.ListenOn(l)
	return r
}

// Unstarted returns a collector that listens nowhere yet.
func Unstarted(t testing.TB) *Receiver { return newReceiver(t) }

func newReceiver(t testing.TB) *Receiver {
	return &Receiver{t: t, changed: make(chan struct{}), received: make(chan struct{}, 1<<16)}
}

// ListenOn serves OTLP over gRPC on l until the test ends, or until stop.
func (r *Receiver) ListenOn(l net.Listener) (stop func()) {
	s := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, r)
	r.mu.Lock()
	r.addr = l.Addr().String()
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with Stop
	}()
	stop = sync.OnceFunc(func() {
		s.Stop()
		<-done
	})
	r.t.Cleanup(stop)
	return stop
}

// NewHTTP starts a collector of OTLP over HTTP on a loopback port.
func NewHTTP(t testing.TB) *Receiver {
	t.Helper()
	r := newReceiver(t)
	s := httptest.NewServer(http.HandlerFunc(r.serveHTTP))
	t.Cleanup(s.Close)
	r.addr = s.Listener.Addr().String()
	return r
}

// Settings are those of a daemon that exports everything to r.
func (r *Receiver) Settings() trace.Settings {
	return trace.Settings{Endpoint: r.URL(), Insecure: true}
}

// URL is where r listens.
func (r *Receiver) URL() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return "http://" + r.addr
}

// Answer has the n-th export, from 1, answered otherwise than with a plain yes. Spans
// of one that is answered with an error are not kept.
func (r *Receiver) Answer(f func(n, spans int) (*coltracepb.ExportTraceServiceResponse, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// Received returns a channel that holds a value for each export that has begun.
func (r *Receiver) Received() <-chan struct{} { return r.received }

// Export implements TraceServiceServer.
func (r *Receiver) Export(ctx context.Context, m *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	secret := ""
	if v := md.Get("authorization"); len(v) > 0 {
		secret = v[0]
	}
	return r.take(m, secret)
}

func (r *Receiver) take(m *coltracepb.ExportTraceServiceRequest, secret string) (*coltracepb.ExportTraceServiceResponse, error) {
	spans := spansOf(m.GetResourceSpans())
	r.mu.Lock()
	r.exports++
	n, answer := r.exports, r.answer
	r.headers = append(r.headers, secret)
	r.mu.Unlock()
	r.received <- struct{}{}
	resp, err := &coltracepb.ExportTraceServiceResponse{}, error(nil)
	if answer != nil {
		resp, err = answer(n, len(spans)) // may take its time
	}
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept, r.all = append(r.kept, spans...), append(r.all, m.GetResourceSpans()...)
	close(r.changed)
	r.changed = make(chan struct{})
	return resp, nil
}

func (r *Receiver) serveHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var m coltracepb.ExportTraceServiceRequest
	if err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &m) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	resp, err := r.take(&m, q.Header.Get("Authorization"))
	if err != nil {
		code := http.StatusBadRequest
		if status.Code(err) == codes.Unavailable {
			code = http.StatusServiceUnavailable
		}
		http.Error(w, status.Convert(err).Message(), code)
		return
	}
	out, _ := proto.Marshal(resp)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(out)
}

// Exports returns how many exports have begun.
func (r *Receiver) Exports() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exports
}

// Secrets returns the authorization of each export.
func (r *Receiver) Secrets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.headers...)
}
