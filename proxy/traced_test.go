package proxy_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	callers      = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// watched is a desk whose traces go to a collector.
func watched(t *testing.T, d *desk, change func(*trace.Settings)) (*tracetest.Receiver, func()) {
	t.Helper()
	r := tracetest.New(t)
	s := r.Settings()
	if change != nil {
		change(&s)
	}
	var stop func()
	d.traces, stop = tracetest.Run(t, s)
	d.build(&proxytest.Journal{})
	return r, stop
}

// finish has Envoy log how an action went.
func (d *desk) finish(action string, change ...func(*accesslogdata.HTTPAccessLogEntry)) {
	d.t.Helper()
	e := entry(action)
	for _, f := range change {
		f(e)
	}
	if err := proxy.NewAccessLog(d.actions, d.journal, d.world.Now, nil).StreamAccessLogs(httpEntry(e)); err != nil {
		d.t.Fatal(err)
	}
}

func one(t *testing.T, spans []tracetest.Span, name trace.Name) tracetest.Span {
	t.Helper()
	got := tracetest.Named(spans, name)
	if len(got) != 1 {
		t.Fatalf("%d spans %s in %s", len(got), name, tracetest.Lines(spans))
	}
	return got[0]
}

func TestAnActionIsOneTrace(t *testing.T) {
	d := newDesk(t)
	r, stop := watched(t, d, nil)
	v := d.check(d.read(proxytest.Refunder))
	if !v.allowed {
		t.Fatal(v)
	}
	action := v.meta["action"]
	d.finish(action)
	stop()
	spans := r.Spans()
	root, check, intent, outcome := one(t, spans, trace.ActionSpan), one(t, spans, trace.Check), one(t, spans, trace.Intent), one(t, spans, trace.Outcome)
	if len(spans) != 4 || check.Parent != root.ID || intent.Parent != check.ID || outcome.Parent != root.ID || root.Parent != "" {
		t.Error(tracetest.Lines(spans))
	}
	var asked grant.RequestID
	if err := asked.UnmarshalText([]byte(root.Attributes["mayfly.request.id"])); err != nil {
		t.Fatal(err)
	}
	request, _ := trace.OfRequest(asked)
	var id grant.ActionID
	if err := id.UnmarshalText([]byte(action)); err != nil {
		t.Fatal(err)
	}
	ours, _ := trace.OfAction(id)
	if root.Trace != ours.String() || !slices.Equal(root.Links, []string{request.String()}) {
		t.Errorf("trace %s linked to %v, want %s linked to %s", root.Trace, root.Links, ours, request)
	}
	want := map[string]string{
		"mayfly.action.id": action, "mayfly.grant.id": d.wiki.String(), "mayfly.request.id": asked.String(), "mayfly.app": "wiki",
		"mayfly.operation": "http.get", "mayfly.entitlement": "wiki/read", "mayfly.class": "read", "mayfly.result": "sent", "enduser.pseudo.id": "p_1",
		"http.request.method": "GET", "http.response.status_code": "200", "server.address": "wiki.acme.example",
	}
	if !equal(root.Attributes, want) || root.Failed {
		t.Errorf("%v, want %v", root.Attributes, want)
	}
	if got := d.journal.Intents()[0].Trace; got != root.Trace {
		t.Errorf("the record leads to trace %q, not to %s", got, root.Trace)
	}
	r.Allowed(t, "docs", "/docs/a?b=c", "b=c")
}

func equal(a, b map[string]string) bool {
	for k, v := range b {
		if a[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// TestTheAppActsBelowTheAction: what a caller sent, and what the app gets instead.
func TestTheAppActsBelowTheAction(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers [][2]string
		sample  float64
		trace   string // continued; "-" one of ours, "" not exported
		state   string
		removed []string
	}{
		{"none", nil, 1, "-", "", nil},
		{"the caller's", [][2]string{{"traceparent", callers}, {"tracestate", "a=1"}, {"baggage", "user=canary"}}, 1, callersTrace, "a=1", nil},
		{"the caller's, beyond our share", [][2]string{{"traceparent", callers}}, 1e-9, callersTrace, "", nil},
		{"not in our share", nil, 1e-9, "", "", nil},
		{"the caller says it is not sampled", [][2]string{{"traceparent", callers[:54] + "0"}, {"tracestate", "a=1"}}, 1, "", "", nil},
		{"malformed", [][2]string{{"traceparent", "canary"}, {"tracestate", "a=1"}}, 1, "-", "", []string{"tracestate"}},
		{"malformed, and not in our share", [][2]string{{"traceparent", "canary"}, {"tracestate", "a=1"}}, 1e-9, "", "", []string{"traceparent", "tracestate"}},
		{"there twice", [][2]string{{"traceparent", callers}, {"traceparent", callers}}, 1, "-", "", nil},
		{"a state that is too long", [][2]string{{"traceparent", callers}, {"tracestate", "a=" + strings.Repeat("canary", 100)}}, 1, callersTrace, "", []string{"tracestate"}},
		{"a state of nothing", [][2]string{{"tracestate", "a=canary"}}, 1, "-", "", []string{"tracestate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			r, stop := watched(t, d, func(s *trace.Settings) { s.Sample = c.sample })
			v := d.check(d.refund(proxytest.Refunder).with(func(a *ask) { a.headers = append(a.headers, c.headers...) }))
			if !v.allowed {
				t.Fatal(v)
			}
			removed := slices.DeleteFunc(slices.Clone(v.removed), func(h string) bool { return !strings.HasPrefix(h, "trace") })
			if !slices.Equal(removed, c.removed) {
				t.Errorf("removed %v, want %v", removed, c.removed)
			}
			d.finish(v.meta["action"])
			stop()
			spans := r.Spans()
			intent := d.journal.Intents()[0]
			if c.trace == "" {
				if len(spans) > 0 || v.header["traceparent"] != "" || intent.Trace != "" {
					t.Errorf("%s; the app is told %q and the record %q", tracetest.Lines(spans), v.header["traceparent"], intent.Trace)
				}
				return
			}
			root := one(t, spans, trace.ActionSpan)
			one(t, spans, trace.Reserve)
			if want := "00-" + root.Trace + "-" + root.ID + "-01"; v.header["traceparent"] != want || v.header["tracestate"] != "" {
				t.Errorf("the app is told %v, want traceparent %s", v.header, want)
			}
			ours := (root.Trace == callersTrace) == (c.trace == "-")
			if ours || root.State != c.state || (c.trace != "-") != (root.Parent == callersSpan) || intent.Trace != root.Trace {
				t.Error(tracetest.Lines(spans), root.State, intent.Trace)
			}
			for _, s := range spans {
				if s.Trace != root.Trace {
					t.Errorf("%s is in another trace", s.Name)
				}
			}
			r.Allowed(t, "canary", "ch_1", "sk_test_callers", "user=")
		})
	}
}

func TestWithoutTracesNoHeaderIsTouched(t *testing.T) {
	d := newDesk(t)
	v := d.check(d.read(proxytest.Refunder).with(func(a *ask) {
		a.headers = [][2]string{{"traceparent", "canary"}, {"tracestate", "canary"}}
	}))
	if !v.allowed || v.header["traceparent"] != "" || len(v.removed) > 0 || d.journal.Intents()[0].Trace != "" {
		t.Errorf("%+v", v)
	}
}

func TestARefusalIsATraceWithItsReason(t *testing.T) {
	for _, c := range []struct {
		name      string
		ask       func(*desk) ask
		setup     func(*desk)
		reason    grant.Reason
		continued bool
		status    string
		names     []trace.Name
	}{
		{"no grant", func(d *desk) ask { return d.read(proxytest.Stranger) }, nil, grant.NoGrant, true, "403", nil},
		{"no certificate", func(d *desk) ask { return d.read(proxytest.Stranger).with(func(a *ask) { a.certificate = "" }) }, nil, grant.NoIdentity, false, "401", nil},
		{"another host", func(d *desk) ask {
			return d.read(proxytest.Refunder).with(func(a *ask) { a.sni = "other.acme.example" })
		}, nil, grant.ConflictingHeaders, true, "421", nil},
		{"over the bound", func(d *desk) ask {
			return d.refund(proxytest.Refunder).with(func(a *ask) { a.body = "amount=100000&charge=ch_1" })
		}, nil, grant.ConstraintUnmet, true, "403", nil},
		{"the disk fails", func(d *desk) ask { return d.read(proxytest.Refunder) }, func(d *desk) {
			d.build(&proxytest.Journal{BeforeIntent: func(context.Context) error { return errors.New("canary: disk") }})
		}, grant.RecordUnavailable, true, "503", []trace.Name{trace.Intent}},
		{"not acknowledged", func(d *desk) ask { return d.refund(proxytest.Refunder) }, func(d *desk) {
			d.reserver.act = func(context.Context) error { return errors.New("canary: away") }
		}, grant.RecordUnavailable, true, "503", []trace.Name{trace.Intent, trace.Reserve}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			r, stop := watched(t, d, nil)
			if c.setup != nil {
				c.setup(d)
			}
			v := d.check(c.ask(d).with(func(a *ask) {
				if a.app == "wiki" {
					a.path += "&canary=path"
				}
				a.headers = append(a.headers, [2]string{"traceparent", callers}, [2]string{"x-canary", "canary"})
			}))
			if strconv.Itoa(v.status) != c.status {
				t.Errorf("told %d", v.status)
			}
			if v.allowed || v.reason != c.reason {
				t.Fatalf("%+v", v)
			}
			stop()
			spans := r.Spans()
			root, check := one(t, spans, trace.ActionSpan), one(t, spans, trace.Check)
			if !root.Failed || !check.Failed || root.Attributes["mayfly.reason"] != string(c.reason) || root.Attributes["http.response.status_code"] != c.status ||
				root.Attributes["mayfly.result"] != "denied" || (root.Trace == callersTrace) != c.continued {
				t.Error(tracetest.Lines(spans))
			}
			if root.Attributes["mayfly.denial.id"] != v.meta["denial"] {
				t.Errorf("the denial is %q, the caller was told %q", root.Attributes["mayfly.denial.id"], v.meta["denial"])
			}
			for _, name := range c.names {
				one(t, spans, name)
			}
			if len(spans) != 2+len(c.names) {
				t.Error(tracetest.Lines(spans))
			}
			if all := d.journal.Denials(); len(all) > 0 && all[0].Trace != root.Trace {
				t.Errorf("the record leads to trace %q", all[0].Trace)
			}
			r.Allowed(t, "canary", "/docs", "other.acme.example", proxytest.Refunder, proxytest.Stranger)
		})
	}
}

func TestAPersonIsAPseudonymInATrace(t *testing.T) {
	d, session, _ := newFront(t)
	r, stop := watched(t, d, nil)
	v := d.check(signedIn())
	if !v.allowed {
		t.Fatalf("%+v", v)
	}
	if sent := d.check(visit("")); sent.status != 302 {
		t.Fatalf("%+v", sent)
	}
	d.check(signedIn().with(having("cookie", "__Host-mayfly="+secretB)))
	d.finish(v.meta["action"])
	stop()
	spans := r.Spans()
	if got := tracetest.Of(spans, "enduser.pseudo.id", "p_alice"); len(got) == 0 {
		t.Error(tracetest.Lines(spans))
	}
	if got := tracetest.Of(spans, "http.response.status_code", "302"); len(got) == 0 {
		t.Errorf("nobody sees that a person is sent to log in: %s", tracetest.Lines(spans))
	}
	r.Allowed(t, secretA, secretB, session, "alice@acme.example", "Ähre", proxytest.Alice, "on-call", "tickets")
}

// TestASlowCollectorDelaysNoDecision: the collector holds its answer back, the queue
// is full, and every decision is made all the same, before the collector answers.
func TestASlowCollectorDelaysNoDecision(t *testing.T) {
	d := newDesk(t)
	r := tracetest.New(t)
	release := make(chan struct{})
	r.Answer(func(int, int) (*coltracepb.ExportTraceServiceResponse, error) {
		<-release
		return &coltracepb.ExportTraceServiceResponse{}, nil
	})
	s := r.Settings()
	s.Queue, s.Timeout = 4, time.Minute
	d.traces, _ = tracetest.Run(t, s)
	d.build(&proxytest.Journal{})
	first := d.check(d.read(proxytest.Refunder))
	<-r.Received()
	for range 50 {
		if v := d.check(d.refund(proxytest.Refunder)); !v.allowed {
			t.Fatalf("%+v", v)
		}
	}
	if got := d.traces.Stats(); !first.allowed || got.Exported != 0 || got.Dropped == 0 || got.Waiting > 4 {
		t.Errorf("%+v", got)
	}
	close(release)
}

// TestTracesThatAreOffCostNothing: Check allocates the same with a trace of the
// caller's as with any other header of its size. The least of many single runs
// counts: tables that grow and pools that the race detector empties only add.
func TestTracesThatAreOffCostNothing(t *testing.T) {
	d := newDesk(t)
	measure := func(name string) float64 {
		m := d.read(proxytest.Refunder).with(func(a *ask) { a.headers = [][2]string{{name, callers}} }).message()
		least := math.Inf(1)
		for range 100 {
			least = min(least, testing.AllocsPerRun(1, func() {
				r, err := d.Check(t.Context(), m)
				if err != nil || r.GetOkResponse() == nil {
					t.Fatal(r, err)
				}
			}))
		}
		return least
	}
	if with, without := measure("traceparent"), measure("x-something"); with > without {
		t.Errorf("%v allocations with a traceparent, %v with another header", with, without)
	}
}

func BenchmarkCheckTraces(b *testing.B) {
	for _, c := range []struct {
		name   string
		traces func() *trace.Tracer
	}{{"off", func() *trace.Tracer { return nil }}, {"on", func() *trace.Tracer {
		x, _ := tracetest.Run(b, tracetest.New(b).Settings())
		return x
	}}} {
		b.Run(c.name, func(b *testing.B) {
			d := newDesk(b)
			d.traces = c.traces()
			d.build(&proxytest.Journal{})
			m := d.read(proxytest.Refunder).message()
			b.ReportAllocs()
			for b.Loop() {
				if r, err := d.Check(b.Context(), m); err != nil || r.GetOkResponse() == nil {
					b.Fatal(r, err)
				}
			}
		})
	}
}
