package proxy

import (
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/trace"
)

// beginTrace begins the trace of an action, as soon as it has an id: an intent and
// a denial name it. It changes nothing about the decision.
func (c *Checker) beginTrace(v *ruling, refused bool) {
	if c.c.Traces == nil || v.action.Trace != nil || v.r == nil {
		return
	}
	v.traced = trace.ReadCaller(v.r.HTTP.Header)
	f := trace.Facts{
		App: v.appName(), Operation: v.op.Name, Entitlement: v.grant.Entitlement, Class: v.className(), Method: v.r.HTTP.Method,
		Request: v.grant.Request.String(), Grant: v.grant.ID.String(), Action: v.action.ID.String(),
	}
	f.Observed = v.verdict
	if v.caller.proven() {
		f.Pseudonym = v.caller.pseudonym(v.grant)
	}
	if v.app != nil {
		f.Server = hostOf(v.r.HTTP.Authority) // one of the app's: findApp saw to that
	}
	v.action.Trace = c.c.Traces.Begin(trace.Start{
		Action: v.action.ID, Request: v.grant.Request, Caller: v.traced, Begin: v.arrived, Refused: refused, Facts: f,
	})
}

func (v *ruling) appName() string {
	if v.app == nil {
		return ""
	}
	return v.app.Name
}

func (v *ruling) className() string {
	if v.op.Name == "" {
		return ""
	}
	return v.class.String()
}

// traceRefusal tells of a no, as it is said: the whole trace of an action that goes no
// further. d has its id only if that leads to a record.
func (c *Checker) traceRefusal(v *ruling, d *grant.Denial, status int) {
	c.beginTrace(v, true)
	a := v.action.Trace
	if a == nil {
		return
	}
	e := trace.Ending{Result: "denied", Reason: string(d.Reason), Denial: d.ID.String(), Status: status, Failed: true}
	a.Checked(e.Reason)
	a.Done(e)
}

// tellTrace is what the app is told of the trace: that it acts below the action's
// span. An action that is not exported leaves the caller's trace as it came, so that
// the app's spans hang below the caller's. What is no proper trace never gets through.
func tellTrace(v *ruling, to *told) {
	at := v.action.Trace.Context()
	if !at.Trace.IsZero() {
		to.set = append(to.set, set(trace.HeaderParent, at.Parent()))
	} else if v.traced.BadParent {
		to.remove = append(to.remove, strings.ToLower(trace.HeaderParent))
	}
	if v.traced.BadState {
		to.remove = append(to.remove, strings.ToLower(trace.HeaderState))
	}
}

// reasonText is the code of what stopped something, "" if nothing did.
func reasonText(err error) string {
	if err == nil {
		return ""
	}
	return string(grant.ReasonOf(err))
}

// Conclude writes what became of a, and tells its trace. called is when the hop
// began to call the app, zero if it did not. a must have been closed by the caller:
// an action has one outcome.
func (a Action) Conclude(j Journal, o audit.Outcome, called time.Time) error {
	o.Action = a.ID.String()
	e := trace.Ending{
		Result: string(o.Result), Reason: o.Reason, EndedBy: o.EndedBy, Status: o.Status,
		Failed: o.Result != audit.ResultSent || o.EndedBy != "" || o.Status >= http.StatusInternalServerError,
	}
	a.Trace.Called(called, e)
	began := a.Trace.Now()
	err := j.Outcome(o)
	a.Trace.Wrote(began, e)
	a.Trace.Done(e)
	return err
}
