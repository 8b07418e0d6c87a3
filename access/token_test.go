package access_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

const (
	client  = "spiffe://acme.example/ns/web/sa/client"
	shopURL = "https://shop.acme.example"
)

// workloadOf is the identity under which an app itself calls others.
func workloadOf(app string) string { return "spiffe://acme.example/ns/" + app + "/sa/app" }

func resourceOf(app string) string { return "https://" + app + ".acme.example" }

// tokenWorld has four more apps, of which three speak for themselves and pass access on:
// shop to stock and bank, stock to bank and files, bank to stock.
func tokenWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	for app, onward := range map[string]string{"shop": "onward: [bank, stock]\n", "stock": "onward: [bank, files]\n", "bank": "onward: [stock]\n", "files": ""} {
		workload := "workload: " + workloadOf(app) + "\n"
		if app == "files" {
			workload = ""
		}
		w.files["apps/"+app+".yaml"] = []byte("app: " + app + "\nkind: web\nowner: team\nhosts: [" + app + ".acme.example, old-" + app + ".acme.example]\n" +
			"callers: [services]\nupstream: {url: \"https://" + app + ".internal.acme.example\"}\nstale_after: 1m\n" + workload)
		w.files["entitlements/"+app+"/read.yaml"] = []byte("entitlement: " + app + "/read\nowner: team\napp: " + app + "\n" + onward +
			"allow:\n  - {operations: [http.get], where: {path: {under: $folder}}}\nparams:\n  folder: {type: path, any: true}\n" +
			"sensitivity: read\ngrant: {max: 8h, default: 30m}\nrequest:\n  who: [group:idp/engineers, \"" + client + "\"]\n  justification: none\n" +
			"approve:\n  auto: {when: \"request.duration <= duration('2h')\"}\n")
	}
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [stripe, reports, shop, stock, bank, files]")
	w.keep()
	return w
}

// has gives somebody access to an app, under a folder if one is said.
func (w *world) has(who, app, folder string, life time.Duration) access.Request {
	w.t.Helper()
	a := access.Ask{Entitlement: app + "/read", Duration: life}
	if folder != "" {
		a.Params = map[string]string{"folder": folder}
	}
	return w.ask(w.as(who), a, access.Approved)
}

// certificate is the one that the holder of a token proves itself by.
func certificate() tokens.Confirmation { return tokens.Certificate([32]byte{7}) }

// svidAsk is what the token endpoint asks for a workload with its certificate.
func (w *world) svidAsk(who, app string) access.TokenAsk {
	return access.TokenAsk{Subject: principal(w.t, who), Proof: access.ProofSVID, ClientID: who, Confirm: certificate(), Resource: resourceOf(app)}
}

// token issues one, and has the verifier of the gateways read it.
func (w *world) token(a access.TokenAsk) tokens.Claims {
	w.t.Helper()
	out, err := w.IssueToken(w.t.Context(), a)
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := w.TokenKeys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := tokens.NewVerifier(tokens.VerifierConfig{Issuer: consoleURL, Keys: func() *tokens.KeySet { return set }})
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := v.Verify(out.Text, w.clock(), tokens.Expect{Audience: a.Resource, Presenter: a.Confirm})
	if err != nil {
		w.t.Fatal(err)
	}
	if c.ID != out.Claims.ID || c.Grant != out.Claims.Grant || !c.Expires.Equal(out.Claims.Expires) {
		w.t.Fatalf("the text says %+v, the answer %+v", c, out.Claims)
	}
	return *c
}

// refused fails unless a token is refused with a code, and nothing is left of the try.
func (w *world) refused(name string, a access.TokenAsk, want access.Code) {
	w.t.Helper()
	before := len(w.leaves())
	out, err := w.IssueToken(w.t.Context(), a)
	if code := access.CodeOf(err); code != want || out.Text != "" {
		w.t.Errorf("%s: code %q (%v), want %q", name, code, err, want)
	}
	if got := w.types(before); got != "" {
		w.t.Errorf("%s: leaves %s", name, got)
	}
}

// bodyText is the body of a leaf as it stands on the record.
func bodyText(r audit.Record) string { return string(r.Body.(json.RawMessage)) }

func getUnder(path string) []scope.Rule {
	return []scope.Rule{{Operation: "http.get", Where: []scope.Constraint{{Attribute: "path", Comparison: scope.Under, Values: []scope.Value{scope.Path(path)}}}}}
}

func TestATokenIsForOneLiveGrantAndItsHolder(t *testing.T) {
	w := tokenWorld(t)
	r := w.has(client, "shop", "/orders", time.Hour)
	before := len(w.leaves())
	c := w.token(w.svidAsk(client, "shop"))
	if c.Subject.String() != client || c.Grant != r.Grant || c.Txn != r.ID || c.ClientID != client || c.Audience != shopURL || c.Gen != 1 || c.Confirm != certificate() || len(c.Actor) != 0 {
		t.Errorf("claims %+v", c)
	}
	if len(c.Details) != 1 || c.Details[0].Type != "urn:mayfly:web" || c.Details[0].Entitlement != "shop/read" || !slices.Equal(c.Details[0].Locations, []string{shopURL}) || !slices.Equal(c.Details[0].Scope.Operations(), []string{"http.get"}) {
		t.Errorf("details %+v", c.Details)
	}
	if got := w.types(before); got != string(audit.TypeTokenIssued) {
		t.Fatalf("leaves %s", got)
	}
	leaf := w.leaves()[before]
	if text := bodyText(leaf); strings.Contains(text, "spiffe://") || !strings.Contains(text, c.ID.String()) || !strings.Contains(text, `"bound":"certificate"`) {
		t.Errorf("the leaf is %s", text)
	}
}

// A token ends with whatever ends first: five minutes, the grant, what proved the
// subject, the session that it came from.
func TestP1_ATokenEndsWithWhatItStandsOn(t *testing.T) {
	w := tokenWorld(t)
	_, s := w.loggedIn(access.SessionAPI, carol)
	w.has(client, "shop", "", time.Hour)
	w.has(client, "stock", "", 2*time.Minute)
	w.has(carol, "shop", "", 90*time.Minute)
	svid := func(app string, until time.Duration) access.TokenAsk {
		a := w.svidAsk(client, app)
		if until != 0 {
			a.Until = w.clock().Add(until)
		}
		return a
	}
	session := func() access.TokenAsk {
		return access.TokenAsk{Subject: s.Principal, Proof: access.ProofSession, Session: s.ID, ClientID: "mayfly", Confirm: certificate(), Resource: shopURL}
	}
	for _, c := range []struct {
		name string
		ask  access.TokenAsk
		want time.Duration
	}{
		{"five minutes", svid("shop", 0), tokens.MaxLife},
		{"the certificate", svid("shop", 3*time.Minute), 3 * time.Minute},
		{"a certificate that lives on", svid("shop", time.Hour), tokens.MaxLife},
		{"the grant", svid("stock", 3*time.Minute), 2 * time.Minute},
		{"a session that lives on", session(), tokens.MaxLife},
	} {
		if got := w.token(c.ask).Expires.Sub(w.clock()); got != c.want {
			t.Errorf("%s: it lives for %s, want %s", c.name, got, c.want)
		}
	}
	w.pass(s.EndsAt.Sub(w.clock()) - time.Minute)
	again := w.in(carol, "engineers")
	w.ask(again, access.Ask{Entitlement: "shop/read", Duration: time.Hour}, access.Approved)
	if got := w.token(session()).Expires; !got.Equal(s.EndsAt) {
		t.Errorf("it ends %s, and its session %s", got, s.EndsAt)
	}
	w.pass(time.Minute)
	w.refused("of a session that is over", session(), access.CodeNoSession)
	w.has(client, "shop", "", time.Hour)
	w.refused("within the second of its proof's end", func() access.TokenAsk {
		a := svid("shop", 0)
		a.Until = w.clock().Add(900 * time.Millisecond)
		return a
	}(), access.CodeEnded)
}

func TestWhoGetsNoToken(t *testing.T) {
	w := tokenWorld(t)
	mine := w.has(client, "shop", "/orders", time.Hour)
	other := w.has(carol, "shop", "", time.Hour)
	_, api := w.loggedIn(access.SessionAPI, carol)
	_, console := w.loggedIn(access.SessionConsole, carol)
	_, bobs := w.loggedIn(access.SessionAPI, bob)
	session := func(id grant.SessionID) func(*access.TokenAsk) {
		return func(a *access.TokenAsk) {
			a.Subject, a.Proof, a.Session, a.ClientID = principal(t, carol), access.ProofSession, id, "mayfly"
		}
	}
	detail := func(d access.DetailAsk) func(*access.TokenAsk) {
		return func(a *access.TokenAsk) {
			if d.Type == "" {
				d.Type = "urn:mayfly:web"
			}
			a.Detail = &d
		}
	}
	for _, c := range []struct {
		name   string
		change func(*access.TokenAsk)
		want   access.Code
	}{
		{"whoever has no grant", func(a *access.TokenAsk) { a.Subject = principal(t, refunder) }, access.CodeNoGrant},
		{"on an app without a grant", func(a *access.TokenAsk) { a.Resource = resourceOf("stock") }, access.CodeNoGrant},
		{"nobody", func(a *access.TokenAsk) { a.Subject = identity.Principal{} }, access.CodeInternal},
		{"a client without a name", func(a *access.TokenAsk) { a.ClientID = "" }, access.CodeInternal},
		{"itself as actor", func(a *access.TokenAsk) { a.Actor = a.Subject }, access.CodeInvalid},
		{"a workload of a strange trust domain", func(a *access.TokenAsk) { a.Subject = principal(t, "spiffe://evil.example/ns/web/sa/client") }, access.CodeNotEligible},
		{"a strange actor", func(a *access.TokenAsk) { a.Actor = principal(t, "spiffe://evil.example/ns/web/sa/agent") }, access.CodeNotEligible},
		{"no app", func(a *access.TokenAsk) { a.Resource = "https://nothing.acme.example" }, access.CodeInvalidTarget},
		{"a second host", func(a *access.TokenAsk) { a.Resource = "https://old-shop.acme.example" }, access.CodeInvalidTarget},
		{"a path of an app", func(a *access.TokenAsk) { a.Resource = shopURL + "/" }, access.CodeInvalidTarget},
		{"another scheme", func(a *access.TokenAsk) { a.Resource = "http://shop.acme.example" }, access.CodeInvalidTarget},
		{"no resource", func(a *access.TokenAsk) { a.Resource = "" }, access.CodeInvalidTarget},
		{"a session that is none", session(grant.SessionID{}), access.CodeInternal},
		{"a session that nobody has", session(grant.NewMinter().NewSessionID(epoch)), access.CodeNoSession},
		{"the console's session", session(console.ID), access.CodeNoSession},
		{"somebody else's session", session(bobs.ID), access.CodeNoSession},
		{"a session as proof of a workload", func(a *access.TokenAsk) { a.Session = api.ID }, access.CodeInternal},
		{"an ID token that counts for ever", func(a *access.TokenAsk) { a.Proof = access.ProofIDToken }, access.CodeInternal},
		{"a token as proof without one", func(a *access.TokenAsk) { a.Proof = access.ProofToken }, access.CodeInternal},
		{"another kind of app", detail(access.DetailAsk{Type: "urn:mayfly:stripe"}), access.CodeInvalidDetails},
		{"another app", detail(access.DetailAsk{App: "stock"}), access.CodeInvalidDetails},
		{"another entitlement", detail(access.DetailAsk{Entitlement: "stock/read"}), access.CodeInvalidDetails},
		{"another place", detail(access.DetailAsk{Locations: []string{resourceOf("stock")}}), access.CodeInvalidDetails},
		{"another's grant", detail(access.DetailAsk{Grant: other.Grant}), access.CodeInvalidDetails},
		{"more than the grant", detail(access.DetailAsk{Rules: getUnder("/")}), access.CodeInvalidDetails},
		{"another operation", detail(access.DetailAsk{Rules: []scope.Rule{{Operation: "http.head"}}}), access.CodeInvalidDetails},
		{"nothing at all", detail(access.DetailAsk{Rules: []scope.Rule{}}), access.CodeInternal},
	} {
		a := w.svidAsk(client, "shop")
		c.change(&a)
		w.refused(c.name, a, c.want)
	}
	// What is asked for is all that the token says, and no more.
	a := w.svidAsk(client, "shop")
	a.Detail = &access.DetailAsk{Type: "urn:mayfly:web", App: "shop", Entitlement: "shop/read", Locations: []string{shopURL}, Grant: mine.Grant, Rules: getUnder("/orders/7")}
	c := w.token(a)
	if got := c.Details[0].Scope.Rules; len(got) != 1 || got[0].Where[0].Values[0].String() != "/orders/7" {
		t.Errorf("the token says %+v", got)
	}
}

// Of several live grants the one that ends last is taken, and never one that has ended.
func TestATokenIsForTheGrantThatEndsLast(t *testing.T) {
	w := tokenWorld(t)
	short := w.has(client, "shop", "/a", 10*time.Minute)
	long := w.has(client, "shop", "/b", time.Hour)
	if c := w.token(w.svidAsk(client, "shop")); c.Grant != long.Grant {
		t.Errorf("it is for %s, want %s", c.Grant, long.Grant)
	}
	a := w.svidAsk(client, "shop")
	a.Detail = &access.DetailAsk{Type: "urn:mayfly:web", Rules: getUnder("/a")}
	if c := w.token(a); c.Grant != short.Grant {
		t.Errorf("what only the shorter covers is for %s, want %s", c.Grant, short.Grant)
	}
	tie := w.has(client, "shop", "/c", time.Hour)
	first := min(long.Grant.String(), tie.Grant.String())
	if c := w.token(w.svidAsk(client, "shop")); c.Grant.String() != first {
		t.Errorf("of two that end together: %s, want %s", c.Grant, first)
	}
}

func TestP3_NoTokenAfterAnEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, r access.Request)
		want access.Code
	}{
		{"revoked", func(w *world, r access.Request) {
			_, err := w.Revoke(w.t.Context(), w.as(dave), r.Grant, "over")
			ok(w.t, err)
		}, access.CodeNoGrant},
		{"finished", func(w *world, r access.Request) {
			_, err := w.Finish(w.t.Context(), w.as(client), r.Grant)
			ok(w.t, err)
		}, access.CodeNoGrant},
		{"over", func(w *world, _ access.Request) { w.pass(time.Hour) }, access.CodeNoGrant},
		{"swept", func(w *world, _ access.Request) { w.pass(time.Hour); w.sweep() }, access.CodeNoGrant},
		{"locked", func(w *world, _ access.Request) { w.lock(client) }, access.CodeLocked},
	} {
		w := tokenWorld(t)
		r := w.has(client, "shop", "", time.Hour)
		claims := w.token(w.svidAsk(client, "shop"))
		if live, app, err := w.TokenLive(t.Context(), claims); !live || app.Name != "shop" || err != nil {
			t.Errorf("before it is %s: live %t at %q, %v", c.name, live, app.Name, err)
		}
		c.end(w, r)
		w.refused("once it is "+c.name, w.svidAsk(client, "shop"), c.want)
		if live, _, err := w.TokenLive(t.Context(), claims); live || err != nil {
			t.Errorf("once it is %s: live %t, %v", c.name, live, err)
		}
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lock on whoever acts in a token ends it as one on its subject does.
func TestP10_ATokenEndsWithWhoeverActsInIt(t *testing.T) {
	w := tokenWorld(t)
	w.has(client, "shop", "", time.Hour)
	const agent = "spiffe://acme.example/ns/a/sa/agent"
	a := w.svidAsk(client, "shop")
	a.Actor = principal(t, agent)
	c := w.token(a)
	if len(c.Actor) != 1 || c.Actor[0].String() != agent {
		t.Fatalf("act is %v", c.Actor)
	}
	if body := bodyText(w.leaves()[len(w.leaves())-1]); !strings.Contains(body, `"act":["p_`) {
		t.Errorf("the leaf does not name who acts: %s", body)
	}
	w.lock(agent)
	if live, _, err := w.TokenLive(t.Context(), c); live || err != nil {
		t.Errorf("after its actor was locked: live %t, %v", live, err)
	}
	w.refused("for a locked actor", a, access.CodeLocked)
	w.token(w.svidAsk(client, "shop")) // the subject itself is not locked
}

// Somebody who sees a token can neither keep its grant nor learn of it.
func TestTokenLiveOfWhatIsNot(t *testing.T) {
	w := tokenWorld(t)
	w.has(client, "shop", "", time.Hour)
	good := w.token(w.svidAsk(client, "shop"))
	for name, change := range map[string]func(*tokens.Claims){
		"another subject":        func(c *tokens.Claims) { c.Subject = principal(t, carol) },
		"a grant of nobody's":    func(c *tokens.Claims) { c.Grant = grant.NewMinter().NewGrantID(epoch) },
		"a resource of no app's": func(c *tokens.Claims) { c.Audience = "https://gone.acme.example" },
	} {
		c := good
		change(&c)
		if live, _, err := w.TokenLive(t.Context(), c); live || err != nil {
			t.Errorf("%s: live %t, %v", name, live, err)
		}
	}
}

// What proves a person by being shown counts once, and is not used up by a refusal.
func TestAnIDTokenCountsOnce(t *testing.T) {
	w := tokenWorld(t)
	a := access.TokenAsk{
		Subject: principal(t, carol), Proof: access.ProofIDToken, ClientID: "mayfly", Confirm: certificate(), Resource: shopURL,
		Once: "id_token:abc", OnceEnds: w.clock().Add(5 * time.Minute), Until: w.clock().Add(time.Hour), ACR: "urn:mfa", AuthTime: w.clock().Add(-time.Minute),
	}
	w.refused("without a grant", a, access.CodeNoGrant)
	w.has(carol, "shop", "", time.Hour)
	if c := w.token(a); c.ACR != "urn:mfa" || !c.AuthTime.Equal(a.AuthTime) {
		t.Errorf("claims %+v", c)
	}
	w.refused("a second time", a, access.CodeInvalid)
	other := a
	other.Once = "id_token:def"
	w.token(other)
}

// A token is exchanged by the app that it names, onwards only, and what it may become
// never grows.
func TestATokenGoesOnlyOnward(t *testing.T) {
	w := tokenWorld(t)
	held := map[string]access.Request{}
	for _, app := range []string{"shop", "stock", "bank", "files"} {
		held[app] = w.has(client, app, "", time.Hour)
	}
	pass := func(c tokens.Claims, by, to string) access.TokenAsk {
		return access.TokenAsk{
			Subject: c.Subject, Proof: access.ProofToken, Token: &c, Actor: principal(t, by), ClientID: by,
			Confirm: certificate(), Until: c.Expires, Resource: resourceOf(to),
		}
	}
	first := w.token(w.svidAsk(client, "shop"))
	w.pass(time.Minute)
	before := len(w.leaves())
	second := w.token(pass(first, workloadOf("shop"), "stock"))
	if second.Subject != first.Subject || second.Grant != held["stock"].Grant || second.Expires.After(first.Expires) || len(second.Actor) != 1 || second.Actor[0].String() != workloadOf("shop") {
		t.Errorf("the second: %+v", second)
	}
	if body := bodyText(w.leaves()[before]); !strings.Contains(body, `"from":"`+first.ID.String()) {
		t.Errorf("the leaf does not say from what it came: %s", body)
	}
	third := w.token(pass(second, workloadOf("stock"), "bank"))
	if len(third.Actor) != 2 || third.Actor[0].String() != workloadOf("stock") || third.Actor[1].String() != workloadOf("shop") {
		t.Errorf("the third is by %v", third.Actor)
	}
	for _, c := range []struct {
		name string
		ask  access.TokenAsk
		want access.Code
	}{
		{"by another app", pass(first, workloadOf("stock"), "bank"), access.CodeNotEligible},
		{"by a workload that is no app's", pass(first, refunder, "stock"), access.CodeNotEligible},
		{"by its holder", pass(first, client, "stock"), access.CodeInvalid},
		{"to an app that is not listed", pass(first, workloadOf("shop"), "files"), access.CodeInvalidTarget},
		{"to the app itself", pass(first, workloadOf("shop"), "shop"), access.CodeInvalidTarget},
		{"to what only the second lists", pass(second, workloadOf("stock"), "files"), access.CodeInvalidTarget},
		{"back", pass(third, workloadOf("bank"), "stock"), access.CodeInvalidTarget},
		{"for another subject", func() access.TokenAsk {
			a := pass(first, workloadOf("shop"), "stock")
			a.Subject = principal(t, carol)
			return a
		}(), access.CodeInternal},
		{"without an end", func() access.TokenAsk {
			a := pass(first, workloadOf("shop"), "stock")
			a.Until = time.Time{}
			return a
		}(), access.CodeInternal},
		{"of an app without a workload", func() access.TokenAsk {
			c := first
			c.Audience = resourceOf("files")
			return pass(c, workloadOf("shop"), "stock")
		}(), access.CodeNotEligible},
		{"of another app's grant", func() access.TokenAsk {
			c := first
			c.Grant = held["stock"].Grant
			return pass(c, workloadOf("shop"), "stock")
		}(), access.CodeEnded},
		{"of a chain that is not known", func() access.TokenAsk {
			c := second
			c.ID = grant.NewMinter().NewTokenID(epoch)
			return pass(c, workloadOf("stock"), "bank")
		}(), access.CodeEnded},
	} {
		w.refused(c.name, c.ask, c.want)
	}
	if _, err := w.Finish(t.Context(), w.as(client), held["shop"].Grant); err != nil {
		t.Fatal(err)
	}
	w.refused("after the end of its grant", pass(first, workloadOf("shop"), "stock"), access.CodeEnded)
}

// At most MaxActors act in a token.
func TestAChainOfTokensHasAnEnd(t *testing.T) {
	w := tokenWorld(t)
	w.has(client, "shop", "", time.Hour)
	w.has(client, "stock", "", time.Hour)
	c := w.token(w.svidAsk(client, "shop"))
	ask := func(c tokens.Claims) access.TokenAsk {
		return access.TokenAsk{Subject: c.Subject, Proof: access.ProofToken, Token: &c, Actor: principal(t, workloadOf("shop")), ClientID: workloadOf("shop"), Confirm: certificate(), Until: c.Expires, Resource: resourceOf("stock")}
	}
	// The store knows this token as exchanged, with as many actors as there may be.
	w.put(access.OnwardToken{ID: c.ID, Grant: c.Grant, Onward: []string{"stock"}, Ends: c.Expires})
	for i := range tokens.MaxActors {
		c.Actor = append(c.Actor, principal(t, fmt.Sprintf("spiffe://acme.example/ns/a%d/sa/agent", i)))
	}
	w.refused("one more than there may be", ask(c), access.CodeInvalid)
	c.Actor = c.Actor[1:]
	if got := w.token(ask(c)); len(got.Actor) != tokens.MaxActors {
		t.Errorf("actors %v", got.Actor)
	}
	// What an earlier step does not let through stays shut, whatever the entitlement says.
	d := w.token(w.svidAsk(client, "shop"))
	w.put(access.OnwardToken{ID: d.ID, Grant: d.Grant, Onward: []string{"bank"}, Ends: d.Expires})
	w.refused("beyond what came before", ask(d), access.CodeInvalidTarget)
	// And nothing comes back to where it has been, whatever the store says.
	e := w.token(w.svidAsk(client, "shop"))
	w.put(access.OnwardToken{ID: e.ID, Grant: e.Grant, Onward: []string{"stock"}, Ends: e.Expires})
	w.token(ask(e))
	e.Actor = []identity.Principal{principal(t, workloadOf("stock"))}
	w.refused("back", ask(e), access.CodeInvalidTarget)
}

func (w *world) put(row access.OnwardToken) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), func(tx access.Tx) error { return tx.Tokens().Insert(w.t.Context(), row) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// Only the holder gives a token back, and with it the grant: what others hold for the
// same grant ends too.
func TestP4_GivingATokenBackEndsItsGrant(t *testing.T) {
	w := tokenWorld(t)
	r := w.has(client, "shop", "", time.Hour)
	c, second := w.token(w.svidAsk(client, "shop")), w.token(w.svidAsk(client, "shop"))
	before := len(w.leaves())
	for name, who := range map[string]string{"the app that it names": workloadOf("shop"), "security": dave, "somebody": carol} {
		wantCode(t, w.RevokeToken(t.Context(), principal(t, who), c), access.CodeNotFound)
		other := c
		other.Subject = principal(t, who)
		wantCode(t, w.RevokeToken(t.Context(), principal(t, who), other), access.CodeNotFound)
		if got := w.types(before); got != "" {
			t.Errorf("%s left %s", name, got)
		}
	}
	foreign := c
	foreign.Subject = principal(t, carol)
	wantCode(t, w.RevokeToken(t.Context(), principal(t, client), foreign), access.CodeNotFound)
	if err := w.RevokeToken(t.Context(), principal(t, client), c); err != nil {
		t.Fatal(err)
	}
	if got := w.types(before); got != "token.revoked grant.finished" {
		t.Errorf("leaves %s", got)
	}
	if g, err := w.ShowGrant(t.Context(), w.as(client), r.Grant); err != nil || g.State != grant.EndedState || g.Finished.IsZero() {
		t.Errorf("the grant is %s, %v", g.State, err)
	}
	if live, _, err := w.TokenLive(t.Context(), second); live || err != nil {
		t.Errorf("another token of the grant: live %t, %v", live, err)
	}
	wantCode(t, w.RevokeToken(t.Context(), principal(t, client), c), access.CodeEnded)
}

// Refusals stand on the record with who proved itself, and never with what was shown.
func TestRefusalsOfTokensAreRecorded(t *testing.T) {
	w := newWorld(t)
	before := len(w.leaves())
	if err := w.RecordRefusals(t.Context(), nil); err != nil || w.types(before) != "" {
		t.Errorf("none: %v, leaves %s", err, w.types(before))
	}
	err := w.RecordRefusals(t.Context(), []access.TokenRefusal{
		{Principal: principal(t, carol), Code: "invalid_target", Route: "token", Count: 1},
		{Code: strings.Repeat("x", 200), Route: "revoke", Count: 17},
	})
	if err != nil || w.types(before) != "token.refused token.refused" {
		t.Fatalf("%v, leaves %s", err, w.types(before))
	}
	var bodies []map[string]string
	for _, leaf := range w.leaves()[before:] {
		body, err := leaf.Texts()
		ok(t, err)
		bodies = append(bodies, body)
	}
	if p := bodies[0]["principal"]; !strings.HasPrefix(p, "p_") || bodies[0]["code"] != "invalid_target" || bodies[0]["count"] != "1" {
		t.Errorf("%v", bodies[0])
	}
	if _, named := bodies[1]["principal"]; named || bodies[1]["count"] != "17" || len(bodies[1]["code"]) > 100 {
		t.Errorf("%v", bodies[1])
	}
}

// A grant with more operations than a token has room for is no reason to leave some out.
func TestATokenLeavesNothingOut(t *testing.T) {
	w := tokenWorld(t)
	r := w.has(client, "shop", "", time.Hour)
	rules := make([]scope.Rule, 0, 65)
	for i := range 65 {
		rules = append(rules, getUnder(fmt.Sprintf("/%d", i))...)
	}
	a := w.svidAsk(client, "shop")
	a.Detail = &access.DetailAsk{Type: "urn:mayfly:web", Grant: r.Grant, Rules: rules}
	w.refused("65 lines", a, access.CodeInvalidDetails)
	a.Detail.Rules = rules[1:] // few enough, and still more than a header has room for
	w.refused("64 long lines", a, access.CodeInvalidDetails)
	a.Detail.Rules = rules[:30]
	if got := len(w.token(a).Details[0].Scope.Rules); got != 30 {
		t.Errorf("a token of %d lines, want 30", got)
	}
}

// What is secret shows itself in no log line, error or dump.
func TestP7_SecretsPrintAsRedacted(t *testing.T) {
	w := tokenWorld(t)
	w.has(client, "shop", "", time.Hour)
	token, err := w.IssueToken(t.Context(), w.svidAsk(client, "shop"))
	ok(t, err)
	session, _ := w.loggedIn(access.SessionAPI, carol)
	if session.Reveal() == "" || token.Text == "" {
		t.Fatal("there is nothing to hide")
	}
	marshalled, err := json.Marshal(map[string]any{"session": session})
	ok(t, err)
	for _, text := range []string{
		fmt.Sprint(token), fmt.Sprintf("%+v", token), fmt.Sprintf("%#v", token), fmt.Sprint(&token),
		fmt.Sprint(session), fmt.Sprintf("%+v", session), fmt.Sprintf("%#v", session), string(marshalled), session.LogValue().String(),
	} {
		if strings.Contains(text, token.Text) || strings.Contains(text, session.Reveal()) || !strings.Contains(text, "redacted") {
			t.Errorf("it prints as %s", text)
		}
	}
}
