package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	// MaxLife is the longest life of a token.
	MaxLife = 5 * time.Minute
	// MaxAssertion is the longest life of a token that asserts an identity to an app.
	MaxAssertion = 30 * time.Second
	// MaxActors is the deepest chain of actors.
	MaxActors = 4
	maxAMR    = 8
)

// The names of our own claims.
const (
	claimGrant = "urn:mayfly:grant"
	claimGen   = "urn:mayfly:gen"
)

// Claims is what a token says: RFC 9068 with the profile of contracts §7.
type Claims struct {
	Issuer   string               // iss
	Subject  identity.Principal   // sub
	Audience string               // aud, exactly one: the app's resource
	ClientID string               // client_id: who asked
	ID       grant.TokenID        // jti
	IssuedAt time.Time            // iat, in whole seconds
	Expires  time.Time            // exp, exclusive, in whole seconds
	Confirm  Confirmation         // cnf
	Actor    []identity.Principal // act, the outermost first (RFC 8693 §4.1)
	Details  []Detail             // authorization_details
	AuthTime time.Time            // auth_time; zero: not told
	ACR      string               // acr; "": not told
	AMR      []string             // amr
	Txn      grant.RequestID      // txn (RFC 8417 §2.2): the request that the grant answers
	Grant    grant.GrantID        // urn:mayfly:grant
	Gen      int64                // urn:mayfly:gen: the feed's epoch
}

// Covers reports whether one detail covers op whole: nil is yes, a *grant.Denial
// with scope or constraint says why not.
func (c *Claims) Covers(op scope.Operation) error {
	var miss *scope.Miss
	for _, d := range c.Details {
		err := d.Scope.Covers(op)
		if err == nil {
			return nil
		}
		var m *scope.Miss
		if errors.As(err, &m) && (miss == nil || m.Kind == scope.MissConstraint) {
			miss = m
		}
	}
	if miss != nil && miss.Kind == scope.MissConstraint {
		return grant.Deny(grant.ConstraintUnmet, "the token does not reach this far: %s", miss)
	}
	return grant.Deny(grant.OutOfScope, "the token does not cover %s", op.Name)
}

// check holds the rules that need neither time nor reader. Issuer and verifier use
// this one, so that nothing is signed that would be refused.
func (c *Claims) check() error {
	life := c.Expires.Sub(c.IssuedAt)
	switch {
	case c.Issuer == "" || len(c.Issuer) > maxText:
		return errors.New("iss is missing or too long")
	case c.Subject.IsZero():
		return errors.New("sub is missing")
	case c.Audience == "" || len(c.Audience) > maxText:
		return errors.New("aud is missing or too long")
	case c.ClientID == "" || len(c.ClientID) > maxText:
		return errors.New("client_id is missing or too long")
	case c.ID.IsZero() || c.Txn.IsZero() || c.Grant.IsZero():
		return errors.New("jti, txn or the grant is missing")
	case c.Gen < 0 || c.Gen >= maxInteger:
		return errors.New("the generation is not one")
	case !isDate(c.IssuedAt) || !isDate(c.Expires) || !c.AuthTime.IsZero() && !isDate(c.AuthTime):
		return errors.New("a time is not one in whole seconds")
	case life <= 0 || life > MaxLife:
		return fmt.Errorf("the life is %s, want at most %s", life, MaxLife)
	case len(c.Actor) > MaxActors || slices.ContainsFunc(c.Actor, identity.Principal.IsZero):
		return fmt.Errorf("act is deeper than %d, or names nobody", MaxActors)
	case len(c.ACR) > maxText || len(c.AMR) > maxAMR:
		return errors.New("acr or amr is too long")
	case len(c.Details) == 0 || len(c.Details) > maxDetails:
		return fmt.Errorf("want 1 to %d authorization_details", maxDetails)
	}
	for i, d := range c.Details {
		if err := d.check(c.Audience); err != nil {
			return fmt.Errorf("authorization_details %d: %w", i, err)
		}
	}
	return c.Confirm.check()
}

// isDate reports whether a NumericDate of whole seconds says t.
func isDate(t time.Time) bool {
	s := t.Unix()
	return s > 0 && s < maxInteger && t.Nanosecond() == 0
}

// wireClaims is the payload as we write it.
type wireClaims struct {
	Issuer   string             `json:"iss"`
	Subject  identity.Principal `json:"sub"`
	Audience string             `json:"aud"`
	ClientID string             `json:"client_id"`
	ID       grant.TokenID      `json:"jti"`
	IssuedAt int64              `json:"iat"`
	Expires  int64              `json:"exp"`
	Confirm  map[string]string  `json:"cnf"`
	Actor    *wireActor         `json:"act,omitempty"`
	Details  []wireDetail       `json:"authorization_details"`
	AuthTime int64              `json:"auth_time,omitempty"`
	ACR      string             `json:"acr,omitempty"`
	AMR      []string           `json:"amr,omitempty"`
	Txn      grant.RequestID    `json:"txn"`
	Grant    grant.GrantID      `json:"urn:mayfly:grant"`
	Gen      int64              `json:"urn:mayfly:gen"`
}

type wireActor struct {
	Subject identity.Principal `json:"sub"`
	Actor   *wireActor         `json:"act,omitempty"`
}

func (c *Claims) payload() ([]byte, error) {
	w := wireClaims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID, ID: c.ID,
		IssuedAt: c.IssuedAt.Unix(), Expires: c.Expires.Unix(), Confirm: c.Confirm.wire(),
		ACR: c.ACR, AMR: c.AMR, Txn: c.Txn, Grant: c.Grant, Gen: c.Gen,
	}
	for _, d := range c.Details {
		w.Details = append(w.Details, d.wire())
	}
	for _, p := range slices.Backward(c.Actor) {
		w.Actor = &wireActor{Subject: p, Actor: w.Actor}
	}
	if !c.AuthTime.IsZero() {
		w.AuthTime = c.AuthTime.Unix()
	}
	return json.Marshal(w)
}
