package trace

import (
	"encoding/hex"
	"net/http"
	"strings"

	oteltrace "go.opentelemetry.io/otel/trace"
)

// The headers of W3C Trace Context, as net/http spells them. Baggage is not among
// them: it is never read.
const (
	HeaderParent = "Traceparent"
	HeaderState  = "Tracestate"
)

// maxState is the longest tracestate that is carried on, in bytes: what W3C Trace
// Context §3.3.1.5 asks of everybody at least.
const maxState = 512

const (
	flagSampled = 1 << 0
	flagRandom  = 1 << 1
)

// Context says in which trace, and below which span, something happens. The zero
// value is none.
type Context struct {
	Trace   ID
	Span    SpanID
	Sampled bool
	Random  bool   // whoever made the trace id made it at random (Level 2)
	State   string // tracestate, as it came
}

// Caller is what a request says of the trace that it belongs to.
type Caller struct {
	Context Context // zero: none that can be used
	// Bad is whether a traceparent or, beside a good one, a tracestate came that is
	// malformed, there twice, or too long: nobody behind us is to see it.
	BadParent, BadState bool
}

// ReadCaller reads the trace of a caller. It refuses nothing: what is not exactly
// right is as if it were not there. It allocates nothing for a request without one.
func ReadCaller(h http.Header) Caller {
	parents, states := h[HeaderParent], h[HeaderState]
	if len(parents) == 0 {
		return Caller{BadState: len(states) > 0} // a state of no trace (§3.3)
	}
	c, ok := parseParent(parents)
	if !ok {
		return Caller{BadParent: true, BadState: len(states) > 0}
	}
	out := Caller{Context: c}
	switch {
	case len(states) == 1 && goodState(states[0]):
		out.Context.State = states[0]
	case len(states) > 0:
		out.BadState = true
	}
	return out
}

// parseParent reads a traceparent (§3.2): of version 00 exactly, of a later one the
// part that it has in common with 00.
func parseParent(values []string) (Context, bool) {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	const longest = 256 // of a version that nobody knows yet
	if len(values) != 1 || len(values[0]) < length || len(values[0]) > longest {
		return Context{}, false
	}
	s := values[0]
	version, ok := lowerHex(s[:2])
	switch {
	case !ok || version[0] == 0xff:
		return Context{}, false
	case version[0] == 0 && len(s) != length, len(s) > length && s[length] != '-':
		return Context{}, false
	case s[2] != '-' || s[35] != '-' || s[52] != '-':
		return Context{}, false
	}
	var c Context
	if c.Trace, ok = traceID(s[3:35]); !ok {
		return Context{}, false
	}
	span, ok := lowerHex(s[36:52])
	if copy(c.Span[:], span); !ok || c.Span.IsZero() {
		return Context{}, false
	}
	flags, ok := lowerHex(s[53:55])
	if !ok {
		return Context{}, false
	}
	c.Sampled, c.Random = flags[0]&flagSampled != 0, flags[0]&flagRandom != 0
	return c, true
}

func traceID(s string) (id ID, ok bool) {
	raw, ok := lowerHex(s)
	if !ok || len(raw) != len(id) {
		return ID{}, false
	}
	copy(id[:], raw)
	return id, !id.IsZero()
}

// lowerHex decodes hexadecimal digits; capitals are none (§3.2.2).
func lowerHex(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "ABCDEF") {
		return nil, false
	}
	b, err := hex.DecodeString(s)
	return b, err == nil
}

// goodState reports whether a tracestate is one that may be carried on (§3.3.1):
// its grammar, at most 32 members, none twice.
func goodState(s string) bool {
	if s == "" || len(s) > maxState {
		return false
	}
	_, err := oteltrace.ParseTraceState(s)
	return err == nil
}

// Parent returns the traceparent of what happens below c.
func (c Context) Parent() string {
	flags := byte(0)
	if c.Sampled {
		flags |= flagSampled
	}
	if c.Random {
		flags |= flagRandom
	}
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{flags}))
}
