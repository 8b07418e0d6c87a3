package proxy

import (
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// caller is who makes a request, and what proved it: a certificate, or a session.
// The zero value is nobody.
type caller struct {
	principal   identity.Principal
	certificate audit.Hash           // SHA-256 of a workload's certificate
	visit                            // of a person with a browser
	act         []identity.Principal // who acts for the principal, nearest first: of a token
	known       string               // the principal's pseudonym by the grant of a token, "" if that is not known here
}

// proven reports whether anybody is.
func (c caller) proven() bool { return !c.principal.IsZero() }

// pseudonym is the name under which the caller stands on the record. The feed knows
// a workload by that of its grant; without one it is no person, and stands by its
// own name. A person never does: one whose pseudonym is not known here has none.
func (c caller) pseudonym(g grant.Grant) string {
	switch {
	case c.session != nil:
		return c.session.Pseudonym
	case g.Pseudonym != "":
		return g.Pseudonym
	case c.known != "":
		return c.known
	case c.principal.Kind() == identity.KindUser:
		return ""
	default:
		return c.principal.String()
	}
}

// sessionID is the ses_ id of a person's session, "" of a workload.
func (c caller) sessionID() string {
	if c.session == nil {
		return ""
	}
	return c.session.ID.String()
}
