package hop

import (
	"net/http"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

// TestACallOfTheAppIsASpanOfItsAction: one that went well, one whose connection died,
// one that was refused before it was sent.
func TestACallOfTheAppIsASpanOfItsAction(t *testing.T) {
	for _, c := range []struct {
		name           string
		answer         http.HandlerFunc
		change         func(*proxy.Action)
		result, status string
		called         bool
	}{
		{"went well", ok, nil, "sent", "200", true},
		{"the app says no", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "canary of the app", http.StatusPaymentRequired)
		}, nil, "sent", "402", true},
		{"the connection dies", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, "unknown", "", true},
		{"not the body that was decided on", ok, func(a *proxy.Action) { a.Body[0]++ }, "not_sent", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			collector := tracetest.New(t)
			tracer, stop := tracetest.Run(t, collector.Settings())
			r := newRig(t, c.answer, bend{})
			a := r.allow(func(a *proxy.Action) {
				if c.change != nil {
					c.change(a)
				}
				a.Trace = tracer.Begin(trace.Start{Action: a.ID, Begin: time.Now(), Facts: trace.Facts{Action: a.ID.String(), App: "stripe", Operation: "refunds.create", Method: "POST"}})
			})
			q := r.request(a)
			q.Header.Set("Traceparent", a.Trace.Context().Parent())
			r.do(q)
			collector.Wait(func(s []tracetest.Span) bool { return len(tracetest.Named(s, trace.ActionSpan)) > 0 })
			stop()
			spans := collector.Spans()
			root := tracetest.Named(spans, trace.ActionSpan)[0]
			calls := tracetest.Named(spans, trace.Upstream)
			if root.Attributes["mayfly.result"] != c.result || root.Attributes["http.response.status_code"] != c.status || (len(calls) == 1) != c.called {
				t.Fatal(tracetest.Lines(spans))
			}
			for _, s := range calls {
				if s.Parent != root.ID || s.Attributes["mayfly.result"] != c.result || s.Begin.After(s.End) {
					t.Error(tracetest.Lines(spans))
				}
			}
			if c.called && r.last.Header.Get("Traceparent") != "00-"+root.Trace+"-"+root.ID+"-01" {
				t.Errorf("the app was told %q", r.last.Header.Get("Traceparent"))
			}
			collector.Allowed(t, canary, "canary of the app", "ch_1", r.upstream.URL)
		})
	}
}
