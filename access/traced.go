package access

import (
	"context"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/trace"
)

// step is one span of a request's trace that a verb has earned. It leaves after the
// commit: of a verb that is rolled back or tried again there is none.
type step struct {
	request grant.RequestID
	app     string // whose feed change it made, "" none
	span    trace.Span
}

// spans are the steps of one transaction, and when it began by the wall clock.
type spans struct {
	tracer *trace.Tracer
	began  time.Time
	steps  []step
}

// trace notes what a leaf tells of a request. Every change of one has its leaf, so
// this is the only place where spans of the control path begin.
func (w *work) trace(ctx context.Context, t audit.Type, body any) {
	if w.spans.tracer == nil {
		return
	}
	s := step{span: trace.Span{Begin: w.spans.began, End: w.spans.tracer.Now()}}
	f := &s.span.Facts
	switch b := body.(type) {
	case requestCreated:
		s.span.Name, s.span.Kind = trace.Request, trace.Server
		*f = trace.Facts{Request: b.Request, Pseudonym: b.Requester, Entitlement: b.Entitlement, App: b.App}
	case offerMade:
		s.span.Name = trace.Offer
		*f = trace.Facts{Request: b.Request, Offer: b.Offer}
	case decisionMade:
		s.span.Name, s.span.Failed = trace.Decision, b.Code != ""
		*f = trace.Facts{Request: b.Request, Result: b.Outcome, Reason: b.Code}
	case approvalGiven:
		s.span.Name = trace.Approval
		*f = trace.Facts{Request: b.Request, Pseudonym: b.Approver}
	case requestClosed:
		s.span.Name = trace.Closed
		*f = trace.Facts{Request: b.Request, Result: closedAs(t), Reason: b.Code, Pseudonym: b.By}
	case grantCreated:
		s.span.Name, s.app = trace.Activation, b.App
		*f = trace.Facts{Request: b.Request, Grant: b.Grant, Pseudonym: b.Principal, Entitlement: b.Entitlement, App: b.App, Class: b.Class}
	case grantEnded:
		s.span.Name = endedAs(t)
		*f = trace.Facts{Grant: b.Grant, Reason: b.Reason, Pseudonym: b.By}
		w.ofGrant(ctx, &s)
		s.app = f.App
	case grantReceipts:
		w.traceReceipts(ctx, b)
		return
	default:
		return
	}
	w.addStep(s)
}

func closedAs(t audit.Type) string {
	return map[audit.Type]string{
		audit.TypeRequestApproved: "approved", audit.TypeRequestDenied: "denied",
		audit.TypeRequestWithdrawn: "withdrawn", audit.TypeRequestExpired: "expired",
	}[t]
}

func endedAs(t audit.Type) trace.Name {
	switch t {
	case audit.TypeGrantFinished:
		return trace.Finish
	case audit.TypeGrantRevoked:
		return trace.Revoke
	default:
		return trace.End
	}
}

// ofGrant adds what the grant of a step tells. One that cannot be read leaves the
// step without a request, and then without a span: a verb never fails for a trace.
func (w *work) ofGrant(ctx context.Context, s *step) {
	id, err := parseGrantID(s.span.Facts.Grant)
	if err != nil {
		return
	}
	g, err := w.tx.Grants().Get(ctx, id)
	if err != nil {
		return
	}
	s.span.Facts.Request, s.span.Facts.App, s.span.Facts.Entitlement = g.Request.String(), g.Scope.App, g.Entitlement
}

// addStep keeps a step of a request that is traced.
func (w *work) addStep(s step) {
	if s.request.UnmarshalText([]byte(s.span.Facts.Request)) != nil {
		return
	}
	var root trace.SpanID
	var exported bool
	if s.span.Trace, root, exported = w.spans.tracer.Requested(s.request); !exported {
		return
	}
	s.span.ID, s.span.Parent = trace.NewSpanID(), root
	if s.span.Name == trace.Request {
		s.span.ID, s.span.Parent = root, trace.SpanID{}
	}
	w.spans.steps = append(w.spans.steps, s)
}

// traceReceipts notes who heard of an end, and when: the times are the database's,
// moved to the wall clock.
func (w *work) traceReceipts(ctx context.Context, b grantReceipts) {
	now := w.spans.tracer.Now()
	wall := func(t audit.Time) time.Time { return now.Add(t.Sub(w.now)) }
	all := step{span: trace.Span{Name: trace.Receipts, Begin: w.spans.began, End: now, Facts: trace.Facts{Grant: b.Grant}}}
	w.ofGrant(ctx, &all)
	if id, err := parseGrantID(b.Grant); err == nil {
		if r, err := w.tx.Revocations().Get(ctx, id); err == nil {
			all.span.Begin = now.Add(r.Started.Sub(w.now))
		}
	}
	for _, one := range b.Instances {
		if one.How == "acked" {
			all.span.Facts.Acked++
		} else {
			all.span.Facts.Closed++
		}
		w.addStep(step{span: trace.Span{Name: trace.Receipt, Begin: all.span.Begin, End: wall(one.At), Facts: trace.Facts{
			Request: all.span.Facts.Request, Grant: b.Grant, Instance: one.Instance, Result: one.How,
		}}})
	}
	if more, err := strconv.Atoi(b.More); err == nil { // all of which acknowledged
		all.span.Facts.Acked += int64(more)
	}
	w.addStep(all)
}

// traceFeed notes at which revision gateways are told of a step's change.
func (w *work) traceFeed(steps map[string]feed.Position) {
	for _, s := range w.spans.steps {
		at, ok := steps[s.app]
		if !ok {
			at, ok = steps[everyApp]
		}
		if s.app == "" || !ok {
			continue
		}
		w.addStep(step{span: trace.Span{Name: trace.Feed, Begin: s.span.End, Facts: trace.Facts{
			Request: s.span.Facts.Request, Grant: s.span.Facts.Grant, App: s.app, Epoch: at.Epoch, Revision: at.Revision,
		}}})
	}
}

// committed sends the steps of a transaction on its way; a step without an end ends
// with the commit.
func (s *spans) committed() {
	if len(s.steps) == 0 {
		return
	}
	now := s.tracer.Now()
	for _, one := range s.steps {
		if one.span.End.IsZero() || one.span.Name == trace.Request {
			one.span.End = now
		}
		s.tracer.Emit(one.span)
	}
}
