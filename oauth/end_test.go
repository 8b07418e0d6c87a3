package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/tokens"
)

func thumb(t testing.TB, key tokens.Prover) string {
	t.Helper()
	print, err := key.Thumbprint()
	check(t, err)
	return base64.RawURLEncoding.EncodeToString(print[:])
}

func revoke(token string) url.Values { return url.Values{"token": {token}} }

func wantOK(t testing.TB, name string, res *httptest.ResponseRecorder) {
	t.Helper()
	if res.Code != http.StatusOK || res.Body.Len() != 0 {
		t.Errorf("%s: %d %s", name, res.Code, res.Body)
	}
}

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	id := w.grantOf(me, "shop/read", time.Hour, nil)
	own := w.svid(client)
	a, _ := w.issued("a token", w.do(call{form: credentials(), cert: own}))
	const path = "/oauth/revoke"
	want(t, "by another workload", w.do(call{path: path, form: revoke(a.AccessToken), cert: w.svid("/ns/a/sa/agent")}), 400, oauth.UnauthorizedClient)
	want(t, "by the app that it names", w.do(call{path: path, form: revoke(a.AccessToken), cert: w.svid(appOf("shop"))}), 400, oauth.UnauthorizedClient)
	want(t, "by a key", w.do(call{path: path, form: revoke(a.AccessToken)}), 400, oauth.UnauthorizedClient)
	want(t, "no token", w.do(call{path: path, form: url.Values{"token_type_hint": {"access_token"}}, cert: own}), 400, oauth.InvalidRequest)
	wantOK(t, "a token of nobody's", w.do(call{path: path, form: revoke("x"), cert: own}))
	wantOK(t, "a token that was changed", w.do(call{path: path, form: revoke(a.AccessToken + "A"), cert: own}))
	if g := w.stored(id); g.StateAt(w.clock()) != grant.Active {
		t.Fatalf("the grant is %s", g.StateAt(w.clock()))
	}
	wantOK(t, "by its holder", w.do(call{path: path, form: revoke(a.AccessToken), cert: own}))
	if g := w.stored(id); g.Finished.IsZero() {
		t.Errorf("the grant is %+v", g)
	}
	wantOK(t, "again", w.do(call{path: path, form: revoke(a.AccessToken), cert: own}))
	if got := len(w.leaves(audit.TypeTokenRevoked)); got != 1 {
		t.Errorf("%d leaves", got)
	}

	w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	secret := w.login(w.key)
	b, _ := w.issued("a person's", w.do(call{form: exchanged(secret, typeAccess)}))
	other, err := tokens.NewProver()
	check(t, err)
	want(t, "a person's by another key", w.do(call{path: path, form: revoke(b.AccessToken), key: other}), 400, oauth.UnauthorizedClient)
	wantOK(t, "a session by another key", w.do(call{path: path, form: revoke(secret), key: other}))
	if _, err := w.Session(t.Context(), access.SessionAPI, access.ParseSessionSecret(secret)); err != nil {
		t.Errorf("another key ended the session: %v", err)
	}
	wantOK(t, "a person's by its key", w.do(call{path: path, form: revoke(b.AccessToken)}))
	wantOK(t, "the session by its key", w.do(call{path: path, form: revoke(secret)}))
	if _, err := w.Session(t.Context(), access.SessionAPI, access.ParseSessionSecret(secret)); access.CodeOf(err) != access.CodeNoSession {
		t.Errorf("the session lives on: %v", err)
	}
	want(t, "the session after that", w.do(call{form: exchanged(secret, typeAccess)}), 400, oauth.InvalidRequest)
}

func TestIntrospect(t *testing.T) {
	w := newWorld(t)
	w.grantOf(me, "shop/read", time.Hour, nil)
	w.grantOf("user:idp:alice", "shop/read", time.Hour, nil)
	own := w.svid(client)
	a, c := w.issued("a token", w.do(call{form: credentials(), cert: own}))
	secret := w.login(w.key)
	b, _ := w.issued("a person's", w.do(call{form: exchanged(secret, typeAccess)}))
	const path = "/oauth/introspect"
	session := func(secret string) http.Header { return http.Header{"Authorization": {"DPoP " + secret}} }
	see := func(name string, cl call) map[string]any {
		t.Helper()
		cl.path = path
		res := w.do(cl)
		var out map[string]any
		if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil || res.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, res.Code, res.Body)
		}
		return out
	}
	for name, cl := range map[string]call{
		"its subject":          {form: revoke(a.AccessToken), cert: own},
		"the app":              {form: revoke(a.AccessToken), cert: w.svid(appOf("shop"))},
		"a person, of its own": {form: revoke(b.AccessToken), bound: secret, header: session(secret)},
	} {
		if got := see(name, cl); got["active"] != true || got["iss"] != issuer || got["aud"] != shopAPI || got["jti"] == "" || got["cnf"] == nil || got["authorization_details"] == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := see("its subject", call{form: revoke(a.AccessToken), cert: own}); got["exp"] != float64(c.Expires.Unix()) || got["sub"] != me || got["token_type"] != "Bearer" {
		t.Errorf("%v", got)
	}
	for name, cl := range map[string]call{
		"another app":              {form: revoke(a.AccessToken), cert: w.svid(appOf("stock"))},
		"a person, of another's":   {form: revoke(a.AccessToken), bound: secret, header: session(secret)},
		"no token of ours":         {form: revoke("a.b.c"), cert: own},
		"a session":                {form: revoke(secret), cert: own},
		"a token that was changed": {form: revoke(a.AccessToken + "A"), cert: own},
	} {
		cl.path = path
		if res := w.do(cl); res.Code != http.StatusOK || strings.TrimSpace(res.Body.String()) != `{"active":false}` {
			t.Errorf("%s: %d %s", name, res.Code, res.Body)
		}
	}
	other, err := tokens.NewProver()
	check(t, err)
	for name, cl := range map[string]call{
		"nobody":                     {form: revoke(a.AccessToken)},
		"a session with another key": {form: revoke(b.AccessToken), bound: secret, header: session(secret), key: other},
		"a session as bearer":        {form: revoke(b.AccessToken), bound: secret, header: http.Header{"Authorization": {"Bearer " + secret}}},
		"a guess":                    {form: revoke(b.AccessToken), bound: "x", header: session("x")},
	} {
		cl.path = path
		want(t, name, w.do(cl), 401, oauth.InvalidClient)
	}
	check(t, w.RevokeToken(t.Context(), c.Subject, *c))
	if got := see("after its end", call{form: revoke(a.AccessToken), cert: own}); len(got) != 1 || got["active"] != false {
		t.Errorf("%v", got)
	}
	w.pass(6 * time.Minute)
	if got := see("after its time", call{form: revoke(b.AccessToken), cert: w.svid(appOf("shop"))}); got["active"] != false {
		t.Errorf("%v", got)
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	for path, age := range map[string]string{
		"/.well-known/oauth-authorization-server": "public, max-age=300", "/.well-known/openid-configuration": "public, max-age=300",
		"/oauth/jwks": "public, max-age=60", "/oauth/schemas/web.json": "public, max-age=300",
	} {
		res := w.get(path)
		var out map[string]any
		if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil || res.Code != 200 || res.Header().Get("Cache-Control") != age {
			t.Fatalf("%s: %d %v %s", path, res.Code, res.Header(), res.Body)
		}
		for name, v := range out {
			if text, ok := v.(string); ok && strings.HasSuffix(name, "_endpoint") && !strings.HasPrefix(text, issuer+"/oauth/") {
				t.Errorf("%s: %s is %s", path, name, text)
			}
		}
		if iss, ok := out["issuer"]; ok && iss != issuer {
			t.Errorf("%s: issuer %v", path, iss)
		}
	}
	body := w.get("/.well-known/oauth-authorization-server").Body.String()
	for _, text := range []string{
		`"code_challenge_methods_supported":["S256"]`, `"tls_client_certificate_bound_access_tokens":true`, `"authorization_response_iss_parameter_supported":true`,
		`"authorization_details_types_supported":["urn:mayfly:stripe","urn:mayfly:web"]`, `"mtls_endpoint_aliases":{"token_endpoint":"` + mutual + `/oauth/token"`,
	} {
		if !strings.Contains(body, text) {
			t.Errorf("the metadata lacks %s: %s", text, body)
		}
	}
	for _, path := range []string{"/oauth/schemas/ftp.json", "/oauth/schemas/web", "/oauth/nothing", "/oauth/"} {
		if res := w.get(path); res.Code != 404 {
			t.Errorf("%s: %d", path, res.Code)
		}
	}
	if res := w.get("/oauth/token"); res.Code != 405 {
		t.Errorf("GET of the token endpoint: %d", res.Code)
	}
}

// Clients are slowed down by address, and workloads by name from wherever they are.
func TestRateLimits(t *testing.T) {
	w := newWorld(t)
	flood := func(each func(n int) call) (refused int) {
		for n := range 400 {
			res := w.once(each(n), "")
			if res.Code == http.StatusTooManyRequests {
				refused++
				if s, err := strconv.Atoi(res.Header().Get("Retry-After")); err != nil || s < 1 {
					t.Fatalf("Retry-After is %q", res.Header().Get("Retry-After"))
				}
			}
		}
		return refused
	}
	if n := flood(func(int) call { return call{body: "grant_type=x", noProof: true, remote: "203.0.113.5:1"} }); n < 200 {
		t.Errorf("%d of 400 from one address were refused", n)
	}
	if res := w.once(call{body: "grant_type=x", noProof: true, remote: "203.0.113.6:1"}, ""); res.Code != 400 {
		t.Errorf("another address: %d", res.Code)
	}
	cert := w.svid(client)
	if n := flood(func(n int) call {
		return call{form: credentials(), cert: cert, remote: "198.51.100." + strconv.Itoa(n%250) + ":1"}
	}); n < 200 {
		t.Errorf("%d of 400 of one workload were refused", n)
	}
	w.pass(time.Minute)
	if res := w.once(call{form: credentials(), cert: cert}, ""); res.Code != 400 {
		t.Errorf("later: %d", res.Code)
	}
}

// Each refusal is on record, in bounds, and none tells what was presented.
func TestRefusalsAreOnRecord(t *testing.T) {
	w := newWorld(t)
	cert := w.svid(client)
	for range 30 {
		w.do(call{form: credentials("authorization_details", "SECRET-OF-NOBODY"), cert: cert}) // refused before anybody is known
		w.do(call{form: credentials(), cert: cert})
		w.do(call{form: exchanged("SECRET-TOKEN-TEXT", typeAccess)})
	}
	check(t, w.flush())
	told, counted, sum := 0, 0, 0
	for _, r := range w.leaves(audit.TypeTokenRefused) {
		body, err := r.Texts()
		check(t, err)
		n, err := strconv.Atoi(body["count"])
		check(t, err)
		sum += n
		if body["principal"] != "" {
			told++
		} else {
			counted++
		}
		raw, err := json.Marshal(body)
		check(t, err)
		if strings.Contains(string(raw), "SECRET") || strings.Contains(string(raw), "spiffe") {
			t.Errorf("leaf %s", raw)
		}
	}
	if told != 10 || counted > 3 || sum != 90 {
		t.Errorf("%d one by one, %d counted, %d in all", told, counted, sum)
	}
}
