package proxytest

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Issuer signs tokens as mayflyd does, with one key.
type Issuer struct {
	t      testing.TB
	key    tokens.PrivateKey
	minter *grant.Minter
}

// NewIssuer makes an issuer with a key of its own.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	key, err := tokens.GenerateKey(tokens.ES256)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{t: t, key: key, minter: grant.NewMinter()}
}

// Key is the public key, as the feed tells it.
func (i *Issuer) Key() *feed.Resource {
	i.t.Helper()
	public := i.key.Public()
	der, err := x509.MarshalPKIXPublicKey(public.Key)
	if err != nil {
		i.t.Fatal(err)
	}
	return &feed.Resource{Id: public.ID, MinReader: 3, Resource: &feed.Resource_Key{Key: &feed.Key{
		PublicKey: der, Alg: string(public.Alg), State: "active", Issuer: Console,
	}}}
}

// Claims are those of a token of five minutes for the holder of a grant on an app of
// kind web, for reading.
func (i *Issuer) Claims(holder, app string, id grant.GrantID, at time.Time, by tokens.Confirmation) tokens.Claims {
	i.t.Helper()
	p, err := identity.ParsePrincipal(holder)
	if err != nil {
		i.t.Fatal(err)
	}
	audience := "https://" + app + ".acme.example"
	at = at.Truncate(time.Second)
	return tokens.Claims{
		Issuer: Console, Subject: p, Audience: audience, ClientID: holder, ID: i.minter.NewTokenID(at),
		IssuedAt: at, Expires: at.Add(tokens.MaxLife), Confirm: by, Txn: i.minter.NewRequestID(at), Grant: id, Gen: 1,
		Details: []tokens.Detail{{
			Type: "urn:mayfly:web", Locations: []string{audience}, Entitlement: app + "/use",
			Scope: scope.Scope{App: app, Rules: []scope.Rule{{Operation: "http.get"}}},
		}},
	}
}

// Sign signs claims.
func (i *Issuer) Sign(c tokens.Claims) string {
	i.t.Helper()
	issuer, err := tokens.NewIssuer(tokens.IssuerConfig{Issuer: c.Issuer, Key: func() (tokens.PrivateKey, error) { return i.key, nil }})
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := issuer.Sign(c)
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}
