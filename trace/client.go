package trace

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
)

// How a failed export is tried again, until Settings.Timeout ends it. The waits are
// short: while one is on, spans pile up in the queue.
const (
	firstRetry = 250 * time.Millisecond
	retryEvery = 2 * time.Second
)

// newClient makes the OTLP exporter. Every option that it would otherwise read from
// OTEL_* variables or from the proxy variables is set: the configuration file alone
// says where spans and secrets go.
func newClient(t target) otlptrace.Client {
	if t.protocol == ProtocolHTTP {
		options := []otlptracehttp.Option{
			otlptracehttp.WithEndpoint(t.url.Host), otlptracehttp.WithURLPath(t.url.Path), otlptracehttp.WithHeaders(t.headers.reveal()),
			otlptracehttp.WithTimeout(t.timeout), otlptracehttp.WithCompression(otlptracehttp.NoCompression), otlptracehttp.WithHTTPClient(httpClient(t)),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: retryEvery, MaxElapsedTime: t.timeout}),
		}
		if t.tls == nil {
			options = append(options, otlptracehttp.WithInsecure())
		} else {
			options = append(options, otlptracehttp.WithTLSClientConfig(t.tls)) // says https; the client below dials
		}
		return otlptracehttp.NewClient(options...)
	}
	options := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(t.url.Host), otlptracegrpc.WithHeaders(t.headers.reveal()), otlptracegrpc.WithTimeout(t.timeout),
		otlptracegrpc.WithDialOption(grpc.WithNoProxy(), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryEvery}, MinConnectTimeout: t.timeout,
		})),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: retryEvery, MaxElapsedTime: t.timeout}),
	}
	if t.tls == nil {
		options = append(options, otlptracegrpc.WithInsecure())
	} else {
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(t.tls)))
	}
	return otlptracegrpc.NewClient(options...)
}

// httpClient follows no redirect, which would take the headers along, and no proxy.
func httpClient(t target) *http.Client {
	return &http.Client{
		Timeout:       t.timeout,
		Transport:     &http.Transport{TLSClientConfig: t.tls, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exporter takes spans to a collector; what is not confirmed is an error.
type exporter interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error
}

// schema is the version of OpenTelemetry's semantic conventions that Keys follow.
const schema = "https://opentelemetry.io/schemas/1.44.0"

// scopeName is what the spans say they were made by.
const scopeName = "github.com/mayflyproxy/mayfly"

// resource says which process the spans are of. It is made here, not read from the
// machine: neither host names nor OTEL_RESOURCE_ATTRIBUTES are in it.
func resource(service, version, instance string) *resourcepb.Resource {
	out := &resourcepb.Resource{}
	for _, a := range [][2]string{{keyService, service}, {keyVersion, version}, {keyProcess, instance}} {
		if a[1] != "" {
			out.Attributes = append(out.Attributes, textValue(a[0], a[1]))
		}
	}
	return out
}

func (t *Tracer) batch(spans []Span) []*tracepb.ResourceSpans {
	out := make([]*tracepb.Span, len(spans))
	for i, s := range spans {
		out[i] = s.proto()
	}
	return []*tracepb.ResourceSpans{{
		Resource: t.resource, SchemaUrl: schema,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: scopeName, Version: t.version}, Spans: out, SchemaUrl: schema}},
	}}
}

func (s Span) proto() *tracepb.Span {
	out := &tracepb.Span{
		TraceId: s.Trace[:], SpanId: s.ID[:], TraceState: s.State, Name: string(s.Name), Kind: s.Kind.proto(),
		StartTimeUnixNano: nanos(s.Begin), EndTimeUnixNano: nanos(s.End), Attributes: s.Facts.attributes(),
		Flags: uint32(flagSampled) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK),
	}
	if s.Remote {
		out.Flags |= uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	if !s.Parent.IsZero() {
		out.ParentSpanId = s.Parent[:]
	}
	if s.Failed {
		out.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR} // why is mayfly.reason; no text
	}
	if !s.Link.Trace.IsZero() {
		out.Links = []*tracepb.Span_Link{{
			TraceId: s.Link.Trace[:], SpanId: s.Link.Span[:],
			Flags: uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK),
		}}
	}
	return out
}

func nanos(t time.Time) uint64 {
	if t.IsZero() || t.UnixNano() < 0 {
		return 0
	}
	return uint64(t.UnixNano())
}

func (k Kind) proto() tracepb.Span_SpanKind {
	switch k {
	case Server:
		return tracepb.Span_SPAN_KIND_SERVER
	case Client:
		return tracepb.Span_SPAN_KIND_CLIENT
	default:
		return tracepb.Span_SPAN_KIND_INTERNAL
	}
}
