package proxy_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// envoyLog plays Envoy's side of the access log.
type envoyLog struct {
	grpc.ServerStream
	messages []*accesslogv3.StreamAccessLogsMessage
}

func (envoyLog) Context() context.Context                                       { return context.Background() }
func (envoyLog) SendAndClose(*accesslogv3.StreamAccessLogsResponse) (err error) { return nil }

func (l *envoyLog) Recv() (*accesslogv3.StreamAccessLogsMessage, error) {
	if len(l.messages) == 0 {
		return nil, io.EOF
	}
	m := l.messages[0]
	l.messages = l.messages[1:]
	return m, nil
}

func httpEntry(e *accesslogdata.HTTPAccessLogEntry) *envoyLog {
	return &envoyLog{messages: []*accesslogv3.StreamAccessLogsMessage{{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdata.HTTPAccessLogEntry{e}},
	}}}}
}

// entry is what Envoy 1.40 logs of a request that went well: shape and values were
// taken from a running one.
func entry(action string) *accesslogdata.HTTPAccessLogEntry {
	p := &accesslogdata.AccessLogCommon{
		AccessLogType:             accesslogdata.AccessLogType_DownstreamEnd,
		UpstreamRemoteAddress:     &corev3.Address{},
		TimeToFirstUpstreamTxByte: durationpb.New(2 * time.Millisecond),
		TimeToFirstUpstreamRxByte: durationpb.New(3 * time.Millisecond),
	}
	if action != "" {
		p.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.ext_authz": {Fields: map[string]*structpb.Value{
			"action": structpb.NewStringValue(action), "ext_authz_duration": structpb.NewNumberValue(1),
		}}}}
	}
	return &accesslogdata.HTTPAccessLogEntry{
		CommonProperties: p,
		Request:          &accesslogdata.HTTPRequestProperties{RequestHeadersBytes: 246, UpstreamHeaderBytesSent: 242},
		Response:         &accesslogdata.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseBodyBytes: 5, ResponseCodeDetails: "via_upstream"},
	}
}

func unanswered(e *accesslogdata.HTTPAccessLogEntry, code uint32, details string) {
	e.CommonProperties.TimeToFirstUpstreamRxByte = nil
	e.Response = &accesslogdata.HTTPResponseProperties{ResponseCodeDetails: details}
	if code != 0 {
		e.Response.ResponseCode = wrapperspb.UInt32(code)
	}
}

func unsent(e *accesslogdata.HTTPAccessLogEntry, code uint32, details string) {
	unanswered(e, code, details)
	e.CommonProperties.TimeToFirstUpstreamTxByte, e.Request.UpstreamHeaderBytesSent = nil, 0
}

type book struct {
	*proxy.AccessLog
	t       *testing.T
	actions *proxy.Actions
	journal *proxytest.Journal
	now     time.Time
	minter  *grant.Minter
}

func newBook(t *testing.T) *book {
	b := &book{t: t, actions: proxy.NewActions(), journal: &proxytest.Journal{}, now: proxytest.Noon(), minter: grant.NewMinter()}
	b.AccessLog = proxy.NewAccessLog(b.actions, b.journal, func() time.Time { return b.now }, nil)
	return b
}

func (b *book) put(hop bool) proxy.Action {
	b.t.Helper()
	a := proxy.Action{ID: b.minter.NewActionID(b.now), Hop: hop, Method: "GET", Authority: "h", Path: "/", Decided: b.now, Deadline: b.now.Add(10 * time.Second)}
	if err := b.actions.Put(a); err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *book) log(e *accesslogdata.HTTPAccessLogEntry) {
	b.t.Helper()
	if err := b.StreamAccessLogs(httpEntry(e)); err != nil {
		b.t.Fatal(err)
	}
}

func TestAnEntryIsTheOutcomeOfItsAction(t *testing.T) {
	for name, c := range map[string]struct {
		hop    bool
		change func(*accesslogdata.HTTPAccessLogEntry)
		want   audit.Outcome
	}{
		"answered": {change: func(*accesslogdata.HTTPAccessLogEntry) {}, want: audit.Outcome{Result: audit.ResultSent, Status: 200, Bytes: 5}},
		"cut at its deadline after the answer began": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) { e.Response.ResponseCodeDetails = "max_duration_timeout" },
			want:   audit.Outcome{Result: audit.ResultSent, Status: 200, Bytes: 5, EndedBy: "deadline"},
		},
		"cut at its deadline before": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) { unanswered(e, 504, "max_duration_timeout") },
			want:   audit.Outcome{Result: audit.ResultUnknown, Reason: "timeout", EndedBy: "deadline"},
		},
		"the caller left": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) {
				unanswered(e, 0, "http2.remote_reset")
				e.CommonProperties.ResponseFlags = &accesslogdata.ResponseFlags{DownstreamRemoteReset: true}
			},
			want: audit.Outcome{Result: audit.ResultUnknown, Reason: "timeout", EndedBy: "caller"},
		},
		"the app refused the connection": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) {
				unsent(e, 503, "upstream_reset_before_response_started{remote_connection_failure}")
				e.CommonProperties.ResponseFlags = &accesslogdata.ResponseFlags{UpstreamConnectionFailure: true}
			},
			want: audit.Outcome{Result: audit.ResultNotSent, Reason: "upstream_unavailable", EndedBy: "upstream"},
		},
		"the app hung up": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) {
				unanswered(e, 503, "upstream_reset_before_response_started{connection_termination}")
			},
			want: audit.Outcome{Result: audit.ResultUnknown, Reason: "upstream_unavailable", EndedBy: "upstream"},
		},
		"no upstream was chosen": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) {
				unsent(e, 503, "no_healthy_upstream")
				e.CommonProperties.UpstreamRemoteAddress = nil
			},
			want: audit.Outcome{Result: audit.ResultNotSent, Reason: "internal"},
		},
		"nobody can tell": {
			change: func(e *accesslogdata.HTTPAccessLogEntry) { unsent(e, 0, "") },
			want:   audit.Outcome{Result: audit.ResultUnknown, Reason: "internal"},
		},
		"the hop never saw it": {hop: true, change: func(*accesslogdata.HTTPAccessLogEntry) {}, want: audit.Outcome{Result: audit.ResultNotSent, Reason: "internal", Bytes: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			a := b.put(c.hop)
			e := entry(a.ID.String())
			c.change(e)
			b.log(e)
			b.log(e) // twice is once
			c.want.Action = a.ID.String()
			if got := b.journal.Outcomes(); len(got) != 1 || got[0] != c.want {
				t.Fatalf("%+v, want %+v", got, c.want)
			}
			if _, err := b.actions.Take(a.ID, a.Method, a.Authority, a.Path, b.now); err == nil {
				t.Error("a closed action was taken")
			}
		})
	}
}

func TestAnOutcomeSaysWhatCutTheStream(t *testing.T) {
	revoked := &proxy.Cut{By: proxy.EndedByGrant, Denial: grant.Deny(grant.Revoked, "the grant was revoked")}
	for name, c := range map[string]struct {
		cut     *proxy.Cut
		details string
		want    audit.Outcome
	}{
		"the guard":                      {revoked, "mayfly_revoked", audit.Outcome{Result: audit.ResultSent, Status: 200, Bytes: 5, EndedBy: "grant", Reason: "revoked"}},
		"it ended by itself just before": {revoked, "via_upstream", audit.Outcome{Result: audit.ResultSent, Status: 200, Bytes: 5}},
		"an app that knows our words":    {nil, "mayfly_revoked", audit.Outcome{Result: audit.ResultSent, Status: 200, Bytes: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			a := b.put(false)
			b.actions.Over(a.ID, c.cut, b.now)
			e := entry(a.ID.String())
			e.Response.ResponseCodeDetails = c.details
			b.log(e)
			c.want.Action = a.ID.String()
			if got := b.journal.Outcomes(); len(got) != 1 || got[0] != c.want {
				t.Fatalf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// The outcome of a stream that is over is not awaited until the end of its grant.
func TestAnOutcomeThatGotLostIsUnknownSoon(t *testing.T) {
	b := newBook(t)
	a := b.put(false)
	b.actions.Over(a.ID, nil, b.now)
	if unknown, _ := b.actions.Overdue(b.now.Add(30 * time.Second)); len(unknown) != 0 {
		t.Error("it was not waited for")
	}
	if unknown, _ := b.actions.Overdue(b.now.Add(31 * time.Second)); len(unknown) != 1 {
		t.Error("it is waited for still")
	}
}

func TestEntriesThatCloseNothing(t *testing.T) {
	b := newBook(t)
	taken := b.put(true)
	if _, err := b.actions.Take(taken.ID, taken.Method, taken.Authority, taken.Path, b.now); err != nil {
		t.Fatal(err)
	}
	b.log(entry(taken.ID.String())) // the hop writes its outcome
	b.log(entry("act_1"))
	b.log(entry(b.minter.NewActionID(b.now).String())) // of a process before
	direct := b.put(false)
	beginning := entry(direct.ID.String())
	beginning.CommonProperties.AccessLogType = accesslogdata.AccessLogType_DownstreamStart
	b.log(beginning)
	denied := entry("")
	denied.Response.ResponseCodeDetails = "ext_authz_denied"
	b.log(denied)
	for _, r := range grant.Reasons() {
		if n := b.journal.Counted(r); n != 0 {
			t.Errorf("%d counted as %s", n, r)
		}
	}
	if got := b.journal.Outcomes(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestEnvoysOwnRefusalsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		code    uint32
		details string
		want    grant.Reason
	}{
		"the sidecar was away": {503, "ext_authz_error", grant.Internal},
		"too large":            {413, "request_payload_too_large", grant.BodyTooLarge},
		"no route":             {404, "route_not_found", grant.UnknownApp},
		"slow headers":         {408, "request_header_timeout", grant.Timeout},
		"overload":             {503, "overload", grant.Overloaded},
		"bad path":             {400, "path_normalization_failed", grant.Malformed},
		"something new":        {599, "eclipse", grant.Internal},
	} {
		b := newBook(t)
		e := entry("")
		unsent(e, c.code, c.details)
		b.log(e)
		if b.journal.Counted(c.want) != 1 {
			t.Errorf("%s is not counted as %s", name, c.want)
		}
	}
	for failure, want := range map[string]grant.Reason{
		"TLS_error:|268435581:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE": grant.NoIdentity,
		"certificate has expired": grant.BadCertificate,
		"":                        grant.UnknownApp,
	} {
		b := newBook(t)
		err := b.StreamAccessLogs(&envoyLog{messages: []*accesslogv3.StreamAccessLogsMessage{{LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{
			TcpLogs: &accesslogv3.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: []*accesslogdata.TCPAccessLogEntry{{
				CommonProperties: &accesslogdata.AccessLogCommon{DownstreamTransportFailureReason: failure},
			}}},
		}}}})
		if err != nil || b.journal.Counted(want) != 1 {
			t.Errorf("%q is not counted as %s", failure, want)
		}
	}
}

func TestTheSweepClosesWhatNobodyTells(t *testing.T) {
	b := newBook(t)
	direct, untaken, taken := b.put(false), b.put(true), b.put(true)
	if _, err := b.actions.Take(taken.ID, taken.Method, taken.Authority, taken.Path, b.now); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(40 * time.Second) // deadline and grace
	b.Sweep(t.Context())
	if got := b.journal.Outcomes(); len(got) != 0 {
		t.Fatalf("too early: %+v", got)
	}
	b.now = b.now.Add(21 * time.Second)
	b.Sweep(t.Context())
	b.Sweep(t.Context())
	got := map[string]audit.Outcome{}
	for _, o := range b.journal.Outcomes() {
		got[o.Action] = o
	}
	if len(b.journal.Outcomes()) != 3 || got[direct.ID.String()].Result != audit.ResultUnknown || got[taken.ID.String()].Result != audit.ResultUnknown || got[untaken.ID.String()].Result != audit.ResultNotSent {
		t.Fatalf("%+v", got)
	}
	if b.actions.Close(taken.ID) {
		t.Error("it can be closed again")
	}
}

func TestABrokenAccessLogStreamEnds(t *testing.T) {
	b := newBook(t)
	if err := b.StreamAccessLogs(brokenLog{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
}

type brokenLog struct{ envoyLog }

func (brokenLog) Recv() (*accesslogv3.StreamAccessLogsMessage, error) {
	return nil, io.ErrUnexpectedEOF
}
