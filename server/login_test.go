package server_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/tokens"
)

func TestLoginForACode(t *testing.T) {
	w := newWorld(t)
	to := w.back(w.browse(w.begin(), "alice"))
	if to.Host != "127.0.0.1:40000" || to.Query().Get("kept") != kept || len(w.codes.made) != 1 {
		t.Fatalf("the browser is sent to %s", to)
	}
	l := w.codes.made[0]
	if l.Kind != access.SessionAPI || l.Principal.String() != "user:idp:alice" || l.Email != "alice@acme.example" || len(l.Groups) != 1 {
		t.Errorf("the login is %+v", l)
	}
	for _, secret := range []string{"code-of-", kept, "alice@acme.example", "user:idp:alice", "not-for-production"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

// What whoever copied a session has of it: nothing without the key.
func TestSessionIsBoundToItsKey(t *testing.T) {
	w := newWorld(t)
	secret := w.session("alice", "support")
	other, err := tokens.NewProver()
	check(t, err)
	prove := func(key tokens.Prover, method, address, token string, at time.Time) string {
		t.Helper()
		proof, err := key.Prove(method, address, token, "", at)
		check(t, err)
		return proof
	}
	const path = "/api/v1/whoami"
	now := w.clock()
	good := prove(w.key, "GET", public+path, secret, now)
	for name, h := range map[string]http.Header{
		"the secret alone":           {"Authorization": {"DPoP " + secret}},
		"the secret as bearer":       {"Authorization": {"Bearer " + secret}, "Dpop": {good}},
		"a proof alone":              {"Dpop": {good}},
		"another key's proof":        {"Authorization": {"DPoP " + secret}, "Dpop": {prove(other, "GET", public+path, secret, now)}},
		"a proof for another secret": {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "GET", public+path, secret+"x", now)}},
		"a proof for no secret":      {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "GET", public+path, "", now)}},
		"a proof for another method": {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "POST", public+path, secret, now)}},
		"a proof for another path":   {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "GET", public+"/api/v1/nodes", secret, now)}},
		"a proof for another server": {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "GET", "https://evil.example"+path, secret, now)}},
		"a proof of an hour ago":     {"Authorization": {"DPoP " + secret}, "Dpop": {prove(w.key, "GET", public+path, secret, now.Add(-time.Hour))}},
		"two proofs":                 {"Authorization": {"DPoP " + secret}, "Dpop": {good, good}},
		"a proof that is none":       {"Authorization": {"DPoP " + secret}, "Dpop": {"x.y.z"}},
	} {
		want(t, name, w.do(ask{method: "GET", path: path, header: h}), 401, "no_session")
	}
	h := http.Header{"Authorization": {"DPoP " + secret}, "Dpop": {good}}
	if res := w.do(ask{method: "GET", path: path, header: h}); res.Code != http.StatusOK {
		t.Fatalf("the session with its key: %d %s", res.Code, res.Body)
	}
	want(t, "the same proof again", w.do(ask{method: "GET", path: path, header: h}), 401, "no_session")
}

func TestCallbackRefuses(t *testing.T) {
	w := newWorld(t)
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
	good := w.browse(w.begin(), "alice")
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
		q, err := url.ParseQuery(w.browse(w.begin(), "alice"))
		check(t, err)
		bend(q)
		to := w.back(q.Encode())
		if to.Host != "127.0.0.1:40000" || to.Query().Get("code") != "" || to.Query().Get("error") != "bad_login" {
			t.Errorf("%s: sent to %s", name, to)
		}
	}
	if to := w.back(w.browse(w.begin(), "")); to.Query().Get("error") != "bad_login" || !strings.Contains(to.Query().Get("error_description"), "refused") {
		t.Errorf("cancelled: sent to %s", to)
	}
}

func TestProviderDown(t *testing.T) {
	w := newWorld(t)
	w.idp.SetDown(true)
	want(t, "down at the start", w.do(ask{method: "GET", path: "/login"}), 503, "provider_unavailable")
	w.idp.SetDown(false)
}

// Logins are slowed down for each address by itself.
func TestLoginRate(t *testing.T) {
	w := newWorld(t)
	try := func(remote string) int {
		return w.do(ask{method: "GET", path: "/oidc/idp/callback?code=x&state=" + strings.Repeat("A", 43), remote: remote}).Code
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
