package tokens

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	testIssuer   = "https://mayfly.acme.example"
	testAudience = "https://stripe.acme.example"
)

func testNow() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }

func principal(t testing.TB, s string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bound() Confirmation { return Confirmation{JKT: [32]byte{1, 2, 3}} }

func expected() Expect { return Expect{Audience: testAudience, Presenter: bound()} }

// good are claims that keep every rule and use every claim.
func good(t testing.TB) Claims {
	t.Helper()
	now, m := testNow(), grant.NewMinter()
	return Claims{
		Issuer: testIssuer, Subject: principal(t, "user:idp:3f1c"), Audience: testAudience, ClientID: "spiffe://acme.example/ns/pay/sa/refunder",
		ID: m.NewTokenID(now), IssuedAt: now, Expires: now.Add(MaxLife), Confirm: bound(),
		Actor: []identity.Principal{principal(t, "spiffe://acme.example/agent/helper"), principal(t, "spiffe://acme.example/agent/planner")},
		Details: []Detail{{
			Type: "urn:mayfly:stripe", Locations: []string{testAudience}, Entitlement: "stripe/refunds",
			Scope: scope.Scope{App: "stripe", Rules: []scope.Rule{
				{Operation: "charges.retrieve"},
				{Operation: "refunds.create", Where: []scope.Constraint{
					{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.MinorUnits(5000)}},
					{Attribute: "charge", Comparison: scope.Is, Values: []scope.Value{scope.Text("ch_1")}},
				}},
			}},
		}},
		AuthTime: now.Add(-time.Hour), ACR: "urn:acme:mfa", AMR: []string{"pwd", "otp"},
		Txn: m.NewRequestID(now), Grant: m.NewGrantID(now), Gen: 3,
	}
}

// house is one issuer with one key and a verifier of it.
type house struct {
	key      PrivateKey
	keys     *KeySet
	issuer   *Issuer
	verifier *Verifier
}

func newHouse(t testing.TB, alg Alg) *house {
	t.Helper()
	h := &house{}
	var err error
	if h.key, err = GenerateKey(alg); err != nil {
		t.Fatal(err)
	}
	h.trust(t, h.key.Public())
	if h.issuer, err = NewIssuer(IssuerConfig{Issuer: testIssuer, Key: func() (PrivateKey, error) { return h.key, nil }}); err != nil {
		t.Fatal(err)
	}
	if h.verifier, err = NewVerifier(VerifierConfig{Issuer: testIssuer, Keys: func() *KeySet { return h.keys }}); err != nil {
		t.Fatal(err)
	}
	return h
}

// trust puts another set of keys in force.
func (h *house) trust(t testing.TB, keys ...PublicKey) {
	t.Helper()
	var err error
	if h.keys, err = NewKeySet(keys); err != nil {
		t.Fatal(err)
	}
}

func (h *house) sign(t testing.TB, c Claims) string {
	t.Helper()
	token, err := h.issuer.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
