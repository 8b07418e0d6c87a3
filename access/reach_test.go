package access_test

import (
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
)

// A holder is told where a grant can be used, and whether it is in force there.
func TestReach(t *testing.T) {
	w := newWorld(t)
	early := w.join("a")
	g := w.granted().Grant
	seen := func() access.Reach {
		t.Helper()
		return must(w.Reach(t.Context(), w.as(refunder), g))
	}
	r := seen()
	if r.App.Name != "stripe" || r.App.Kind != "stripe" || r.App.Hosts[0] != "stripe.acme.example" || r.Nodes[0].Listener.String() != "spiffe://acme.example/gw/listener" {
		t.Errorf("%+v", r)
	}
	if len(r.Holds) != 0 || len(r.Waits) != 1 || r.Waits[0] != early {
		t.Errorf("before the gateway has heard of it: holds %v, waits %v", r.Holds, r.Waits)
	}
	if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: early, At: w.head()}}); err != nil {
		t.Fatal(err)
	}
	if r := seen(); len(r.Holds) != 1 || len(r.Waits) != 0 {
		t.Errorf("after it: holds %v, waits %v", r.Holds, r.Waits)
	}
	w.join("b") // knows nothing yet
	if r := seen(); len(r.Holds) != 1 || len(r.Waits) != 1 {
		t.Errorf("with a second gateway: holds %v, waits %v", r.Holds, r.Waits)
	}
	_, err := w.Reach(t.Context(), w.as(alice), g)
	wantCode(t, err, access.CodeNotFound)
	must(w.Finish(t.Context(), w.as(refunder), g))
	_, err = w.Reach(t.Context(), w.as(refunder), g)
	wantCode(t, err, access.CodeEnded)
}
