package tokens_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

const (
	issuer   = "https://mayfly.acme.example:8443"
	resource = "https://stripe.acme.example"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an issuer, its key and a verifier.
type world struct {
	key      tokens.PrivateKey
	keys     *tokens.KeySet
	issuer   *tokens.Issuer
	verifier *tokens.Verifier
	now      time.Time
	minter   *grant.Minter
	base     tokens.Claims // that keep every rule
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Unix(1_800_000_000, 0).UTC(), minter: grant.NewMinter()}
	var err error
	w.key, err = tokens.GenerateKey(tokens.ES256)
	check(t, err)
	w.keys, err = tokens.NewKeySet([]tokens.PublicKey{w.key.Public()})
	check(t, err)
	w.issuer, err = tokens.NewIssuer(tokens.IssuerConfig{Issuer: issuer, Key: func() (tokens.PrivateKey, error) { return w.key, nil }})
	check(t, err)
	w.verifier, err = tokens.NewVerifier(tokens.VerifierConfig{Issuer: issuer, Keys: func() *tokens.KeySet { return w.keys }})
	check(t, err)
	w.base = w.claims(t)
	return w
}

func holder() tokens.Confirmation { return tokens.Certificate(sha256.Sum256([]byte("certificate"))) }

func (w *world) claims(t testing.TB) tokens.Claims {
	t.Helper()
	p, err := identity.ParsePrincipal("spiffe://acme.example/ns/pay/sa/refunder")
	check(t, err)
	return tokens.Claims{
		Subject: p, Audience: resource, ClientID: p.String(), ID: w.minter.NewTokenID(w.now), IssuedAt: w.now, Expires: w.now.Add(tokens.MaxLife),
		Confirm: holder(), Txn: w.minter.NewRequestID(w.now), Grant: w.minter.NewGrantID(w.now), Gen: 1,
		Details: []tokens.Detail{{
			Type: tokens.TypePrefix + "stripe", Locations: []string{resource}, Entitlement: "stripe/refunds",
			Scope: scope.Scope{App: "stripe", Rules: []scope.Rule{{Operation: "refunds.create", Where: []scope.Constraint{
				{Attribute: "amount", Comparison: scope.Max, Values: []scope.Value{scope.MinorUnits(5000)}},
			}}}},
		}},
	}
}

func TestATokenIsTakenAsItWasSigned(t *testing.T) {
	w := newWorld(t)
	c := w.claims(t)
	text, err := w.issuer.Sign(c)
	check(t, err)
	if !tokens.IsToken(text) {
		t.Error("it is not told as one of ours")
	}
	for range 2 { // the second time from memory
		got, err := w.verifier.Verify(text, w.now, tokens.Expect{Audience: resource, Presenter: holder()})
		check(t, err)
		if got.Subject != c.Subject || got.Grant != c.Grant || got.ID != c.ID {
			t.Errorf("%+v", got)
		}
		op := scope.Operation{App: "stripe", Name: "refunds.create", Attributes: scope.Attributes{"amount": scope.MinorUnits(5000)}}
		check(t, got.Covers(op))
		op.Attributes["amount"] = scope.MinorUnits(5001)
		if grant.ReasonOf(got.Covers(op)) != grant.ConstraintUnmet {
			t.Error("more than the token says is covered")
		}
	}
}

func TestWhoElseHasTheTokenHasNothing(t *testing.T) {
	w := newWorld(t)
	text, err := w.issuer.Sign(w.claims(t))
	check(t, err)
	ok := tokens.Expect{Audience: resource, Presenter: holder()}
	other, err := tokens.GenerateKey(tokens.ES256)
	check(t, err)
	for _, c := range []struct {
		name   string
		text   string
		at     time.Time
		want   tokens.Expect
		reason grant.Reason
	}{
		{"another certificate", text, w.now, tokens.Expect{Audience: resource, Presenter: tokens.Certificate(sha256.Sum256([]byte("x")))}, grant.TokenNotBound},
		{"the hash as a DPoP key", text, w.now, tokens.Expect{Audience: resource, Presenter: tokens.Key(holder().X5T)}, grant.TokenNotBound},
		{"nobody", text, w.now, tokens.Expect{Audience: resource}, grant.TokenNotBound},
		{"another resource", text, w.now, tokens.Expect{Audience: "https://wiki.acme.example", Presenter: holder()}, grant.WrongAudience},
		{"no resource", text, w.now, tokens.Expect{Presenter: holder()}, grant.WrongAudience},
		{"at its end", text, w.now.Add(tokens.MaxLife), ok, grant.Ended},
		{"before it was issued", text, w.now.Add(-tokens.Skew - time.Second), ok, grant.BadToken},
		{"too long a life", text, w.now, tokens.Expect{Audience: resource, Presenter: holder(), MaxLife: tokens.MaxAssertion}, grant.BadToken},
		{"a changed byte", text[:len(text)-3] + "AAA", w.now, ok, grant.BadToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := w.verifier.Verify(c.text, c.at, c.want)
			if grant.ReasonOf(err) != c.reason || got != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	if _, err := w.verifier.Verify(text, w.now, ok); err != nil {
		t.Fatal(err)
	}
	w.keys, err = tokens.NewKeySet([]tokens.PublicKey{other.Public()})
	check(t, err)
	if _, err := w.verifier.Verify(text, w.now, ok); grant.ReasonOf(err) != grant.BadToken {
		t.Error("a removed key counts from memory:", err)
	}
}

func TestAProofCountsOnce(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	nonces, err := tokens.NewNonces()
	check(t, err)
	proofs, err := tokens.NewProofs(tokens.ProofConfig{Nonces: nonces})
	check(t, err)
	prover, err := tokens.NewProver()
	check(t, err)
	of := tokens.Presented{Method: "GET", URL: "https://wiki.acme.example/a", Token: "t"}
	text, err := prover.Prove("GET", "https://WIKI.acme.example:443/a?x=1", "t", nonces.Current(now), now)
	check(t, err)
	want, err := prover.Thumbprint()
	check(t, err)
	if got, err := proofs.Verify(text, of, now); err != nil || got != want {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := proofs.Verify(text, of, now); grant.ReasonOf(err) != grant.BadToken {
			t.Error("a proof counts twice:", err)
		}
		now = now.Add(30 * time.Second)
	}
}
