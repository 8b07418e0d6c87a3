package proxy

import (
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/scope"
)

// try writes down what is known of a request, for its intent or its denial.
func (c *Checker) try(v *ruling) audit.Try {
	status := c.c.Table.Status()
	t := audit.Try{
		Action: v.action.ID.String(), Principal: c.principal(v),
		Operation: v.op.Name, Resource: v.op.Resource, Class: v.class.String(),
		Ask: audit.Ask{
			Certificate: v.peer.SHA256, Method: limit(v.r.HTTP.Method, 16), Authority: limit(v.r.HTTP.Authority, 256), Path: v.r.PathHash(),
		},
		Epoch: uint64(status.At.Epoch), Revision: uint64(status.At.Revision), FreshnessMS: status.Age.Milliseconds(),
		Attributes: c.attributes(v),
	}
	if v.app != nil {
		t.App = v.app.Name
	}
	if body, ok := v.r.BodyHash(); ok {
		t.Ask.Body = body
	}
	if !v.action.Deadline.IsZero() {
		t.Deadline = audit.At(v.action.Deadline)
	}
	return t
}

// principal is the pseudonym under which the feed knows the caller. A workload
// without a grant has none here, and is no person: it stands by its name.
func (c *Checker) principal(v *ruling) string {
	if v.grant.Pseudonym != "" {
		return v.grant.Pseudonym
	}
	return v.peer.Principal.String()
}

// attributes keeps the values that the catalogue marks recordable, and commits
// to the others.
func (c *Checker) attributes(v *ruling) map[string]audit.Attr {
	if len(v.op.Attributes) == 0 {
		return nil
	}
	out := make(map[string]audit.Attr, len(v.op.Attributes))
	for name, value := range v.op.Attributes {
		if spec, ok := v.spec.Attribute(name); ok && spec.Recordable {
			out[name] = audit.Attr{Value: limit(value.String(), 1024)}
			continue
		}
		out[name] = audit.Attr{HMAC: audit.Commit(c.c.RecordKey, name, value.String())}
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

// limit cuts what a caller wrote to what a record has room for.
func limit(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
