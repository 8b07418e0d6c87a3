package proxy

import (
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// stepUp holds the login of whoever calls to what the grant's entitlement asks of it
// (RFC 9470): by the session, or by what the token tells.
func (c *Checker) stepUp(v *ruling) error {
	want, ok := v.app.StepUp[v.grant.Entitlement]
	if !ok {
		return nil
	}
	var acr string
	var at time.Time
	switch {
	case v.caller.session != nil:
		acr, at = v.caller.session.ACR, v.caller.session.AuthTime
	case v.token != nil:
		acr, at = v.token.ACR, v.token.AuthTime
	}
	switch {
	case len(want.ACR) > 0 && !slices.Contains(want.ACR, acr):
		v.stepUp = &want
		return grant.Deny(grant.LoginAgain, "%s asks for a stronger login", v.grant.Entitlement)
	case want.MaxAge > 0 && (at.IsZero() || v.now.Sub(at) > want.MaxAge):
		v.stepUp = &want
		return grant.Deny(grant.LoginAgain, "%s asks for a login of the last %s", v.grant.Entitlement, want.MaxAge)
	}
	return nil
}
