package proxy_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/tokens"
)

// counter is a desk with the panel open to clients, and a client of Alice's with a
// DPoP key and a token that is bound to it.
type counter struct {
	*desk
	issuer *proxytest.Issuer
	prover tokens.Prover
	visits grant.GrantID
	token  string
	id     string // of the token
	nonce  string
}

const clientURL = "https://panel.acme.example:8447/tickets/7"

func newCounter(t testing.TB, change ...func(*feed.App)) *counter {
	t.Helper()
	d := newDesk(t)
	c := &counter{desk: d, issuer: proxytest.NewIssuer(t)}
	panel := proxytest.Panel()
	panel.MinReader, panel.GetApp().Callers = 3, []string{"people", "services", "clients"}
	for _, f := range change {
		f(panel.GetApp())
	}
	id, r := d.world.Visits(time.Hour)
	d.world.Add(panel, r, c.issuer.Key())
	c.visits = id
	var err error
	if c.prover, err = tokens.NewProver(); err != nil {
		t.Fatal(err)
	}
	claims := c.claims()
	c.token, c.id = c.issuer.Sign(claims), claims.ID.String()
	return c
}

func (c *counter) claims() tokens.Claims {
	c.t.Helper()
	jkt, err := c.prover.Thumbprint()
	if err != nil {
		c.t.Fatal(err)
	}
	return c.issuer.Claims(proxytest.Alice, "panel", c.visits, c.world.Now(), tokens.Key(jkt))
}

func (c *counter) prove(method, url, token, nonce string) string {
	c.t.Helper()
	proof, err := c.prover.Prove(method, url, token, nonce, c.world.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return proof
}

// learn asks once without a nonce, and keeps the one that it is told.
func (c *counter) learn() {
	c.t.Helper()
	v := c.check(c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, "")))
	if v.allowed || v.status != 401 || v.header["dpop-nonce"] == "" || !strings.Contains(v.header["www-authenticate"], `error="use_dpop_nonce"`) {
		c.t.Fatalf("%+v, want 401 with a nonce", v)
	}
	c.nonce = v.header["dpop-nonce"]
}

func (c *counter) call(authorization string, proofs ...string) ask {
	a := ask{door: "clients", sni: "panel.acme.example", app: "panel", method: "GET", authority: "panel.acme.example:8447", path: "/tickets/7?tab=a"}
	if authorization != "" {
		a.headers = append(a.headers, [2]string{"authorization", authorization})
	}
	for _, p := range proofs {
		a.headers = append(a.headers, [2]string{"dpop", p})
	}
	return a
}

func TestAClientProvesItsKey(t *testing.T) {
	c := newCounter(t)
	c.learn()
	proof := c.prove("GET", clientURL, c.token, c.nonce)
	v := c.check(c.call("DPoP "+c.token, proof))
	i := c.journal.Intents()
	if !v.allowed || len(i) != 1 || i[0].Token != c.id || i[0].Principal != "p_alice" || i[0].Grant != c.visits.String() {
		t.Fatalf("%+v, intents %+v", v, i)
	}
	if !slices.Contains(v.removed, "authorization") || !slices.Contains(v.removed, "dpop") {
		t.Errorf("the app is given token or proof: removed are %v", v.removed)
	}
	if v := c.check(c.call("DPoP "+c.token, proof)); v.allowed || v.status != 401 {
		t.Errorf("a proof counts twice: %+v", v)
	}
}

func TestDpopRefused(t *testing.T) {
	for name, build := range map[string]func(*counter) ask{
		"nothing": func(c *counter) ask { return c.call("") },
		"a cookie": func(c *counter) ask {
			a := c.call("")
			a.headers = append(a.headers, [2]string{"cookie", "__Host-mayfly=" + secretA})
			return a
		},
		"no proof": func(c *counter) ask { return c.call("DPoP " + c.token) },
		"two proofs": func(c *counter) ask {
			return c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, c.nonce), c.prove("GET", clientURL, c.token, c.nonce))
		},
		"as Bearer":      func(c *counter) ask { return c.call("Bearer "+c.token, c.prove("GET", clientURL, c.token, c.nonce)) },
		"another method": func(c *counter) ask { return c.call("DPoP "+c.token, c.prove("POST", clientURL, c.token, c.nonce)) },
		"another path":   func(c *counter) ask { return c.call("DPoP "+c.token, c.prove("GET", clientURL+"1", c.token, c.nonce)) },
		"another port": func(c *counter) ask {
			return c.call("DPoP "+c.token, c.prove("GET", "https://panel.acme.example/tickets/7", c.token, c.nonce))
		},
		"another host": func(c *counter) ask {
			return c.call("DPoP "+c.token, c.prove("GET", "https://board.acme.example:8447/tickets/7", c.token, c.nonce))
		},
		"another token": func(c *counter) ask { return c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token+"x", c.nonce)) },
		"another nonce": func(c *counter) ask { return c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, "x"+c.nonce)) },
		"another's key": func(c *counter) ask {
			thief, err := tokens.NewProver()
			if err != nil {
				c.t.Fatal(err)
			}
			proof, err := thief.Prove("GET", clientURL, c.token, c.nonce, c.world.Now())
			if err != nil {
				c.t.Fatal(err)
			}
			return c.call("DPoP "+c.token, proof)
		},
		"the host that it says": func(c *counter) ask {
			a := c.call("DPoP "+c.token, c.prove("GET", "https://panel.acme.example:9/tickets/7", c.token, c.nonce))
			a.authority = "panel.acme.example:9"
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t)
			c.learn()
			v := c.check(build(c))
			if v.allowed || v.status != 401 && v.reason != grant.ConflictingHeaders {
				t.Fatalf("%+v, want a refusal", v)
			}
			if v.status == 401 && !strings.HasPrefix(v.header["www-authenticate"], "DPoP ") {
				t.Errorf("WWW-Authenticate %q", v.header["www-authenticate"])
			}
			if len(c.journal.Intents()) != 0 {
				t.Error("an intent of a refused request")
			}
		})
	}
}

// A person of whom only a token tells stands on the record by their pseudonym, or not
// at all.
func TestAPersonWithATokenIsNotNamed(t *testing.T) {
	c := newCounter(t)
	c.learn()
	c.world.End(c.visits, grant.Revoked)
	if v := c.check(c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, c.nonce))); v.reason != grant.Revoked {
		t.Fatalf("%+v, want revoked", v)
	}
	claims := c.claims()
	claims.Grant = grant.NewMinter().NewGrantID(c.world.Now())
	c.token = c.issuer.Sign(claims)
	if v := c.check(c.call("DPoP "+c.token, c.prove("GET", clientURL, c.token, c.nonce))); v.reason != grant.NoGrant {
		t.Fatalf("%+v, want no_grant", v)
	}
	for _, d := range c.journal.Denials() {
		if d.Principal != "p_alice" && d.Principal != "" {
			t.Errorf("a denial of %q", d.Principal)
		}
	}
	if c.journal.Counted(grant.NoGrant) != 1 {
		t.Error("a denial of somebody unknown is not counted")
	}
}

func TestAnAppIsDescribedToPrograms(t *testing.T) {
	c := newCounter(t)
	for _, door := range []string{"clients", "services"} {
		a := c.call("")
		a.door, a.path = door, "/.well-known/oauth-protected-resource"
		if door == "services" {
			a.certificate = c.certificate(proxytest.Stranger)
		}
		v := c.check(a)
		var got map[string]any
		if v.status != 200 || json.Unmarshal([]byte(v.body), &got) != nil {
			t.Fatalf("%s: %+v", door, v)
		}
		if got["resource"] != "https://panel.acme.example" || got["authorization_servers"].([]any)[0] != proxytest.Console ||
			got["tls_client_certificate_bound_access_tokens"] != true || got["authorization_details_types_supported"].([]any)[0] != "urn:mayfly:web" {
			t.Errorf("%s: %v", door, got)
		}
		for _, bad := range []func(*ask){
			func(a *ask) { a.method = "POST" }, func(a *ask) { a.path += "/x" }, func(a *ask) { a.path += "?x=1" },
		} {
			if v := c.check(a.with(bad)); v.allowed || v.status != 404 {
				t.Errorf("%s: %+v, want 404 from the gateway", door, v)
			}
		}
	}
}

func TestStepUpAsksForAFreshLogin(t *testing.T) {
	c := newCounter(t, func(a *feed.App) {
		a.StepUp = []*feed.StepUp{{Entitlement: "panel/use", Acr: []string{"urn:acme:mfa", "phrh"}, MaxAgeUs: (10 * time.Minute).Microseconds()}}
	})
	c.learn()
	send := func(change func(*tokens.Claims)) verdict {
		claims := c.claims()
		change(&claims)
		text := c.issuer.Sign(claims)
		return c.check(c.call("DPoP "+text, c.prove("GET", clientURL, text, c.nonce)))
	}
	now := c.world.Now()
	for name, change := range map[string]func(*tokens.Claims){
		"nothing told": func(*tokens.Claims) {},
		"weak":         func(t *tokens.Claims) { t.ACR, t.AuthTime = "pwd", now },
		"old":          func(t *tokens.Claims) { t.ACR, t.AuthTime = "phrh", now.Add(-11*time.Minute).Truncate(time.Second) },
	} {
		v := send(change)
		want := `error="insufficient_user_authentication", acr_values="urn:acme:mfa phrh", max_age="600"`
		if v.allowed || v.status != 401 || v.reason != grant.LoginAgain || !strings.Contains(v.header["www-authenticate"], want) {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := send(func(t *tokens.Claims) { t.ACR, t.AuthTime = "phrh", now.Add(-9*time.Minute).Truncate(time.Second) }); !v.allowed {
		t.Errorf("a fresh and strong login: %+v", v)
	}
}
