package trace

import "time"

// Name is the name of a span. There are no others.
type Name string

// The spans of an access request's trace; see docs/traces.md.
const (
	Request    Name = "mayfly.request"    // root: somebody asked
	Offer      Name = "mayfly.offer"      // what is asked for was put into words
	Decision   Name = "mayfly.decision"   // policy decided
	Approval   Name = "mayfly.approval"   // a person approved
	Closed     Name = "mayfly.closed"     // the request is approved, denied, withdrawn or expired
	Activation Name = "mayfly.activation" // the grant begins
	Feed       Name = "mayfly.feed"       // gateways are told, at this revision
	Revoke     Name = "mayfly.revoke"     // the grant was ended by somebody else or by policy
	Finish     Name = "mayfly.finish"     // the grant was ended by its holder
	End        Name = "mayfly.end"        // the grant's time was over
	Receipts   Name = "mayfly.receipts"   // from the end until every gateway has heard of it
	Receipt    Name = "mayfly.receipt"    // the same of one gateway
)

// The spans of an action's trace.
const (
	ActionSpan Name = "mayfly.action"   // root, or below the caller's: from the question to the outcome
	Check      Name = "mayfly.check"    // the decision
	Intent     Name = "mayfly.intent"   // the intent is written, and fsynced where it is a write
	Reserve    Name = "mayfly.reserve"  // the control plane acknowledges it
	Upstream   Name = "mayfly.upstream" // the hop's call of the app
	Outcome    Name = "mayfly.outcome"  // the outcome is written
)

// Kind is OpenTelemetry's kind of span.
type Kind int

// The kinds that are used.
const (
	Internal Kind = iota
	Server
	Client
)

// Span is something that happened. It is made when it is over.
type Span struct {
	Name   Name
	Kind   Kind
	Trace  ID
	ID     SpanID
	Parent SpanID // zero: it is the root
	// Remote is whether Parent is of another process; State is the tracestate that
	// came with it.
	Remote bool
	State  string
	Begin  time.Time
	End    time.Time
	Failed bool // it ended in a no or an error; Facts say which
	Facts  Facts
	// Link is the root of another trace that this belongs to. Zero: none.
	Link Context
}

// NewSpanID returns a new random id of a span.
func NewSpanID() SpanID { return newSpanID() }
