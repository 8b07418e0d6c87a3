package proxy_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/tokens"
)

// bearer is a desk whose table knows the key of an issuer, and one certificate of the
// refunder's.
type bearer struct {
	*desk
	issuer      *proxytest.Issuer
	certificate string
	by          tokens.Confirmation
}

func newBearer(t testing.TB) *bearer {
	t.Helper()
	d := newDesk(t)
	b := &bearer{desk: d, issuer: proxytest.NewIssuer(t)}
	b.certificate, b.by = b.svid(proxytest.Refunder)
	d.world.Add(b.issuer.Key())
	return b
}

func (b *bearer) svid(who string) (string, tokens.Confirmation) {
	b.t.Helper()
	svid, err := b.ca.SVID(spiffeid.RequireFromString(who), 3*time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	return pemOf([][]byte{svid.Certificates[0].Raw}), tokens.Confirmation{X5T: sha256.Sum256(svid.Certificates[0].Raw)}
}

// claims are those of a good token, changed.
func (b *bearer) claims(change ...func(*tokens.Claims)) tokens.Claims {
	c := b.issuer.Claims(proxytest.Refunder, "wiki", b.wiki, b.world.Now(), b.by)
	for _, f := range change {
		f(&c)
	}
	return c
}

// present is a read with what its Authorization says.
func (b *bearer) present(authorization string) ask {
	a := b.read(proxytest.Refunder)
	a.certificate = b.certificate
	a.headers = append(a.headers, [2]string{"authorization", authorization})
	return a
}

func TestATokenCountsForItsGrant(t *testing.T) {
	b := newBearer(t)
	other, r := b.world.Reads(2 * time.Hour) // without the token this one would be taken
	b.world.Add(r)
	c := b.claims()
	text := b.issuer.Sign(c)
	v := b.check(b.present("Bearer " + text))
	intents := b.journal.Intents()
	if !v.allowed || len(intents) != 1 || intents[0].Token != c.ID.String() || intents[0].Grant != b.wiki.String() {
		t.Fatalf("%+v, intents %+v, want the token's grant %s and no other", v, intents, b.wiki)
	}
	if !slices.Contains(v.removed, "authorization") {
		t.Error("the app is given the token")
	}
	if v := b.check(b.read(proxytest.Refunder)); !v.allowed || b.journal.Intents()[1].Grant != other.String() || b.journal.Intents()[1].Token != "" {
		t.Error("a request without a token is not decided by the grant that ends last")
	}
	if said := b.logs.String(); strings.Contains(said, text) {
		t.Error("the log has the token's text")
	}
}

func TestAnAppsOwnBearerIsItsOwnBusiness(t *testing.T) {
	b := newBearer(t)
	foreign := b.issuer.Sign(b.claims(func(c *tokens.Claims) { c.Issuer = "https://login.other.example" }))
	for _, text := range []string{"Bearer sk_test_1", "Basic YTpi", "Bearer " + foreign, "DPoP " + foreign, "Bearer a.b.c"} {
		v := b.check(b.present(text))
		if !v.allowed || slices.Contains(v.removed, "authorization") {
			t.Errorf("%s: %+v, want it to pass untouched", clipped(text), v)
		}
	}
}

// TestATokenRefusedForItsScopeSaysWhatToAskFor: unless another token of the grant would do.
func TestATokenRefusedForItsScopeSaysWhatToAskFor(t *testing.T) {
	b := newBearer(t)
	narrow := func(c *tokens.Claims) { c.Details[0].Scope.Rules[0].Operation = "http.post" }
	if v := b.check(b.present("Bearer " + b.issuer.Sign(b.claims(narrow)))); v.reason != grant.OutOfScope || strings.Contains(v.body, "mayfly request") {
		t.Errorf("%s: %s, want nothing to ask for: the grant covers it", v.reason, v.body)
	}
	b.world.End(b.wiki, grant.Revoked)
	if v := b.check(b.present("Bearer " + b.issuer.Sign(b.claims(narrow)))); v.reason != grant.OutOfScope || !strings.Contains(v.body, "mayfly request") {
		t.Errorf("%s: %s, want what to ask for", v.reason, v.body)
	}
}

func clipped(s string) string { return s[:min(len(s), 20)] }

func TestRefusedTokens(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*tokens.Claims)
		then   func(*bearer)
		scheme string
		want   grant.Reason
	}{
		"another's certificate": {func(c *tokens.Claims) { c.Confirm = tokens.Confirmation{X5T: [32]byte{1}} }, nil, "Bearer", grant.TokenNotBound},
		"a DPoP key":            {func(c *tokens.Claims) { c.Confirm = tokens.Confirmation{JKT: [32]byte{1}} }, nil, "Bearer", grant.TokenNotBound},
		"as DPoP":               {nil, nil, "DPoP", grant.TokenNotBound},
		"another app": {func(c *tokens.Claims) {
			c.Audience = "https://stripe.acme.example"
			c.Details[0].Locations[0] = c.Audience
		}, nil, "Bearer", grant.WrongAudience},
		"another subject": {func(c *tokens.Claims) {
			c.Subject, _ = identity.ParsePrincipal(proxytest.Stranger)
		}, nil, "Bearer", grant.TokenNotBound},
		"a person without an actor": {func(c *tokens.Claims) { c.Subject, _ = identity.ParsePrincipal(proxytest.Alice) }, nil, "Bearer", grant.TokenNotBound},
		"a narrower detail":         {func(c *tokens.Claims) { c.Details[0].Scope.Rules[0].Operation = "http.post" }, nil, "Bearer", grant.OutOfScope},
		"another epoch":             {func(c *tokens.Claims) { c.Gen = 2 }, nil, "Bearer", grant.Ended},
		"a grant that ended":        {nil, func(b *bearer) { b.world.End(b.wiki, grant.Revoked) }, "Bearer", grant.Revoked},
		"a removed key": {nil, func(b *bearer) {
			b.world.Remove(&feed.Removal{Kind: feed.KindKey, Id: b.issuer.Key().Id, Reason: "revoked"})
			b.world.Add(proxytest.NewIssuer(b.t).Key())
		}, "Bearer", grant.BadToken},
		"its time is over": {nil, func(b *bearer) { b.world.Pass(tokens.MaxLife + 10*time.Second); b.world.Pong() }, "Bearer", grant.BadToken},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBearer(t)
			claims := b.claims()
			if c.change != nil {
				c.change(&claims)
			}
			text := b.issuer.Sign(claims)
			if c.then != nil {
				c.then(b)
			}
			v := b.check(b.present(c.scheme + " " + text))
			if v.allowed || v.reason != c.want {
				t.Fatalf("%v %s: %s, want %s", v.allowed, v.reason, v.body, c.want)
			}
			denied := b.journal.Denials()
			if len(denied) != 1 {
				t.Fatalf("%d denials on the record, want one", len(denied))
			}
			raw, err := json.Marshal(denied)
			if err != nil {
				t.Fatal(err)
			}
			for _, said := range []string{string(raw), v.body, b.logs.String()} {
				if strings.Contains(said, text) || strings.Contains(said, strings.Split(text, ".")[2]) {
					t.Error("the token's text is written down")
				}
			}
			if v.status == 401 && !strings.Contains(v.header["www-authenticate"], `resource_metadata="https://wiki.acme.example/.well-known/oauth-protected-resource"`) {
				t.Errorf("WWW-Authenticate %q", v.header["www-authenticate"])
			}
		})
	}
}

func TestTwoAuthorizationsConflict(t *testing.T) {
	b := newBearer(t)
	a := b.present("Bearer " + b.issuer.Sign(b.claims()))
	a.headers = append(a.headers, [2]string{"authorization", "Bearer sk_test_1"})
	if v := b.check(a); v.reason != grant.ConflictingHeaders {
		t.Errorf("%+v, want conflicting_headers", v)
	}
}

// An agent acts for a person under the person's grant: the token is bound to the
// agent's certificate, and the chain is on the record.
func TestAnActorUsesTheGrantOfItsSubject(t *testing.T) {
	b := newBearer(t)
	id, r := b.world.Visits(time.Hour)
	b.world.Add(proxytest.Panel(), r)
	claims := b.issuer.Claims(proxytest.Alice, "panel", id, b.world.Now(), b.by)
	agent, err := identity.ParsePrincipal(proxytest.Refunder)
	if err != nil {
		t.Fatal(err)
	}
	claims.Actor, claims.ClientID = []identity.Principal{agent}, proxytest.Refunder
	a := b.present("Bearer " + b.issuer.Sign(claims))
	a.sni, a.authority, a.app = "panel.acme.example", "panel.acme.example", "panel"
	v := b.check(a)
	i := b.journal.Intents()
	if !v.allowed || len(i) != 1 || i[0].Grant != id.String() || i[0].Principal != "p_alice" || !slices.Equal(i[0].Act, []string{proxytest.Refunder}) {
		t.Fatalf("%+v, intents %+v", v, i)
	}
	a.certificate, _ = b.svid(proxytest.Stranger)
	if v := b.check(a); v.reason != grant.TokenNotBound {
		t.Errorf("another workload uses the agent's token: %+v", v)
	}
}

// A key that is removed while a request waits for the disk is not decided under.
func TestAKeyRemovedMeanwhileCountsNoMore(t *testing.T) {
	b := newBearer(t)
	text := b.issuer.Sign(b.claims())
	j := &proxytest.Journal{BeforeIntent: func(context.Context) error {
		b.world.Remove(&feed.Removal{Kind: feed.KindKey, Id: b.issuer.Key().Id, Reason: "revoked"})
		return nil
	}}
	b.build(j)
	if v := b.check(b.present("Bearer " + text)); v.allowed || v.reason != grant.BadToken {
		t.Errorf("%+v, want bad_token", v)
	}
}
