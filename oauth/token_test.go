package oauth_test

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/tokens"
)

const me = "spiffe://acme.example" + client

func credentials(more ...string) url.Values {
	return with(url.Values{"grant_type": {"client_credentials"}, "resource": {shopAPI}}, more...)
}

func exchanged(subject, kind string, more ...string) url.Values {
	return with(url.Values{"grant_type": {exchange}, "resource": {shopAPI}, "subject_token": {subject}, "subject_token_type": {kind}}, more...)
}

func with(v url.Values, more ...string) url.Values {
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func TestCredentialsOfAnSVID(t *testing.T) {
	w := newWorld(t)
	id := w.grantOf(me, "shop/read", time.Hour, map[string]string{"folder": "/pub"})
	cert := w.svid(client)
	a, c := w.issued("by certificate", w.do(call{form: credentials(), cert: cert}))
	sum := sha256.Sum256(cert.Certificate[0])
	if a.TokenType != "Bearer" || a.IssuedType != "" || c.Subject.String() != me || c.ClientID != me || c.Audience != shopAPI || c.Grant != id || c.Confirm != (tokens.Confirmation{X5T: sum}) || len(c.Actor) != 0 {
		t.Errorf("%+v %+v", a, c)
	}
	if life := c.Expires.Sub(c.IssuedAt); life > 5*time.Minute || a.ExpiresIn != int64(life/time.Second) {
		t.Errorf("it lives %s, and says %d s", life, a.ExpiresIn)
	}
	if len(c.Details) != 1 || !strings.Contains(string(a.Details), `"grant":"`+id.String()+`"`) {
		t.Errorf("details %s, %+v", a.Details, c.Details)
	}
	a, c = w.issued("by JWT-SVID and key", w.do(call{form: credentials("client_assertion", svidToken(client), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe")}))
	if a.TokenType != "DPoP" || c.Subject.String() != me || c.Confirm != w.byKey() || c.Expires.Sub(c.IssuedAt) > 2*time.Minute {
		t.Errorf("%+v %+v", a, c)
	}
	issued := w.leaves(audit.TypeTokenIssued)
	if len(issued) != 2 {
		t.Fatalf("%d leaves", len(issued))
	}
	for _, r := range issued {
		body, err := r.Texts()
		check(t, err)
		if body["grant"] != id.String() || body["app"] != "shop" || strings.Contains(body["principal"]+body["client"], "spiffe") {
			t.Errorf("leaf %v", body)
		}
	}
	for _, text := range []string{a.AccessToken, svidToken(client)} {
		if strings.Contains(w.log.String(), text) {
			t.Error("the log tells a token")
		}
	}
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", time.Hour, nil)
	alices := w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	secret := w.login(w.key)
	a, c := w.issued("a session with its key", w.do(call{form: exchanged(secret, typeAccess)}))
	if a.IssuedType != typeAccess || a.TokenType != "DPoP" || c.Subject.String() != "user:idp:alice" || c.ClientID != "mayfly-cli" || c.Grant != alices || c.ACR != "urn:mfa" || c.AuthTime.IsZero() {
		t.Errorf("%+v %+v", a, c)
	}
	if a, c = w.issued("a JWT-SVID with a key", w.do(call{form: exchanged(svidToken(client), typeJWT, "requested_token_type", typeJWT)})); a.IssuedType != typeJWT || c.Subject.String() != me || len(c.Actor) != 0 {
		t.Errorf("%+v %+v", a, c)
	}
	if _, c = w.issued("a JWT-SVID with the same SVID", w.do(call{form: exchanged(svidToken(client), typeJWT), cert: w.svid(client)})); c.Confirm.X5T == [32]byte{} || len(c.Actor) != 0 {
		t.Errorf("%+v", c)
	}
	_, c = w.issued("an actor", w.do(call{form: exchanged(svidToken(client+"~2"), typeJWT, "actor_token", svidToken("/ns/a/sa/agent"), "actor_token_type", typeJWT), cert: w.svid("/ns/a/sa/agent")}))
	if c.Subject.String() != me || len(c.Actor) != 1 || c.Actor[0].String() != "spiffe://acme.example/ns/a/sa/agent" {
		t.Errorf("%+v", c)
	}
	w.idTokens["i.d.t"] = oauth.IDToken{Digest: [32]byte{1}, Principal: principal(t, "user:idp:alice"), Ends: w.clock().Add(time.Minute)}
	if _, c = w.issued("an ID token", w.do(call{form: exchanged("i.d.t", typeID)})); c.Subject.String() != "user:idp:alice" || c.Expires.Sub(c.IssuedAt) > time.Minute {
		t.Errorf("%+v", c)
	}
	want(t, "the ID token again", w.do(call{form: exchanged("i.d.t", typeID)}), 400, oauth.InvalidRequest)
}

// An ID token that bought nothing is not used up by that; one that did is.
func TestARefusalDoesNotUseUpAnIDToken(t *testing.T) {
	w := newWorld(t)
	w.idTokens["i.d.t"] = oauth.IDToken{Digest: [32]byte{1}, Principal: principal(t, "user:idp:alice"), Ends: w.clock().Add(5 * time.Minute)}
	agent := svidToken("/ns/a/sa/agent")
	shown := func(more ...string) call { return call{form: exchanged("i.d.t", typeID, more...)} }
	want(t, "no grant", w.do(shown()), 400, oauth.InvalidTarget)
	w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	for name, c := range map[string]call{
		"a bad actor":       shown("actor_token", "a.b.c", "actor_token_type", typeJWT),
		"nobody's actor":    {form: exchanged("i.d.t", typeID), cert: w.svid(client)},
		"another's actor":   {form: exchanged("i.d.t", typeID, "actor_token", agent, "actor_token_type", typeJWT), cert: w.svid(client)},
		"an unknown domain": shown("actor_token", "svid./x/../y.z", "actor_token_type", typeJWT),
	} {
		want(t, name, w.do(c), 400, oauth.InvalidRequest)
	}
	want(t, "too many rights", w.do(shown("authorization_details", `[{"type":"urn:mayfly:web","operations":[{"name":"http.post"}]}]`)), 400, oauth.InvalidAuthorizationDetails)
	w.issued("a good one, by an actor", w.do(shown("actor_token", agent, "actor_token_type", typeJWT)))
	want(t, "again", w.do(shown()), 400, oauth.InvalidRequest)
	w.pass(3 * time.Minute) // the actor's SVID ended before the ID token does
	want(t, "again, later", w.do(shown()), 400, oauth.InvalidRequest)
}

func TestExchangeRefuses(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", time.Hour, map[string]string{"folder": "/pub"})
	w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	secret := w.login(w.key)
	other, err := tokens.NewProver()
	check(t, err)
	token, _ := w.issued("a token", w.do(call{form: credentials(), cert: w.svid(client)}))
	web := func(rest string) string { return `[{"type":"urn:mayfly:web"` + rest + `}]` }
	op := func(where string) string { return web(`,"operations":[{"name":"http.get","where":[` + where + `]}]`) }
	under := func(path string) string {
		return `{"attribute":"path","op":"under","values":[{"type":"path","value":"` + path + `"}]}`
	}
	details := func(text string) call {
		return call{form: credentials("authorization_details", text), cert: w.svid(client)}
	}
	for name, c := range map[string]struct {
		call   call
		status int
		code   oauth.Code
	}{
		"no grant type":             {call{form: url.Values{"resource": {shopAPI}}}, 400, oauth.InvalidRequest},
		"another grant type":        {call{form: with(credentials(), "grant_type", "password")}, 400, oauth.UnsupportedGrantType},
		"a scope":                   {call{form: credentials("scope", "openid")}, 400, oauth.InvalidScope},
		"a client secret":           {call{form: credentials("client_secret", "x")}, 401, oauth.InvalidClient},
		"another's client_id":       {call{form: credentials("client_id", "spiffe://acme.example/x"), cert: w.svid(client)}, 401, oauth.InvalidClient},
		"an unknown client":         {call{form: exchanged(secret, typeAccess, "client_id", "x")}, 401, oauth.InvalidClient},
		"Authorization":             {call{form: credentials(), header: http.Header{"Authorization": {"Basic eDp5"}}, cert: w.svid(client)}, 401, oauth.InvalidClient},
		"credentials of nobody":     {call{form: credentials()}, 401, oauth.InvalidClient},
		"a bad assertion":           {call{form: credentials("client_assertion", "a.b.c", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe")}, 401, oauth.InvalidClient},
		"an assertion of a kind":    {call{form: credentials("client_assertion", svidToken(client), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")}, 401, oauth.InvalidClient},
		"two proofs of a client":    {call{form: credentials("client_assertion", svidToken(client), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"), cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"no proof":                  {call{form: exchanged(secret, typeAccess), noProof: true}, 400, oauth.InvalidDPoPProof},
		"two proofs":                {call{form: exchanged(secret, typeAccess), noProof: true, header: http.Header{"Dpop": {"a", "b"}}}, 400, oauth.InvalidDPoPProof},
		"a proof that is none":      {call{form: exchanged(secret, typeAccess), noProof: true, header: http.Header{"Dpop": {"a.b.c"}}}, 400, oauth.InvalidDPoPProof},
		"a proof and a certificate": {call{form: credentials(), header: http.Header{"Dpop": {"a.b.c"}}, cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"a stolen session":          {call{form: exchanged(secret, typeAccess), key: other}, 400, oauth.InvalidRequest},
		"a session by certificate":  {call{form: exchanged(secret, typeAccess), cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"a session of nobody's":     {call{form: exchanged(strings.Repeat("A", 43), typeAccess)}, 400, oauth.InvalidRequest},
		"a session and an actor":    {call{form: exchanged(secret, typeAccess, "actor_token", svidToken("/a"), "actor_token_type", typeJWT)}, 400, oauth.InvalidRequest},
		"a session as a JWT":        {call{form: exchanged(secret, typeJWT)}, 400, oauth.InvalidRequest},
		"no subject token":          {call{form: url.Values{"grant_type": {exchange}, "resource": {shopAPI}, "subject_token_type": {typeJWT}}}, 400, oauth.InvalidRequest},
		"no subject type":           {call{form: url.Values{"grant_type": {exchange}, "resource": {shopAPI}, "subject_token": {secret}}}, 400, oauth.InvalidRequest},
		"a subject type of SAML":    {call{form: exchanged(secret, "urn:ietf:params:oauth:token-type:saml2")}, 400, oauth.InvalidRequest},
		"a requested type":          {call{form: exchanged(secret, typeAccess, "requested_token_type", typeID)}, 400, oauth.InvalidRequest},
		"an actor without a type":   {call{form: exchanged(svidToken(client), typeJWT, "actor_token", svidToken("/a"))}, 400, oauth.InvalidRequest},
		"a type without an actor":   {call{form: exchanged(svidToken(client), typeJWT, "actor_token_type", typeJWT)}, 400, oauth.InvalidRequest},
		"impersonation":             {call{form: exchanged(svidToken(client), typeJWT), cert: w.svid("/ns/a/sa/agent")}, 400, oauth.InvalidRequest},
		"an actor that is another":  {call{form: exchanged(svidToken(client), typeJWT, "actor_token", svidToken("/ns/b/sa/agent"), "actor_token_type", typeJWT), cert: w.svid("/ns/a/sa/agent")}, 400, oauth.InvalidRequest},
		"an actor that is itself":   {call{form: exchanged(svidToken(client), typeJWT, "actor_token", svidToken(client), "actor_token_type", typeJWT)}, 400, oauth.InvalidRequest},
		"a bad subject":             {call{form: exchanged("a.b.c", typeJWT)}, 400, oauth.InvalidRequest},
		"a bad ID token":            {call{form: exchanged("a.b.c", typeID)}, 400, oauth.InvalidRequest},
		"its own token by its key":  {call{form: exchanged(token.AccessToken, typeAccess)}, 400, oauth.InvalidRequest},
		"its own token again":       {call{form: exchanged(token.AccessToken, typeAccess, "resource", "https://stock.acme.example"), cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"no resource":               {call{form: url.Values{"grant_type": {"client_credentials"}}, cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"an audience":               {call{form: credentials("audience", "shop"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"a fragment":                {call{form: credentials("resource", shopAPI+"#x"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"a relative resource":       {call{form: credentials("resource", "shop.acme.example"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"plain http":                {call{form: credentials("resource", "http://shop.acme.example"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"the second host":           {call{form: credentials("resource", "https://shop-old.acme.example"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"nobody's resource":         {call{form: credentials("resource", "https://evil.example"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"two resources":             {call{body: credentials().Encode() + "&resource=https%3A%2F%2Fstock.acme.example", cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"nothing granted":           {call{form: credentials("resource", "https://wiki.acme.example"), cert: w.svid(client)}, 400, oauth.InvalidTarget},
		"a parameter twice":         {call{body: credentials().Encode() + "&client_id=x&client_id=x", cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"too much":                  {call{body: credentials().Encode() + "&x=" + strings.Repeat("a", 50<<10), cert: w.svid(client)}, 413, oauth.InvalidRequest},
		"too long a token":          {call{form: exchanged(strings.Repeat("a", 8<<10+1), typeJWT)}, 400, oauth.InvalidRequest},
		"too many parameters":       {call{body: credentials().Encode() + strings.Repeat("&a=", 40), cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"bad encoding":              {call{body: "grant_type=%zz", cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"bad UTF-8":                 {call{body: credentials().Encode() + "&x=%ff", cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"JSON":                      {call{body: `{}`, header: http.Header{"Content-Type": {"application/json"}}, cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"in the query":              {call{path: "/oauth/token?grant_type=client_credentials", form: credentials(), cert: w.svid(client)}, 400, oauth.InvalidRequest},
		"details that are no JSON":  {details(`[{`), 400, oauth.InvalidAuthorizationDetails},
		"details without a list":    {details(`{"type":"urn:mayfly:web"}`), 400, oauth.InvalidAuthorizationDetails},
		"no details":                {details(`[]`), 400, oauth.InvalidAuthorizationDetails},
		"two details":               {details(`[{"type":"urn:mayfly:web"},{"type":"urn:mayfly:web"}]`), 400, oauth.InvalidAuthorizationDetails},
		"a type twice":              {details(`[{"type":"urn:mayfly:web","type":"urn:mayfly:web"}]`), 400, oauth.InvalidAuthorizationDetails},
		"an unknown type":           {details(`[{"type":"urn:mayfly:ftp"}]`), 400, oauth.InvalidAuthorizationDetails},
		"another kind's type":       {details(`[{"type":"urn:mayfly:stripe"}]`), 400, oauth.InvalidAuthorizationDetails},
		"an unknown member":         {details(web(`,"actions":["read"]`)), 400, oauth.InvalidAuthorizationDetails},
		"a type in another case":    {details(`[{"Type":"urn:mayfly:web"}]`), 400, oauth.InvalidAuthorizationDetails},
		"a number as type":          {details(`[{"type":1}]`), 400, oauth.InvalidAuthorizationDetails},
		"an unknown operation":      {details(web(`,"operations":[{"name":"http.get2"}]`)), 400, oauth.InvalidAuthorizationDetails},
		"no operations":             {details(web(`,"operations":[]`)), 400, oauth.InvalidAuthorizationDetails},
		"an unknown attribute":      {details(op(`{"attribute":"host","op":"is","values":[{"type":"string","value":"x"}]}`)), 400, oauth.InvalidAuthorizationDetails},
		"another type of value":     {details(op(`{"attribute":"path","op":"is","values":[{"type":"string","value":"/pub"}]}`)), 400, oauth.InvalidAuthorizationDetails},
		"an unknown comparison":     {details(op(`{"attribute":"path","op":"like","values":[{"type":"path","value":"/pub"}]}`)), 400, oauth.InvalidAuthorizationDetails},
		"more than is granted":      {details(op(under("/"))), 400, oauth.InvalidAuthorizationDetails},
		"no bound where one is":     {details(web(`,"operations":[{"name":"http.get"}]`)), 400, oauth.InvalidAuthorizationDetails},
		"another operation":         {details(web(`,"operations":[{"name":"http.post"}]`)), 400, oauth.InvalidAuthorizationDetails},
		"another entitlement":       {details(web(`,"entitlement":"shop/write"`)), 400, oauth.InvalidAuthorizationDetails},
		"another location":          {details(web(`,"locations":["https://evil.example"]`)), 400, oauth.InvalidAuthorizationDetails},
		"another grant":             {details(web(`,"grant":"grt_01JZZZZZZZZZZZZZZZZZZZZZZZ"`)), 400, oauth.InvalidAuthorizationDetails},
		"no grant's id":             {details(web(`,"grant":"x"`)), 400, oauth.InvalidAuthorizationDetails},
		"nesting":                   {details(strings.Repeat("[", 100) + strings.Repeat("]", 100)), 400, oauth.InvalidAuthorizationDetails},
	} {
		w.pass(20 * time.Second) // for the limits
		if c.call.form.Get("subject_token") == secret || strings.HasPrefix(name, "no ") {
			w.pass(0)
		}
		want(t, name, w.do(c.call), c.status, c.code)
	}
	if got := len(w.leaves(audit.TypeTokenIssued)); got != 1 {
		t.Errorf("%d tokens were issued", got)
	}
	a, c := w.issued("a part of it", w.do(details(op(under("/pub/2026")))))
	if len(c.Details[0].Scope.Rules) != 1 || !strings.Contains(string(a.Details), "/pub/2026") {
		t.Errorf("%+v %s", c.Details, a.Details)
	}
}

// A bad certificate proves nobody, in each way in which one can be bad.
func TestTokenByBadCertificate(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", time.Hour, nil)
	bad, err := w.ca.Bad(devtest.ID(t, client))
	check(t, err)
	for _, b := range bad {
		if _, err := x509.ParseCertificate(b.Cert.Certificate[0]); err != nil {
			continue // no handshake gets that far
		}
		want(t, b.Name, w.do(call{form: credentials(), cert: &b.Cert}), 401, oauth.InvalidClient)
	}
	want(t, "none", w.do(call{form: credentials(), cert: noCert()}), 401, oauth.InvalidClient)
}

// A token ends with its grant, with what proved its subject, and after five minutes.
func TestTokenLife(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", 3*time.Minute, nil)
	_, c := w.issued("a short grant", w.do(call{form: credentials(), cert: w.svid(client)}))
	if life := c.Expires.Sub(c.IssuedAt); life > 3*time.Minute {
		t.Errorf("it lives %s", life)
	}
	w.pass(4 * time.Minute)
	want(t, "after the end", w.do(call{form: credentials(), cert: w.svid(client)}), 400, oauth.InvalidTarget)
	if _, err := w.verifier.VerifyUnbound("x", w.clock()); err == nil {
		t.Error("x is a token")
	}
	id := w.grantOf(me, "shop/read", time.Hour, nil)
	long := w.grantOf(me, "shop/read", 2*time.Hour, nil)
	if _, c := w.issued("two grants", w.do(call{form: credentials(), cert: w.svid(client)})); c.Grant != long {
		t.Errorf("it is for %s, want the one ending last", c.Grant)
	}
	form := credentials("authorization_details", `[{"type":"urn:mayfly:web","grant":"`+id.String()+`"}]`)
	if _, c := w.issued("one that is named", w.do(call{form: form, cert: w.svid(client)})); c.Grant != id {
		t.Errorf("it is for %s, want %s", c.Grant, id)
	}
}
