package caller_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/caller"
)

// A program's trace goes on at the gateway: its W3C context passes as it was sent.
func TestTheTraceOfAProgramIsHandedOn(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	w := newWorld(t, echo())
	key := caller.NewSecret("mk_")
	l := run(t, webConfig(w, t, key))
	status, body := raw(t, "tcp", hostOf(l), "GET / HTTP/1.1\r\nHost: "+hostOf(l)+"\r\n"+caller.KeyHeader+": "+key.Reveal()+
		"\r\nTraceparent: "+parent+"\r\nTracestate: acme=1\r\n\r\n")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	seen := w.arrived()
	if got := seen[len(seen)-1].Header; got.Get("Traceparent") != parent || got.Get("Tracestate") != "acme=1" {
		t.Errorf("%v", got)
	}
}
