package trace

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/mayflyproxy/mayfly/grant"
)

// ID is the id of a trace (W3C Trace Context §3.2.2.3). The zero value is none.
type ID [16]byte

// SpanID is the id of a span (W3C Trace Context §3.2.2.4). The zero value is none.
type SpanID [8]byte

// IsZero reports whether id is none.
func (id ID) IsZero() bool { return id == ID{} }

// String returns 32 lower-case hexadecimal digits, "" for none.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// IsZero reports whether id is none.
func (id SpanID) IsZero() bool { return id == SpanID{} }

// String returns 16 lower-case hexadecimal digits, "" for none.
func (id SpanID) String() string {
	if id.IsZero() {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// ParseID reads what String of an ID writes, and nothing else.
func ParseID(s string) (ID, error) {
	id, ok := traceID(s)
	if !ok {
		return ID{}, fmt.Errorf("trace id %.40q: want 32 lower-case hexadecimal digits, not all zero", s)
	}
	return id, nil
}

// OfRequest returns the trace of an access request and the span at its root. They
// are the first 16 and the next 8 bytes of SHA-256("mayfly" + id), so that every
// process, at any later step, joins the same trace without being told.
func OfRequest(id grant.RequestID) (ID, SpanID) { return derived(id.String()) }

// OfAction is like OfRequest for an action that continues no trace of its caller.
func OfAction(id grant.ActionID) (ID, SpanID) { return derived(id.String()) }

func derived(id string) (t ID, s SpanID) {
	if id == "" {
		return t, s
	}
	sum := sha256.Sum256([]byte("mayfly" + id))
	copy(t[:], sum[:16])
	copy(s[:], sum[16:24])
	return t, s
}

// newSpanID returns a random id.
func newSpanID() (id SpanID) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand
	return id
}

// newID returns a random id, for what has no id of ours.
func newID() (id ID) {
	_, _ = rand.Read(id[:])
	return id
}
