package trace_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/trace"
)

const (
	goodParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	goodTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
)

func TestOnlyAProperTraceOfACallerIsContinued(t *testing.T) {
	long := make([]string, 33)
	for i := range long {
		long[i] = string(rune('a'+i%26)) + strings.Repeat("x", i/26+1) + "=1"
	}
	for _, c := range []struct {
		name      string
		parents   []string
		states    []string
		good      bool   // the trace is continued
		state     string // and carried on
		badParent bool
		badState  bool
	}{
		{"none", nil, nil, false, "", false, false},
		{"a good one", []string{goodParent}, nil, true, "", false, false},
		{"not sampled", []string{goodParent[:54] + "0"}, nil, true, "", false, false},
		{"with a state", []string{goodParent}, []string{"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}, true, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", false, false},
		{"there twice", []string{goodParent, goodParent}, nil, false, "", true, false},
		{"joined by Envoy", []string{goodParent + "," + goodParent}, nil, false, "", true, false},
		{"capitals", []string{strings.ToUpper(goodParent)}, nil, false, "", true, false},
		{"version ff", []string{"ff" + goodParent[2:]}, nil, false, "", true, false},
		{"a later version", []string{"cc" + goodParent[2:] + "-what-comes"}, nil, true, "", false, false},
		{"a later version, run together", []string{"cc" + goodParent[2:] + "what"}, nil, false, "", true, false},
		{"version 00 with more", []string{goodParent + "-00"}, nil, false, "", true, false},
		{"trace of zeros", []string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, nil, false, "", true, false},
		{"span of zeros", []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, nil, false, "", true, false},
		{"short", []string{goodParent[:54]}, nil, false, "", true, false},
		{"empty", []string{""}, nil, false, "", true, false},
		{"no digits", []string{"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"}, nil, false, "", true, false},
		{"other marks", []string{strings.ReplaceAll(goodParent, "-", "_")}, nil, false, "", true, false},
		{"huge", []string{"cc" + goodParent[2:] + "-" + strings.Repeat("a", 300)}, nil, false, "", true, false},
		{"a state without a trace", nil, []string{"a=1"}, false, "", false, true},
		{"a state beside a bad trace", []string{"x"}, []string{"a=1"}, false, "", true, true},
		{"two states", []string{goodParent}, []string{"a=1", "b=2"}, true, "", false, true},
		{"a state with a key twice", []string{goodParent}, []string{"a=1,a=2"}, true, "", false, true},
		{"a state with a bad key", []string{goodParent}, []string{"A=1"}, true, "", false, true},
		{"a state that is too long", []string{goodParent}, []string{"a=" + strings.Repeat("x", 200) + ",b=" + strings.Repeat("x", 200) + ",c=" + strings.Repeat("x", 200)}, true, "", false, true},
		{"a state of too many", []string{goodParent}, []string{strings.Join(long, ",")}, true, "", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{"Baggage": {"user=alice"}}
			if c.parents != nil {
				h["Traceparent"] = c.parents
			}
			if c.states != nil {
				h["Tracestate"] = c.states
			}
			got := trace.ReadCaller(h)
			if got.Context.Trace.IsZero() == c.good || got.Context.State != c.state || got.BadParent != c.badParent || got.BadState != c.badState {
				t.Fatalf("%+v", got)
			}
			if c.good && got.Context.Trace.String() != goodTrace {
				t.Error(got.Context.Trace)
			}
		})
	}
}

func TestParentIsReadAgainAsItWasWritten(t *testing.T) {
	for _, flags := range []string{"00", "01", "02", "03"} {
		text := goodParent[:53] + flags
		if got := trace.ReadCaller(http.Header{"Traceparent": {text}}).Context.Parent(); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func FuzzReadCaller(f *testing.F) {
	f.Add(goodParent, "a=1")
	f.Add("cc"+goodParent[2:]+"-x", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		got := trace.ReadCaller(http.Header{"Traceparent": {parent}, "Tracestate": {state}})
		if got.BadParent == !got.Context.Trace.IsZero() {
			t.Fatalf("%q is neither good nor bad: %+v", parent, got)
		}
		if got.BadParent {
			return
		}
		again := trace.ReadCaller(http.Header{"Traceparent": {got.Context.Parent()}})
		again.Context.State = got.Context.State
		if again.Context != got.Context {
			t.Fatalf("%q: %+v became %+v", parent, got.Context, again.Context)
		}
	})
}

// TestIdsAreThoseOfTheDocumentation holds the derivation: a script works out the same
// with printf 'mayflyreq_…' | sha256sum.
func TestIdsAreThoseOfTheDocumentation(t *testing.T) {
	var id grant.RequestID
	if err := id.UnmarshalText([]byte("req_01ARZ3NDEKTSV4RRFFQ69G5FAV")); err != nil {
		t.Fatal(err)
	}
	if trace, root := trace.OfRequest(id); trace.String() != "86f2e10b6f75ffa627869b18b3f15407" || root.String() != "c30a28a0c288e639" {
		t.Error(trace, root)
	}
	if trace, root := trace.OfRequest(grant.RequestID{}); !trace.IsZero() || !root.IsZero() {
		t.Error("no request has a trace")
	}
	for _, bad := range []string{"", "0", strings.Repeat("0", 32), strings.ToUpper(goodTrace), goodTrace + "0"} {
		if _, err := trace.ParseID(bad); err == nil {
			t.Errorf("%q is a trace id", bad)
		}
	}
}
