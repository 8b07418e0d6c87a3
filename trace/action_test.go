package trace_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/trace"
)

// still is a Tracer whose clock the test moves. It does not run.
func still(t *testing.T, sample float64) (*trace.Tracer, *time.Time) {
	t.Helper()
	now := time.Unix(1000, 0)
	x, err := trace.New(trace.Config{
		Settings: trace.Settings{Endpoint: "http://127.0.0.1:1", Insecure: true, Sample: sample}, Service: "test", Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return x, &now
}

func caller(text string) trace.Caller { return trace.ReadCaller(http.Header{"Traceparent": {text}}) }

// exported counts how many of n actions are.
func exported(x *trace.Tracer, n int, s trace.Start) int {
	m, out := grant.NewMinter(), 0
	for range n {
		s.Action = m.NewActionID(time.Unix(1000, 0))
		if x.Begin(s) != nil {
			out++
		}
	}
	return out
}

// TestACallerCannotMakeUsExportEverything: sampled=1 adds at most 50 a second to the
// share, whatever trace ids the caller chooses.
func TestACallerCannotMakeUsExportEverything(t *testing.T) {
	x, now := still(t, 1e-9)
	flood := trace.Start{Caller: caller(goodParent)}
	low := trace.Start{Caller: caller("00-00000000000000000000000000000001-00f067aa0ba902b7-01")} // of the lowest trace ids
	if got := exported(x, 5000, flood); got != 50 {
		t.Errorf("%d at once, want 50", got)
	}
	if got := exported(x, 5000, low); got != 0 {
		t.Errorf("%d more by a low trace id", got)
	}
	*now = now.Add(time.Second)
	if got := exported(x, 5000, flood); got != 50 {
		t.Errorf("%d a second later, want 50", got)
	}
	*now = now.Add(-time.Hour) // the wall clock is moved
	if got := exported(x, 5000, flood); got != 0 {
		t.Errorf("%d by a clock that was set back", got)
	}
}

func TestTheShareIsByOurOwnIds(t *testing.T) {
	for _, c := range []struct {
		name     string
		sample   float64
		s        trace.Start
		low, top int // of 4000
	}{
		{"all", 1, trace.Start{}, 4000, 4000},
		{"a quarter", 0.25, trace.Start{}, 850, 1150},
		{"nearly none", 1e-9, trace.Start{}, 0, 0},
		{"a caller that says not sampled", 1, trace.Start{Caller: caller(goodParent[:54] + "0")}, 0, 0},
		{"a caller that says sampled, in a share of all", 1, trace.Start{Caller: caller(goodParent)}, 4000, 4000},
		{"refusals", 1, trace.Start{Refused: true}, 50, 50},
		{"refusals of a caller that says sampled", 1e-9, trace.Start{Refused: true, Caller: caller(goodParent)}, 50, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, _ := still(t, c.sample)
			if got := exported(x, 4000, c.s); got < c.low || got > c.top {
				t.Errorf("%d, want %d to %d", got, c.low, c.top)
			}
		})
	}
}

// TestWhoProvedNothingWritesIntoNobodysTraces: without an action there is no caller.
func TestWhoProvedNothingWritesIntoNobodysTraces(t *testing.T) {
	x, _ := still(t, 1)
	a, b := x.Begin(trace.Start{Caller: caller(goodParent), Refused: true}), x.Begin(trace.Start{Caller: caller(goodParent), Refused: true})
	if id := a.Context().Trace.String(); id == goodTrace || id == "" || id == b.Context().Trace.String() {
		t.Errorf("trace %q", id)
	}
}
