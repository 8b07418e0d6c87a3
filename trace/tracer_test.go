package trace_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

// tried is a Tracer that runs until stop.
type tried struct {
	*trace.Tracer
	t    testing.TB
	log  *lockedBuffer
	stop func()
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

func start(t *testing.T, s trace.Settings) *tried {
	t.Helper()
	out := &tried{t: t, log: &lockedBuffer{}}
	var err error
	out.Tracer, err = trace.New(trace.Config{Settings: s, Service: "mayflyd", Version: "1.2.3", Log: slog.New(slog.NewTextHandler(out.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- out.Run(ctx) }()
	out.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(out.stop)
	return out
}

// span is one with an attribute that says which.
func span(n int) trace.Span {
	s := trace.Span{Name: trace.Request, Trace: trace.ID{1}, ID: trace.NewSpanID(), Begin: time.Unix(1, 0), End: time.Unix(2, 0)}
	s.Facts.Revision = int64(n + 1)
	return s
}

func atLeast(n int) func([]tracetest.Span) bool {
	return func(s []tracetest.Span) bool { return len(s) >= n }
}

func TestSpansArriveOverBothProtocols(t *testing.T) {
	for _, protocol := range []string{trace.ProtocolGRPC, trace.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			r := map[string]func(testing.TB) *tracetest.Receiver{trace.ProtocolGRPC: tracetest.New, trace.ProtocolHTTP: tracetest.NewHTTP}[protocol](t)
			s := r.Settings()
			s.Protocol, s.HeadersFile = protocol, filepath.Join(t.TempDir(), "h")
			if err := os.WriteFile(s.HeadersFile, []byte("Authorization: Bearer s3cr3t"), 0o600); err != nil {
				t.Fatal(err)
			}
			// Nothing in the environment leads spans or secrets elsewhere.
			for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
				t.Setenv(name, "http://127.0.0.1:1")
			}
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=wrong")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=canary-host")
			x := start(t, s)
			x.Emit(span(1))
			got := r.Wait(atLeast(1))
			if got[0].Name != "mayfly.request" || got[0].Service != "mayflyd" || got[0].Attributes["mayfly.feed.revision"] != "2" {
				t.Errorf("%+v", got)
			}
			if !strings.HasPrefix(r.Secrets()[0], "Bearer s3cr3t") {
				t.Error(r.Secrets())
			}
			r.Allowed(t, "canary-host", "s3cr3t")
		})
	}
}

func TestWhatWaitsIsSentAtTheEnd(t *testing.T) {
	r := tracetest.New(t)
	x := start(t, r.Settings())
	for i := range 2000 {
		x.Emit(span(i))
	}
	x.stop()
	if got := len(r.Spans()); got != 2000 {
		t.Errorf("%d spans, %+v", got, x.Stats())
	}
}

// TestACollectorThatIsAwayCostsNobodyAnything: nothing listens at first. Spans are
// taken up to the queue's room without waiting, the rest is counted; once somebody
// listens, what waited arrives.
func TestACollectorThatIsAwayCostsNobodyAnything(t *testing.T) {
	r := tracetest.Unstarted(t)
	addr, err := env.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	x := start(t, trace.Settings{Endpoint: "http://" + addr, Insecure: true, Queue: 16, Timeout: 30 * time.Second})
	const n = 5000
	for i := range n {
		x.Emit(span(i)) // returns: nobody has heard of any of them
	}
	if s := x.Stats(); s.Exported != 0 || s.Waiting > 16 || s.Dropped == 0 || s.Dropped+512+16 < n {
		t.Errorf("%+v", s)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r.ListenOn(l)
	r.Wait(atLeast(1))
}

func TestACollectorThatDiesIsFoundAgain(t *testing.T) {
	r := tracetest.Unstarted(t)
	addr, err := env.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	stop := r.ListenOn(l)
	s := r.Settings()
	s.Timeout = 30 * time.Second
	x := start(t, s)
	x.Emit(span(0))
	r.Wait(atLeast(1))
	stop()
	x.Emit(span(1))
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r.ListenOn(again)
	r.Wait(func(s []tracetest.Span) bool { return len(tracetest.Of(s, "mayfly.feed.revision", "2")) > 0 })
	x.stop() // before the collector
}

// TestASlowCollectorHoldsNobodyUp: while an export is not answered, spans are taken
// up to the queue's room and then dropped, and Emit returns each time.
func TestASlowCollectorHoldsNobodyUp(t *testing.T) {
	r := tracetest.New(t)
	release := make(chan struct{})
	r.Answer(func(int, int) (*coltracepb.ExportTraceServiceResponse, error) {
		<-release
		return &coltracepb.ExportTraceServiceResponse{}, nil
	})
	s := r.Settings()
	s.Queue, s.Timeout = 8, time.Minute
	x := start(t, s)
	x.Emit(span(0))
	<-r.Received() // it has begun, and is not answered
	for i := range 100 {
		x.Emit(span(i))
	}
	if got := x.Stats(); got.Waiting != 8 || got.Dropped != 92 || got.Exported != 0 {
		t.Errorf("%+v", got)
	}
	close(release)
	r.Wait(atLeast(9))
	x.stop()
	if got := x.Stats(); got.Exported != 9 || got.Dropped != 92 || got.Lost != 0 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(x.log.String(), "dropped=92") {
		t.Errorf("nobody was told: %s", x.log)
	}
}

func TestWhatACollectorRefusesIsCountedAndNotSentAgain(t *testing.T) {
	for _, c := range []struct {
		protocol string
		answer   func(n, spans int) (*coltracepb.ExportTraceServiceResponse, error)
		name     string
		exports  int
		want     trace.Stats
	}{
		{"grpc", refuse(codes.PermissionDenied), "refused", 1, trace.Stats{Lost: 3}},
		{"http", refuse(codes.PermissionDenied), "refused", 1, trace.Stats{Lost: 3}},
		{"grpc", twice(codes.Unavailable), "away twice", 3, trace.Stats{Exported: 3}},
		{"http", twice(codes.Unavailable), "away twice", 3, trace.Stats{Exported: 3}},
		{"grpc", partly(2), "took some", 1, trace.Stats{Exported: 1, Lost: 2}},
		{"http", partly(2), "took some", 1, trace.Stats{Exported: 1, Lost: 2}},
		{"grpc", partly(99), "says nonsense", 1, trace.Stats{Lost: 3}},
	} {
		t.Run(c.protocol+" "+c.name, func(t *testing.T) {
			r := tracetest.New
			if c.protocol == "http" {
				r = tracetest.NewHTTP
			}
			at := r(t)
			at.Answer(c.answer)
			s := at.Settings()
			s.Protocol, s.HeadersFile, s.Timeout = c.protocol, filepath.Join(t.TempDir(), "h"), 30*time.Second
			if err := os.WriteFile(s.HeadersFile, []byte("authorization: Bearer s3cr3t"), 0o600); err != nil {
				t.Fatal(err)
			}
			x := start(t, s)
			for i := range 3 {
				x.Emit(span(i))
			}
			for range c.exports {
				<-at.Received()
			}
			x.stop()
			if got := x.Stats(); got != c.want || at.Exports() != c.exports {
				t.Errorf("%+v after %d exports, want %+v after %d", got, at.Exports(), c.want, c.exports)
			}
			if c.want.Lost > 0 && !strings.Contains(x.log.String(), "lost=") || strings.Contains(x.log.String(), "s3cr3t") {
				t.Errorf("logged: %s", x.log)
			}
		})
	}
}

type answer = func(n, spans int) (*coltracepb.ExportTraceServiceResponse, error)

func refuse(code codes.Code) answer {
	return func(int, int) (*coltracepb.ExportTraceServiceResponse, error) {
		return nil, status.Error(code, "you said Bearer s3cr3t")
	}
}

func twice(code codes.Code) answer {
	return func(n, _ int) (*coltracepb.ExportTraceServiceResponse, error) {
		if n <= 2 {
			return nil, status.Error(code, "later")
		}
		return &coltracepb.ExportTraceServiceResponse{}, nil
	}
}

func partly(n int64) answer {
	return func(int, int) (*coltracepb.ExportTraceServiceResponse, error) {
		return &coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: n, ErrorMessage: "too\nmany (9 spans rejected)"}}, nil
	}
}

func TestOffIsFree(t *testing.T) {
	var x *trace.Tracer
	var a *trace.Action
	if n := testing.AllocsPerRun(100, func() {
		now := x.Now()
		a = x.Begin(trace.Start{Begin: now})
		a.Step(trace.Intent, a.Now(), "")
		a.Checked("")
		a.Called(a.Now(), trace.Ending{})
		a.Wrote(a.Now(), trace.Ending{})
		a.Done(trace.Ending{})
		x.Emit(trace.Span{})
		_ = a.Context()
	}); n != 0 || a != nil {
		t.Errorf("%v allocations", n)
	}
	if err := errors.Join(x.Run(t.Context()), trace.Settings{}.Check()); err != nil {
		t.Error(err)
	}
}
