package tokens

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

func TestTokenVerifiersWithoutARuleAreNotMade(t *testing.T) {
	keys := func() *KeySet { return nil }
	for _, c := range []VerifierConfig{{}, {Issuer: testIssuer}, {Keys: keys}, {Issuer: testIssuer, Keys: keys, CacheSize: -1}} {
		if v, err := NewVerifier(c); err == nil || v != nil {
			t.Errorf("%+v makes a verifier", c)
		}
	}
	for _, c := range []IssuerConfig{{}, {Issuer: testIssuer}, {Key: func() (PrivateKey, error) { return PrivateKey{}, nil }}} {
		if i, err := NewIssuer(c); err == nil || i != nil {
			t.Error("an issuer without a rule is made")
		}
	}
}

// TestTokenIsNotSignedThatWouldBeRefused: for each, the verifier's own reader says no.
func TestTokenIsNotSignedThatWouldBeRefused(t *testing.T) {
	h := newHouse(t, ES256)
	long := strings.Repeat("a", maxText+1)
	for name, change := range map[string]func(*Claims){
		"no subject":            func(c *Claims) { c.Subject = Claims{}.Subject },
		"another issuer":        func(c *Claims) { c.Issuer = "https://evil.example" },
		"no audience":           func(c *Claims) { c.Audience = "" },
		"a client not in UTF-8": func(c *Claims) { c.ClientID = "\xff" },
		"too long a life":       func(c *Claims) { c.Expires = c.Expires.Add(time.Second) },
		"no life":               func(c *Claims) { c.Expires = c.IssuedAt },
		"half a second":         func(c *Claims) { c.IssuedAt = c.IssuedAt.Add(time.Second / 2) },
		"bound to nothing":      func(c *Claims) { c.Confirm = Confirmation{} },
		"bound twice":           func(c *Claims) { c.Confirm.X5T = [32]byte{1} },
		"five actors":           func(c *Claims) { c.Actor = append(c.Actor, c.Actor...); c.Actor = append(c.Actor, c.Actor[0]) },
		"good for nothing":      func(c *Claims) { c.Details = nil },
		"good elsewhere":        func(c *Claims) { c.Details[0].Locations = []string{"https://wiki.acme.example"} },
		"without operations":    func(c *Claims) { c.Details[0].Scope.Rules = nil },
		"a long entitlement":    func(c *Claims) { c.Details[0].Entitlement = long },
		"a long app":            func(c *Claims) { c.Details[0].Scope.App = long },
		"a nameless method":     func(c *Claims) { c.AMR = []string{""} },
		"no generation":         func(c *Claims) { c.Gen = -1 },
		"no grant":              func(c *Claims) { c.Grant = grant.GrantID{} },
		"longer than is read": func(c *Claims) {
			rule := c.Details[0].Scope.Rules[1]
			c.Details[0].Scope.Rules = nil
			for i := range maxRules {
				rule.Operation = fmt.Sprintf("op%d", i)
				c.Details[0].Scope.Rules = append(c.Details[0].Scope.Rules, rule)
			}
		},
	} {
		c := good(t)
		change(&c)
		if token, err := h.issuer.Sign(c); err == nil {
			_, err := h.verifier.Verify(token, testNow(), expected())
			t.Errorf("%s is signed; verified: %v", name, err)
		}
	}
}
