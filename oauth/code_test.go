package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/oauth"
	"github.com/mayflyproxy/mayfly/tokens"
)

func TestCodeForTheCommand(t *testing.T) {
	w := newWorld(t)
	res := w.get(authorization(nil))
	to, err := res.Result().Location()
	check(t, err)
	q := to.Query()
	if res.Code != http.StatusSeeOther || !strings.HasPrefix(to.String(), redir+"?") || q.Get("state") != "of-the-command" || q.Get("iss") != issuer || len(q.Get("code")) != 43 {
		t.Fatalf("sent to %s", to)
	}
	a := read(t, w.do(call{form: w.codeForm(q.Get("code"))}))
	if a.TokenType != "DPoP" || a.ExpiresIn != int64(access.MaxSession/time.Second) || len(a.AccessToken) != 43 {
		t.Fatalf("%+v", a)
	}
	s, err := w.Session(t.Context(), access.SessionAPI, access.ParseSessionSecret(a.AccessToken))
	check(t, err)
	if s.Principal.String() != "user:idp:alice" || s.ProofKey != w.byKey().JKT || s.ACR != "urn:mfa" {
		t.Errorf("%+v", s)
	}
	// A second time it has been seen by somebody else.
	want(t, "the code again", w.do(call{form: w.codeForm(q.Get("code"))}), 400, oauth.InvalidGrant)
	if _, err := w.Session(t.Context(), access.SessionAPI, access.ParseSessionSecret(a.AccessToken)); access.CodeOf(err) != access.CodeNoSession {
		t.Errorf("the session lives on: %v", err)
	}
	ended := w.leaves(audit.TypeSessionEnded)
	if len(ended) != 1 {
		t.Fatalf("%d ends on record", len(ended))
	}
	body, err := ended[0].Texts()
	check(t, err)
	if body["by"] != "reuse" {
		t.Errorf("leaf %v", body)
	}
	for _, secret := range []string{a.AccessToken, q.Get("code"), "refresh-token", verifierText} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

// A code whose session the database has forgotten is refused like any used one.
func TestCodeOfAForgottenSession(t *testing.T) {
	w := newWorld(t)
	code := strings.Repeat("A", 43)
	check(t, w.PutLogin(t.Context(), "spent:"+code, []byte("ses_01JZZZZZZZZZZZZZZZZZZZZZZZ"), time.Minute))
	want(t, "a used code without a session", w.do(call{form: w.codeForm(code)}), 400, oauth.InvalidGrant)
}

func TestCodeIsBound(t *testing.T) {
	w := newWorld(t)
	other, err := tokens.NewProver()
	check(t, err)
	for name, c := range map[string]struct {
		change url.Values
		edit   func(url.Values)
		key    tokens.Prover
		wait   time.Duration
		code   oauth.Code
	}{
		"another verifier":          {edit: func(q url.Values) { q.Set("code_verifier", strings.Repeat("a", 43)) }, code: oauth.InvalidGrant},
		"the challenge as verifier": {edit: func(q url.Values) { q.Set("code_verifier", challenge()) }, code: oauth.InvalidGrant},
		"no verifier":               {edit: func(q url.Values) { q.Del("code_verifier") }, code: oauth.InvalidRequest},
		"another address":           {edit: func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:40001/callback") }, code: oauth.InvalidGrant},
		"no address":                {edit: func(q url.Values) { q.Del("redirect_uri") }, code: oauth.InvalidRequest},
		"another code":              {edit: func(q url.Values) { q.Set("code", strings.Repeat("A", 43)) }, code: oauth.InvalidGrant},
		"no code":                   {edit: func(q url.Values) { q.Del("code") }, code: oauth.InvalidRequest},
		"no client":                 {edit: func(q url.Values) { q.Del("client_id") }, code: oauth.InvalidRequest},
		"another resource":          {edit: func(q url.Values) { q.Set("resource", shopAPI) }, code: oauth.InvalidTarget},
		"another key than was said": {change: url.Values{"dpop_jkt": {thumb(t, w.key)}}, key: other, code: oauth.InvalidGrant},
		"after a minute":            {wait: 61 * time.Second, code: oauth.InvalidGrant},
		"details of a login":        {edit: func(q url.Values) { q.Set("authorization_details", `[{"type":"urn:mayfly:web"}]`) }, code: oauth.InvalidAuthorizationDetails},
	} {
		form := w.codeForm(w.code(c.change))
		if c.edit != nil {
			c.edit(form)
		}
		w.pass(c.wait)
		want(t, name, w.do(call{form: form, key: c.key}), 400, c.code)
	}
	form := w.codeForm(w.code(nil))
	form.Set("client_id", "other")
	want(t, "another client", w.do(call{form: form}), 401, oauth.InvalidClient)
	form.Set("client_id", "mayfly-cli")
	want(t, "at the door for workloads", w.do(call{form: form, cert: w.svid(client)}), 401, oauth.InvalidClient)
	if a := read(t, w.do(call{form: form})); a.AccessToken == "" {
		t.Errorf("refusals before the code was looked at have spent it: %+v", a)
	}
	if got := len(w.leaves(audit.TypeLogin)); got != 1 {
		t.Errorf("%d logins", got)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	w := newWorld(t)
	// What may not be the command's own address is sent nowhere.
	for name, change := range map[string]url.Values{
		"no client":          {"client_id": nil},
		"another client":     {"client_id": {"evil"}},
		"no address":         {"redirect_uri": nil},
		"another host":       {"redirect_uri": {"http://evil.example:40000/callback"}},
		"a name":             {"redirect_uri": {"http://localhost:40000/callback"}},
		"https":              {"redirect_uri": {"https://127.0.0.1:40000/callback"}},
		"another path":       {"redirect_uri": {"http://127.0.0.1:40000/other"}},
		"a longer path":      {"redirect_uri": {"http://127.0.0.1:40000/callback/x"}},
		"a query":            {"redirect_uri": {"http://127.0.0.1:40000/callback?x=1"}},
		"an empty query":     {"redirect_uri": {"http://127.0.0.1:40000/callback?"}},
		"a fragment":         {"redirect_uri": {"http://127.0.0.1:40000/callback#x"}},
		"a user":             {"redirect_uri": {"http://evil.example@127.0.0.1:40000/callback"}},
		"no port":            {"redirect_uri": {"http://127.0.0.1/callback"}},
		"a low port":         {"redirect_uri": {"http://127.0.0.1:80/callback"}},
		"a port with zeroes": {"redirect_uri": {"http://127.0.0.1:040000/callback"}},
		"another loopback":   {"redirect_uri": {"http://127.0.0.2:40000/callback"}},
		"in hexadecimal":     {"redirect_uri": {"http://0x7f.0.0.1:40000/callback"}},
		"IPv6, mapped":       {"redirect_uri": {"http://[::ffff:127.0.0.1]:40000/callback"}},
		"twice":              {"redirect_uri": {redir, redir}},
		"a state twice":      {"state": {"a", "b"}},
	} {
		res := w.get(authorization(change))
		if res.Code < 400 || res.Header().Get("Location") != "" {
			t.Errorf("%s: %d, sent to %q", name, res.Code, res.Header().Get("Location"))
		}
	}
	w.pass(time.Minute)
	for name, c := range map[string]struct {
		change url.Values
		code   oauth.Code
	}{
		"no response type":      {url.Values{"response_type": nil}, oauth.UnsupportedResponseType},
		"implicit":              {url.Values{"response_type": {"token"}}, oauth.UnsupportedResponseType},
		"no challenge":          {url.Values{"code_challenge": nil}, oauth.InvalidRequest},
		"plain":                 {url.Values{"code_challenge_method": {"plain"}}, oauth.InvalidRequest},
		"no method":             {url.Values{"code_challenge_method": nil}, oauth.InvalidRequest},
		"a short challenge":     {url.Values{"code_challenge": {"abc"}}, oauth.InvalidRequest},
		"a form as answer":      {url.Values{"response_mode": {"form_post"}}, oauth.InvalidRequest},
		"a request object":      {url.Values{"request": {"a.b.c"}}, oauth.InvalidRequest},
		"a scope":               {url.Values{"scope": {"openid"}}, oauth.InvalidScope},
		"another resource":      {url.Values{"resource": {shopAPI}}, oauth.InvalidTarget},
		"an unknown detail":     {url.Values{"authorization_details": {`[{"type":"x"}]`}}, oauth.InvalidAuthorizationDetails},
		"details":               {url.Values{"authorization_details": {`[{"type":"urn:mayfly:web"}]`}}, oauth.InvalidAuthorizationDetails},
		"a thumbprint of a key": {url.Values{"dpop_jkt": {"x"}}, oauth.InvalidRequest},
	} {
		res := w.get(authorization(c.change))
		to, err := res.Result().Location()
		if err != nil || !strings.HasPrefix(to.String(), redir+"?") || to.Query().Get("error") != string(c.code) || to.Query().Get("iss") != issuer || to.Query().Get("state") != "of-the-command" || to.Query().Get("code") != "" {
			t.Errorf("%s: %d, sent to %v", name, res.Code, to)
		}
	}
	for _, good := range []url.Values{
		{"redirect_uri": {"http://[::1]:40000/callback"}}, {"state": nil}, {"nobody_knows": {"this"}}, {"resource": {issuer}}, {"response_mode": {"query"}}, {"dpop_jkt": {thumb(t, w.key)}},
	} {
		if code := w.code(good); len(code) != 43 {
			t.Errorf("%v: no code", good)
		}
	}
}

// The person is asked with what their own command printed, and with the port that the
// code would go to.
func TestAsks(t *testing.T) {
	w := newWorld(t)
	w.code(url.Values{"dpop_jkt": {thumb(t, w.key)}, "redirect_uri": {"http://[::1]:40001/callback"}})
	ask, err := w.server.Asks(w.kept)
	if want := (api.CommandLogin{Address: "[::1]:40001", Code: api.LoginCode("of-the-command", challenge(), thumb(t, w.key))}); err != nil || ask != want {
		t.Errorf("asks %+v, want %+v: %v", ask, want, err)
	}
	if _, err := w.server.Asks([]byte(`{"redirect":"https://evil.example/","challenge":"` + challenge() + `"}`)); err == nil {
		t.Error("asks about what is no request")
	}
}

// A login that fails sends the command an error that it can read.
func TestLoginFailed(t *testing.T) {
	w := newWorld(t)
	w.code(nil)
	for status, code := range map[int]oauth.Code{400: oauth.InvalidRequest, 403: oauth.AccessDenied, 429: oauth.TemporarilyUnavailable, 503: oauth.TemporarilyUnavailable} {
		out := httptest.NewRecorder()
		w.server.LoginFailed(out, httptest.NewRequest("GET", "/oidc/idp/callback", nil), w.kept, &api.Problem{Status: status, Detail: "nobody has \"ü\\\" here", Allowed: []string{"idp", "partner"}})
		to, err := out.Result().Location()
		check(t, err)
		q := to.Query()
		if !strings.HasPrefix(to.String(), redir+"?") || q.Get("error") != string(code) || q.Get("error_description") != "nobody has '?'' here: choose one of idp, partner" || q.Get("state") != "of-the-command" || q.Get("iss") != issuer || q.Has("code") {
			t.Errorf("%d: sent to %s", status, to)
		}
	}
}
