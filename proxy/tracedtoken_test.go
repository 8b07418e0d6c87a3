package proxy_test

import (
	"slices"
	"testing"

	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/trace"
	"github.com/mayflyproxy/mayfly/trace/tracetest"
)

// TestNoTokenOrProofStandsInATrace: a person's program at the clients door and a
// workload with a token, let in and refused. A proof that was asked again is a refusal
// of somebody who has proven nothing yet: it continues no trace.
func TestNoTokenOrProofStandsInATrace(t *testing.T) {
	c := newCounter(t)
	r, stop := watched(t, c.desk, nil)
	begun := func(a ask) ask {
		a.headers = append(slices.Clone(a.headers), [2]string{"traceparent", callers})
		return a
	}
	challenged := c.check(begun(c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, ""))))
	c.nonce = challenged.header["dpop-nonce"]
	proof := c.prove("GET", clientURL, c.token, c.nonce)
	v := c.check(begun(c.call("DPoP "+c.token, proof)))
	if challenged.status != 401 || !v.allowed {
		t.Fatalf("%+v, %+v", challenged, v)
	}
	c.finish(v.meta["action"])
	stop()
	spans := r.Spans()
	refused := tracetest.Of(tracetest.Named(spans, trace.ActionSpan), "mayfly.result", "denied")
	if len(refused) != 1 || refused[0].Trace == callersTrace || refused[0].Attributes["http.response.status_code"] != "401" || refused[0].Attributes["enduser.pseudo.id"] != "" {
		t.Error(tracetest.Lines(spans))
	}
	sent := tracetest.Of(tracetest.Named(spans, trace.ActionSpan), "mayfly.result", "sent")
	if len(sent) != 1 || sent[0].Trace != callersTrace || sent[0].Attributes["enduser.pseudo.id"] != "p_alice" || sent[0].Attributes["mayfly.grant.id"] != c.visits.String() {
		t.Error(tracetest.Lines(spans))
	}
	if want := "00-" + callersTrace + "-" + sent[0].ID + "-01"; v.header["traceparent"] != want {
		t.Errorf("the app is told %q, want %s", v.header["traceparent"], want)
	}
	r.Allowed(t, c.token, c.id, proof, c.nonce, proxytest.Alice, "tickets")

	b := newBearer(t)
	r, stop = watched(t, b.desk, nil)
	good, bad := b.issuer.Sign(b.claims()), b.issuer.Sign(b.claims())+"x"
	if v := b.check(b.present("Bearer " + good)); !v.allowed {
		t.Fatalf("%+v", v)
	}
	if v := b.check(b.present("Bearer " + bad)); v.allowed {
		t.Fatalf("%+v", v)
	}
	stop()
	if got := r.Spans(); len(tracetest.Named(got, trace.Check)) != 2 {
		t.Error(tracetest.Lines(got))
	}
	r.Allowed(t, good, bad, proxytest.Refunder, "docs")
}
