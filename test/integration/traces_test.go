package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

const (
	callersTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersParent = "00-" + callersTrace + "-00f067aa0ba902b7-01"
)

// traced is a product whose daemons export to a collector of the test's.
type traced struct {
	*product
	t         *testing.T
	collector *tracetest.Receiver
}

func startTraced(t *testing.T) *traced {
	t.Helper()
	needProduct(t)
	c := tracetest.New(t)
	lines := fmt.Sprintf("traces: {endpoint: %q, insecure: true}", c.URL())
	p, err := startWith(env.Config{ControlLines: []string{lines}, GatewayLines: []string{lines}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return &traced{p, t, c}
}

// action waits for the whole trace of one action.
func (p *traced) action(id string) []tracetest.Span {
	p.t.Helper()
	spans := p.collector.Wait(func(s []tracetest.Span) bool {
		return len(tracetest.Named(tracetest.Of(s, "mayfly.action.id", id), trace.ActionSpan)) > 0
	})
	return tracetest.Of(spans, "mayfly.action.id", id)
}

// arrival is what the app got of the last request, and its action.
func last(r *env.Recorder) env.Arrival {
	all := r.Arrivals()
	return all[len(all)-1]
}

// TestTraces has one product for all that follows.
func TestTraces(t *testing.T) {
	p := startTraced(t)
	for name, f := range map[string]func(*testing.T, *traced){
		"lead from request to action": testTracesLeadFromRequestToAction,
		"are left to us by Envoy":     testEnvoyLeavesTracesToUs,
	} {
		t.Run(name, func(t *testing.T) { f(t, &traced{p.product, t, p.collector}) })
	}
}

// testTracesLeadFromRequestToAction: one request of each kind, through a real Envoy:
// the collector sees the linked traces under the ids that mayfly trace prints.
func testTracesLeadFromRequestToAction(t *testing.T, p *traced) {
	refunder, reporter := p.as(t, "refunder", p.gw), p.as(t, "reporter", p.gw)
	for _, c := range []struct {
		kind  string
		grant func() api.Grant
		who   *api.Client
		name  string
		app   *env.Recorder
		try   func(...string) answer
		spans []trace.Name
	}{
		{"web, direct", func() api.Grant { return p.mayRead(t, "/daily", time.Minute) }, p.reporter, "reporter", p.Reports, func(h ...string) answer {
			a, _ := reporter.send(t, http.MethodGet, reportsURL("/daily/canary-path?canary-query=1"), nil, h...)
			return a
		}, []trace.Name{trace.ActionSpan, trace.Check, trace.Intent, trace.Outcome}},
		{"stripe, by the hop", func() api.Grant { return p.mayRefund(t, "ch_canary", time.Minute) }, p.refunder, "refunder", p.Stripe, func(h ...string) answer {
			a, _ := refunder.send(t, http.MethodPost, stripeURL("/v1/refunds"), url.Values{"charge": {"ch_canary"}, "amount": {"4217"}}, append(h, "Authorization", "Bearer "+callersKey)...)
			return a
		}, []trace.Name{trace.ActionSpan, trace.Check, trace.Intent, trace.Reserve, trace.Upstream, trace.Outcome}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			g := c.grant()
			passes(t, c.kind, func() answer { return c.try("baggage", "canary-baggage=1") })
			own := last(c.app)
			if a := c.try("traceparent", callersParent, "tracestate", "acme=1"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.text)
			}
			continued := last(c.app)
			request := p.requestOf(t, c.who, g)
			asked, _ := trace.OfRequest(request)
			shown := p.shown(t, c.who, c.name, g.ID, own.Action, continued.Action)
			if shown[request.String()] != asked.String() {
				t.Errorf("mayfly trace leads to %q for the request, want %s", shown[request.String()], asked)
			}
			for _, a := range []env.Arrival{own, continued} {
				spans := p.action(a.Action)
				root := tracetest.Named(spans, trace.ActionSpan)[0]
				if !slices.Equal(sortedNames(spans), sortedOf(c.spans)) {
					t.Errorf("spans %v, want %v", sortedNames(spans), sortedOf(c.spans))
				}
				for _, s := range spans {
					if s.Trace != shown[a.Action] {
						t.Errorf("%s is in trace %s, and mayfly trace leads to %q", s.Name, s.Trace, shown[a.Action])
					}
				}
				if !slices.Equal(root.Links, []string{asked.String()}) || root.Attributes["mayfly.grant.id"] != g.ID {
					t.Errorf("%v linked to %v", root.Attributes, root.Links)
				}
				if got := a.Header.Values("Traceparent"); !slices.Equal(got, []string{"00-" + root.Trace + "-" + root.ID + "-01"}) {
					t.Errorf("the app got traceparent %q, the action is %s %s", got, root.Trace, root.ID)
				}
			}
			if shown[continued.Action] != callersTrace || !slices.Equal(continued.Header.Values("Tracestate"), []string{"acme=1"}) || shown[own.Action] == callersTrace {
				t.Errorf("%v; tracestate %q", shown, continued.Header.Values("Tracestate"))
			}
			control := tracetest.Of(p.collector.Wait(func(s []tracetest.Span) bool {
				return len(tracetest.Named(tracetest.Of(s, "mayfly.request.id", request.String()), trace.Feed)) > 0
			}), "mayfly.grant.id", g.ID)
			for _, s := range tracetest.Named(control, trace.Activation) {
				if s.Trace != asked.String() || s.Service != "mayflyd" {
					t.Error(tracetest.Lines(control))
				}
			}
		})
	}
	p.collector.Allowed(t, canaries(p)...)
}

// canaries are what must not leave in any span.
func canaries(p *traced) []string {
	return []string{
		"canary", "order 17", "bob", "alice", callersKey, env.RefundsKey, env.ReadKey, "Bearer",
		env.RefunderID, env.ReporterID, "/daily", p.Public,
	}
}

func sortedNames(spans []tracetest.Span) []string {
	var out []string
	for _, s := range spans {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return out
}

func sortedOf(names []trace.Name) []string {
	var out []string
	for _, n := range names {
		out = append(out, string(n))
	}
	slices.Sort(out)
	return out
}

// requestOf is the request that a grant came from.
func (p *traced) requestOf(t *testing.T, who *api.Client, g api.Grant) grant.RequestID {
	t.Helper()
	out, err := who.Trace(t.Context(), g.ID)
	if err != nil {
		t.Fatal(err)
	}
	var id grant.RequestID
	if err := id.UnmarshalText([]byte(out.Request)); err != nil || id.IsZero() {
		t.Fatalf("request %q: %v", out.Request, err)
	}
	return id
}

// shown waits until the record has the actions, and returns the trace ids that mayfly
// trace prints, in both of its forms.
func (p *traced) shown(t *testing.T, who *api.Client, name, id string, actions ...string) map[string]string {
	t.Helper()
	var out api.Trace
	eventually(t, "the record of the actions", func() error {
		var err error
		if out, err = who.Trace(t.Context(), id); err != nil {
			return err
		}
		for _, a := range actions {
			if out.TraceIDs[a] == "" {
				return errNotYet
			}
		}
		return nil
	})
	table, err := p.CLI(t.Context(), name, "trace", id)
	if err != nil || table.Exit != 0 {
		t.Fatalf("%s, %v", table.Text(), err)
	}
	for of, traceID := range out.TraceIDs {
		if !strings.Contains(table.Stdout, traceID) {
			t.Errorf("mayfly trace does not print %s of %s:\n%s", traceID, of, table.Stdout)
		}
	}
	document, err := p.CLI(t.Context(), name, "trace", id, "-o", "json")
	if err != nil || document.Exit != 0 {
		t.Fatalf("%s, %v", document.Text(), err)
	}
	var printed api.Trace
	if err := json.Unmarshal([]byte(document.Stdout), &printed); err != nil {
		t.Fatal(err)
	}
	return printed.TraceIDs
}

// testEnvoyLeavesTracesToUs: what callers send in place of a trace, through a real
// Envoy, at an app of its own and at one behind the hop. Envoy neither strips nor
// makes one.
func testEnvoyLeavesTracesToUs(t *testing.T, p *traced) {
	reporter := p.as(t, "reporter", p.gw)
	p.mayRead(t, "/daily", time.Minute)
	get := func(h ...string) env.Arrival {
		t.Helper()
		passes(t, "a report", func() answer {
			a, _ := reporter.send(t, http.MethodGet, reportsURL("/daily/1"), nil, h...)
			return a
		})
		return last(p.Reports)
	}
	for _, c := range []struct {
		name    string
		headers []string
		state   []string
		trace   string // "" one of ours
	}{
		{"none", nil, nil, ""},
		{"malformed", []string{"traceparent", "canary", "tracestate", "a=canary"}, nil, ""},
		{"twice", []string{"traceparent", callersParent, "traceparent", callersParent}, nil, ""},
		{"two states", []string{"traceparent", callersParent, "tracestate", "a=canary", "tracestate", "b=canary"}, nil, callersTrace},
		{"a huge state", []string{"traceparent", callersParent, "tracestate", "a=" + strings.Repeat("canary", 200)}, nil, callersTrace},
		{"capitals in the name", []string{"TraceParent", callersParent, "TraceState", "a=1"}, []string{"a=1"}, callersTrace},
		{"names of Envoy's own tracing", []string{"x-b3-traceid", callersTrace, "x-client-trace-id", "1", "x-ot-span-context", "1"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := get(c.headers...)
			got := a.Header.Values("Traceparent")
			if len(got) != 1 || len(got[0]) != 55 || !strings.HasSuffix(got[0], "-01") || c.trace != "" && got[0][3:35] != c.trace || c.trace == "" && got[0][3:35] == callersTrace {
				t.Errorf("the app got traceparent %q", got)
			}
			if state := a.Header.Values("Tracestate"); !slices.Equal(state, c.state) {
				t.Errorf("the app got tracestate %q", state)
			}
		})
	}
	// x-request-id is Envoy's: what a caller says in it reaches nobody, and it is no trace.
	a := get("x-request-id", "canary-request-id")
	if id := a.Header.Get("X-Request-Id"); id == "" || strings.Contains(id, "canary") {
		t.Errorf("the app got x-request-id %q", id)
	}
	raw, _ := json.Marshal(a.Header)
	if strings.Contains(string(raw), "canary") {
		t.Errorf("the app got %s", raw)
	}
	// Strangers write into nobody's trace.
	shop := p.as(t, "shop", p.gw)
	refused, _ := shop.send(t, http.MethodGet, reportsURL("/daily/1"), nil, "traceparent", callersParent)
	if refused.reason() != "no_grant" {
		t.Fatalf("%d %s", refused.status, refused.text)
	}
	spans := p.collector.Wait(func(s []tracetest.Span) bool { return len(tracetest.Of(s, "mayfly.reason", "no_grant")) >= 2 })
	got := tracetest.Of(tracetest.Named(spans, trace.ActionSpan), "mayfly.denial.id", refused.denial())
	if len(got) != 1 || !got[0].Failed || got[0].Attributes["http.response.status_code"] != "403" {
		t.Error(tracetest.Lines(spans))
	}
	p.collector.Allowed(t, canaries(p)...)
}

// TestACollectorThatIsAwayStopsNothing: both daemons start, decide and end with a
// collector at which nobody listens.
func TestACollectorThatIsAwayStopsNothing(t *testing.T) {
	needProduct(t)
	lines := fmt.Sprintf("traces: {endpoint: \"http://%s\", insecure: true, queue: 4}", freeAddress(t))
	p, err := startWith(env.Config{ControlLines: []string{lines}, GatewayLines: []string{lines}})
	if err != nil {
		t.Fatal(err)
	}
	refunder := p.as(t, "refunder", p.gw)
	p.mayRefund(t, "ch_away", time.Minute)
	for range 20 {
		passes(t, "a refund", func() answer { return refunder.refund(t, "ch_away", "1") })
	}
	if err := p.stop(); err != nil { // also says so if one of them had to be killed
		t.Error(err)
	}
}
