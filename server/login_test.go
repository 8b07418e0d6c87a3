package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
)

func exchange(code, verifier string) string {
	b, err := json.Marshal(api.CodeExchange{Code: code, Verifier: verifier})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	verifier, challenge := pkce("one")
	to := w.back(w.browse(w.begin(challenge), "alice"))
	if to.Scheme != "http" || to.Host != "127.0.0.1:40000" || to.Path != "/callback" || to.Query().Get("state") != cliState {
		t.Fatalf("the browser is sent to %s", to)
	}
	code := to.Query().Get("code")
	made := read[api.NewSession](t, w.do(ask{method: "POST", path: "/cli/token", body: exchange(code, verifier)}), http.StatusOK)
	if made.Whoami.Principal != "user:idp:alice" || made.Whoami.Person != "alice" || made.Whoami.RecordKey != w.verifier.Key() || len(made.Whoami.Groups) != 1 {
		t.Errorf("whoami is %+v", made.Whoami)
	}
	who := read[api.Whoami](t, w.do(ask{method: "GET", path: "/api/v1/whoami", session: made.Secret}), http.StatusOK)
	if who.Principal != made.Whoami.Principal || who.Ends != made.Ends {
		t.Errorf("whoami is %+v", who)
	}
	want(t, "the code again", w.do(ask{method: "POST", path: "/cli/token", body: exchange(code, verifier)}), 401, "no_session")
	if res := w.do(ask{method: "POST", path: "/api/v1/logout", session: made.Secret}); res.Code != http.StatusNoContent {
		t.Errorf("logout: %d", res.Code)
	}
	want(t, "after logout", w.do(ask{method: "GET", path: "/api/v1/whoami", session: made.Secret}), 401, "no_session")
	for _, secret := range []string{made.Secret, code, verifier, "alice@acme.example", "user:idp:alice", "not-for-production"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

// A code is for the command that began the login, once, for a minute.
func TestLoginCodeIsBound(t *testing.T) {
	w := newWorld(t)
	verifier, challenge := pkce("one")
	other, _ := pkce("two")
	code := w.back(w.browse(w.begin(challenge), "alice")).Query().Get("code")
	want(t, "another's verifier", w.do(ask{method: "POST", path: "/cli/token", body: exchange(code, other)}), 400, "bad_login")
	want(t, "the right verifier after a wrong one", w.do(ask{method: "POST", path: "/cli/token", body: exchange(code, verifier)}), 401, "no_session")
	want(t, "the challenge as verifier", w.do(ask{method: "POST", path: "/cli/token", body: exchange(w.back(w.browse(w.begin(challenge), "alice")).Query().Get("code"), challenge)}), 400, "bad_login")

	code = w.back(w.browse(w.begin(challenge), "alice")).Query().Get("code")
	w.pass(61 * time.Second)
	want(t, "after a minute", w.do(ask{method: "POST", path: "/cli/token", body: exchange(code, verifier)}), 401, "no_session")

	// The state of a login is no code, nor the other way round.
	auth, err := url.Parse(w.begin(challenge))
	check(t, err)
	want(t, "the state as code", w.do(ask{method: "POST", path: "/cli/token", body: exchange(auth.Query().Get("state"), verifier)}), 401, "no_session")
}

func TestLoginRefusesBadStarts(t *testing.T) {
	w := newWorld(t)
	_, challenge := pkce("one")
	for name, q := range map[string]string{
		"no port":            "state=" + cliState + "&challenge=" + challenge,
		"a low port":         "port=80&state=" + cliState + "&challenge=" + challenge,
		"no number":          "port=40000@evil.example&state=" + cliState + "&challenge=" + challenge,
		"too high a port":    "port=65536&state=" + cliState + "&challenge=" + challenge,
		"no state":           "port=40000&challenge=" + challenge,
		"a short state":      "port=40000&state=abc&challenge=" + challenge,
		"a state with marks": "port=40000&state=" + cliState + "%0d%0a&challenge=" + challenge,
		"a short challenge":  "port=40000&state=" + cliState + "&challenge=abc",
		"port twice":         "port=40000&port=40001&state=" + cliState + "&challenge=" + challenge,
		"more":               "port=40000&state=" + cliState + "&challenge=" + challenge + "&host=evil.example",
	} {
		if p := problem(t, w.do(ask{method: "GET", path: "/cli/login?" + q})); p.Status != 400 {
			t.Errorf("%s: %d %s", name, p.Status, p.Detail)
		}
	}
}

func TestCallbackRefuses(t *testing.T) {
	w := newWorld(t)
	_, challenge := pkce("one")
	for name, c := range map[string]struct {
		query  string
		status int
	}{
		"nothing":              {"", 400},
		"a state of nobody's":  {"state=" + strings.Repeat("A", 43) + "&code=x", 401},
		"a state that is text": {"state=../../x&code=x", 400},
	} {
		if p := problem(t, w.me.get("/oidc/idp/callback?"+c.query)); p.Status != c.status {
			t.Errorf("%s: %d %s", name, p.Status, p.Detail)
		}
	}
	good := w.browse(w.begin(challenge), "alice")
	if to := w.back(good); to.Query().Get("code") == "" {
		t.Fatalf("sent to %s", to)
	}
	want(t, "the answer again", w.me.get("/oidc/idp/callback?"+good), 401, "no_session")

	// What goes wrong at the provider reaches the command that waits, and nobody else.
	for name, bend := range map[string]func(url.Values){
		"another issuer": func(q url.Values) { q.Set("iss", "https://evil.example") },
		"no issuer":      func(q url.Values) { q.Del("iss") },
		"another code":   func(q url.Values) { q.Set("code", "x") },
		"two codes":      func(q url.Values) { q.Add("code", "x") },
	} {
		q, err := url.ParseQuery(w.browse(w.begin(challenge), "alice"))
		check(t, err)
		bend(q)
		to := w.back(q.Encode())
		if to.Host != "127.0.0.1:40000" || to.Query().Get("code") != "" || to.Query().Get("error") != "bad_login" || to.Query().Get("state") != cliState {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	if to := w.back(w.browse(w.begin(challenge), "")); to.Query().Get("error") != "bad_login" || !strings.Contains(to.Query().Get("error_description"), "refused") {
		t.Errorf("cancelled: sent to %s", to)
	}
}

func TestProviderDown(t *testing.T) {
	w := newWorld(t)
	_, challenge := pkce("one")
	w.idp.SetDown(true)
	want(t, "down at the start", w.do(ask{method: "GET", path: cliLogin(challenge)}), 503, "provider_unavailable")
	w.idp.SetDown(false)
}

// Guessing is slowed down for each address by itself.
func TestLoginRate(t *testing.T) {
	w := newWorld(t)
	verifier, _ := pkce("one")
	try := func(remote string) int {
		return w.do(ask{method: "POST", path: "/cli/token", body: exchange(strings.Repeat("A", 43), verifier), remote: remote}).Code
	}
	refused := 0
	for range 100 {
		if try("203.0.113.5:1") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 60 {
		t.Errorf("%d of 100 tries were refused", refused)
	}
	if got := try("203.0.113.6:1"); got != http.StatusUnauthorized {
		t.Errorf("another address: %d", got)
	}
	for i := range 100 { // one network has as many addresses as it likes
		try("[2001:db8::" + strconv.Itoa(i+1) + "]:1")
	}
	if got := try("[2001:db8::ffff]:1"); got != http.StatusTooManyRequests {
		t.Errorf("another address of the same network: %d", got)
	}
	w.pass(10 * time.Second)
	if got := try("203.0.113.5:1"); got != http.StatusUnauthorized {
		t.Errorf("later: %d", got)
	}
}
