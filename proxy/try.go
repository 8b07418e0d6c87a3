package proxy

import (
	"strings"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/scope"
)

// try writes down what is known of a request, for its intent or its denial.
func (c *Checker) try(v *ruling) audit.Try {
	status := c.c.Table.Status()
	t := audit.Try{
		Action: v.action.ID.String(), Principal: v.caller.pseudonym(v.grant),
		Operation: v.op.Name, Resource: limit(v.op.Resource, maxText), Class: v.class.String(),
		Ask: audit.Ask{
			Certificate: v.caller.certificate, Session: v.caller.sessionID(), Method: limit(v.r.HTTP.Method, 16), Authority: limit(v.r.HTTP.Authority, 256), Path: v.r.PathHash(),
		},
		Epoch: uint64(status.At.Epoch), Revision: uint64(status.At.Revision), FreshnessMS: v.age.Milliseconds(),
		Attributes: c.attributes(v), Trace: v.action.Trace.Context().Trace.String(),
	}
	if v.app != nil {
		t.App = v.app.Name
	}
	if v.token != nil {
		t.Token = v.token.ID.String()
	}
	for _, actor := range v.caller.act {
		t.Act = append(t.Act, actor.String())
	}
	if body, ok := v.r.BodyHash(); ok {
		t.Ask.Body = body
	}
	if !v.action.Deadline.IsZero() {
		t.Deadline = audit.At(v.action.Deadline)
	}
	return t
}

// maxText is the longest text of a caller's that a record keeps, in bytes.
const maxText = 1024

// attributes keeps the values that the catalogue marks recordable, and commits
// to the others and to those that are too long.
func (c *Checker) attributes(v *ruling) map[string]audit.Attr {
	if len(v.op.Attributes) == 0 {
		return nil
	}
	out := make(map[string]audit.Attr, len(v.op.Attributes))
	for name, value := range v.op.Attributes {
		spec, ok := v.spec.Attribute(name)
		if text := value.String(); ok && spec.Recordable && len(text) <= maxText && utf8.ValidString(text) {
			out[name] = audit.Attr{Value: text}
		} else {
			out[name] = audit.Attr{HMAC: audit.Commit(c.c.RecordKey, name, text)}
		}
	}
	return out
}

// amountOf is the text of the operation's amount, for the reservation.
func amountOf(op scope.Operation) string {
	if v := op.Attributes["amount"]; v.Type() == scope.TypeMoney || v.Type() == scope.TypeMinorUnits {
		return v.String()
	}
	return ""
}

// limit cuts what a caller wrote to what a record has room for, as valid text.
// The hashes beside it are of the whole.
func limit(s string, n int) string {
	if len(s) <= n && utf8.ValidString(s) {
		return s
	}
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
