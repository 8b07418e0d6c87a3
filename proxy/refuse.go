package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// refuse records a no and says it in the caller's own protocol. Nobody who
// proved nothing is told more than the reason.
func (c *Checker) refuse(ctx context.Context, v *ruling, d *grant.Denial) *authv3.CheckResponse {
	c.log(ctx, d)
	out := *d
	shown := c.record(v, &out)
	if !shown {
		out.ID = grant.DenialID{}
	}
	if !v.caller.proven() {
		out.Entitlement, out.Next = "", ""
	} else if shown && out.Entitlement != "" {
		out.Next = strings.TrimSpace(out.Next + "\nmayfly request --from-denial " + out.ID.String())
	}
	resp := c.shape(v, &out)
	c.challenge(v, &out, resp)
	if v.status != 0 {
		resp.Status = v.status
	}
	c.traceRefusal(v, &out, resp.Status)
	return refused(resp, &out, shown)
}

// log tells operators what is wrong with the gateway. What callers do wrong is on
// the record, and would fill a log.
func (c *Checker) log(ctx context.Context, d *grant.Denial) {
	cause, level := errors.Unwrap(d), slog.LevelDebug
	if d.Info().HTTP >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if cause != nil {
		c.c.Log.LogAttrs(ctx, level, "request denied", slog.String("reason", string(d.Reason)), slog.Any("error", cause))
	}
}

func (c *Checker) shape(v *ruling, d *grant.Denial) app.Response {
	switch {
	case v.r != nil && v.r.GRPC:
		return grpcRefusal(d)
	case sendsToLogin(v, d):
		return redirectToLogin(v, d)
	case wantsPage(v):
		return c.pages.denial(v, d)
	case v.kind != nil:
		return v.kind.Refuse(d)
	default:
		return app.Problem(d)
	}
}

// record writes the denial and, if the intent stands already, that nothing was
// sent: both under the intent's action id. It reports whether the denial's id
// leads anywhere.
func (c *Checker) record(v *ruling, d *grant.Denial) bool {
	if v.written {
		c.c.Actions.Close(v.action.ID)
		if err := c.c.Journal.Outcome(audit.Outcome{Action: v.action.ID.String(), Result: audit.ResultNotSent, Reason: string(d.Reason)}); err != nil {
			c.c.Log.Error("outcome not written", "action", v.action.ID.String(), "error", err)
		}
	}
	if !v.caller.proven() || v.caller.pseudonym(v.grant) == "" {
		c.c.Journal.Count(d.Reason)
		return false
	}
	now := c.c.Table.Now()
	if v.action.ID.IsZero() {
		v.action.ID = c.c.Minter.NewActionID(now)
	}
	d.ID = c.c.Minter.NewDenialID(now)
	c.beginTrace(v, true)
	if !c.c.Journal.Denied(audit.Denied{Denial: d.ID.String(), Code: string(d.Reason), Try: c.try(v)}) {
		return false
	}
	c.remember(v, d, now)
	return true
}
