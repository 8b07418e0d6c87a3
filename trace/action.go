package trace

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// Start is the beginning of an action's trace.
type Start struct {
	Action  grant.ActionID  // zero: of a caller that proved nothing
	Request grant.RequestID // whose trace is linked; zero: none
	// Caller is the trace that the caller says it is in. It is not looked at without
	// an Action: who proved nothing writes into nobody's traces.
	Caller  Caller
	Begin   time.Time
	Refused bool
	Facts   Facts
}

// Action is the trace of one action under way. nil is off. It is safe for concurrent
// use: nothing in it changes.
type Action struct {
	tracer *Tracer
	root   Span
	check  SpanID
	flags  Context // of the root, as the app is told
}

// Begin returns the trace of an action, nil if it is not exported.
//
// It is exported if it is in the share, by an id of ours. Beyond the share it is if
// the caller says that its trace is sampled, at most 50 times a second in a process:
// a caller alone cannot make us export everything. A caller that says it is not
// sampled is believed always. Refusals are at most 50 a second in any case.
func (t *Tracer) Begin(s Start) *Action {
	if t == nil {
		return nil
	}
	known := !s.Action.IsZero()
	ours, root := OfAction(s.Action)
	if !known {
		ours, root, s.Caller = newID(), newSpanID(), Caller{}
	}
	from := s.Caller.Context
	switch continued := !from.Trace.IsZero(); {
	case continued && !from.Sampled:
		return nil
	case chosen(ours, t.target.sample):
	case continued && t.callers.take(t.now()):
	default:
		return nil
	}
	if s.Refused && !t.refusals.take(t.now()) {
		return nil
	}
	a := &Action{tracer: t, check: newSpanID()}
	a.root = Span{Name: ActionSpan, Kind: Server, Trace: ours, ID: root, Begin: s.Begin, Facts: s.Facts}
	if !from.Trace.IsZero() {
		a.root.Trace, a.root.Parent, a.root.Remote, a.root.State = from.Trace, from.Span, true, from.State
	}
	if !s.Request.IsZero() {
		a.root.Link.Trace, a.root.Link.Span = OfRequest(s.Request)
	}
	a.flags = Context{Trace: a.root.Trace, Span: root, Sampled: true, Random: from.Random, State: from.State}
	return a
}

// Context returns the trace and span below which the app acts; the zero value if a
// is off.
func (a *Action) Context() Context {
	if a == nil {
		return Context{}
	}
	return a.flags
}

// Now is the Tracer's; the zero time if a is off.
func (a *Action) Now() time.Time {
	if a == nil {
		return time.Time{}
	}
	return a.tracer.now()
}

// Step tells of a part of the decision that began at begin and is over now. reason
// is the code of what stopped it, empty if nothing did.
func (a *Action) Step(name Name, begin time.Time, reason string) {
	if a == nil {
		return
	}
	a.emit(Span{Name: name, ID: newSpanID(), Begin: begin, Facts: Facts{Reason: reason}, Failed: reason != ""}, true)
}

// Checked tells that the action is decided now.
func (a *Action) Checked(reason string) {
	if a == nil {
		return
	}
	f := a.root.Facts
	f.Reason = reason
	f.Status, f.Method, f.Server = 0, "", ""
	a.emit(Span{Name: Check, ID: a.check, Begin: a.root.Begin, Facts: f, Failed: reason != ""}, false)
}

// Ending is how an action came out.
type Ending struct {
	Result  string
	Reason  string
	EndedBy string
	Denial  string
	Status  int
	Failed  bool
}

func (e Ending) into(f Facts) Facts {
	f.Result, f.Reason, f.EndedBy, f.Denial, f.Status = e.Result, e.Reason, e.EndedBy, e.Denial, e.Status
	return f
}

// Called tells of the hop's call of the app, which is over now.
func (a *Action) Called(begin time.Time, e Ending) {
	if a == nil || begin.IsZero() {
		return
	}
	f := Facts{Action: a.root.Facts.Action, App: a.root.Facts.App, Operation: a.root.Facts.Operation, Method: a.root.Facts.Method}
	a.emit(Span{Name: Upstream, Kind: Client, ID: newSpanID(), Begin: begin, Facts: e.into(f), Failed: e.Failed}, false)
}

// Wrote tells that the outcome was written, from begin until now.
func (a *Action) Wrote(begin time.Time, e Ending) {
	if a == nil {
		return
	}
	a.emit(Span{Name: Outcome, ID: newSpanID(), Begin: begin, Facts: Facts{Action: a.root.Facts.Action, Result: e.Result, Reason: e.Reason}}, false)
}

// Done tells that the action is over now: call it once, last.
func (a *Action) Done(e Ending) {
	if a == nil {
		return
	}
	root := a.root
	root.Facts, root.Failed, root.End = e.into(root.Facts), e.Failed, a.tracer.now()
	a.tracer.Emit(root)
}

// emit places a span below the check or below the root.
func (a *Action) emit(s Span, inCheck bool) {
	s.Trace, s.Parent, s.State, s.End = a.root.Trace, a.root.ID, a.root.State, a.tracer.now()
	if inCheck {
		s.Parent, s.Facts.Action = a.check, a.root.Facts.Action
	}
	a.tracer.Emit(s)
}
