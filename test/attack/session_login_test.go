package attack

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// with returns an address with other values in its query; "" takes one out.
func with(t testing.TB, address string, pairs ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func queryOf(t testing.TB, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// TestSessionCodeCountsOnce uses a hand-over code again: in the browser that had it,
// in another, and in one that has stolen even the cookie that belongs to it. Each is
// told to log in again, and gets no session.
func TestSessionCodeCountsOnce(t *testing.T) {
	w := theWorld(t)
	page := w.App(env.WikiHost, "/team")
	w.watch(t)
	v := w.visitor(t)
	to := handed(t, v, page, "alice")
	entry := v.Cookies(page)["__Host-mayfly-login"]
	if p := look(t, v, http.MethodGet, to); p.Status != http.StatusSeeOther || v.Cookies(page)["__Host-mayfly"] == "" {
		t.Fatalf("the owner's own use: %d %s", p.Status, p.Text)
	}
	mine := v.Cookies(page)["__Host-mayfly"]
	refused(t, "again in the same browser", look(t, v, http.MethodGet, to), http.StatusUnauthorized)
	refused(t, "in another browser", look(t, w.visitor(t), http.MethodGet, to), http.StatusUnauthorized)
	refused(t, "in a browser with the stolen cookie", look(t, w.visitor(t), http.MethodGet, to, "Cookie", "__Host-mayfly-login="+entry), http.StatusUnauthorized)
	if v.Cookies(page)["__Host-mayfly"] != mine {
		t.Error("the replay took the owner's session")
	}
}

// TestSessionCodeIsOfOneHostAndOneBrowser shows codes where they do not belong: at
// another app, under another state of the same browser, under no state. What was
// shown elsewhere is spent.
func TestSessionCodeIsOfOneHostAndOneBrowser(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	wiki, board := w.App(env.WikiHost, "/team"), w.App(env.BoardHost, "/")
	for _, c := range []struct {
		name string
		take func(v *env.Visitor, code, other string) string // where the code is taken
	}{
		{"to another app", func(v *env.Visitor, code, _ string) string {
			state := queryOf(t, look(t, v, http.MethodGet, board).Header.Get("Location"), "state")
			return w.App(env.BoardHost, "/.mayfly/callback?"+url.Values{"code": {code}, "state": {state}}.Encode())
		}},
		{"under another state of the same browser", func(_ *env.Visitor, code, other string) string {
			return w.App(env.WikiHost, "/.mayfly/callback?"+url.Values{"code": {code}, "state": {other}}.Encode())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := w.visitor(t)
			other := queryOf(t, look(t, v, http.MethodGet, w.App(env.WikiHost, "/elsewhere")).Header.Get("Location"), "state")
			to := handed(t, v, wiki, "alice")
			refused(t, c.name, look(t, v, http.MethodGet, c.take(v, queryOf(t, to, "code"), other)), http.StatusUnauthorized)
			refused(t, "afterwards where it belongs", look(t, v, http.MethodGet, to), http.StatusUnauthorized)
		})
	}
	v := w.visitor(t)
	to := handed(t, v, wiki, "alice")
	for name, address := range map[string]string{
		"without a state": with(t, to, "state", ""), "a state that nobody has": with(t, to, "state", strings.Repeat("A", 43)),
		"a code twice": to + "&code=x", "a state twice": to + "&state=" + queryOf(t, to, "state"), "without a code": with(t, to, "code", ""),
		"more than a code": to + "&return=https://evil.example",
	} {
		refused(t, name, look(t, v, http.MethodGet, address), http.StatusUnauthorized)
	}
	if p := look(t, v, http.MethodGet, to); p.Status != http.StatusSeeOther {
		t.Errorf("what never reached mayflyd spent the code: %d %s", p.Status, p.Text)
	}
}

// TestSessionOfTheAttackerIsNotForced has a victim open the address that ends the
// attacker's own login, so that the victim would work under the attacker's name: at
// the app's host and at mayflyd. And it has the attacker open the victim's.
func TestSessionOfTheAttackerIsNotForced(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	page := w.App(env.WikiHost, "/team")
	t.Run("at the host", func(t *testing.T) {
		attacker, victim := w.visitor(t), w.visitor(t)
		theirs := handed(t, attacker, page, "carol")
		mine := enter(t, victim, page, "alice")
		refused(t, "the victim opens it", look(t, victim, http.MethodGet, theirs), http.StatusUnauthorized)
		fresh := w.visitor(t)
		look(t, fresh, http.MethodGet, page) // a login of its own is under way
		refused(t, "somebody who is not logged in opens it", look(t, fresh, http.MethodGet, theirs), http.StatusUnauthorized)
		if victim.Cookies(page)["__Host-mayfly"] != mine {
			t.Error("the victim's session is another one now")
		}
		l.allow("wiki", "GET", "/team", alice)
		if p := look(t, victim, http.MethodGet, page); p.Status != http.StatusOK {
			t.Errorf("the victim works on: %d %s", p.Status, p.Text)
		}
		stolen := handed(t, w.visitor(t), page, "alice")
		refused(t, "the attacker opens the victim's", look(t, attacker, http.MethodGet, stolen), http.StatusUnauthorized)
	})
	t.Run("at the console", func(t *testing.T) {
		attacker, victim := w.visitor(t), w.visitor(t)
		theirs := proven(t, attacker, w.Public+"/login?idp=idp", "carol")
		mine := proven(t, victim, w.Public+"/login?idp=idp", "alice")
		refused(t, "the victim opens the attacker's", look(t, victim, http.MethodGet, theirs), http.StatusUnauthorized)
		refused(t, "a browser without a login opens it", look(t, w.visitor(t), http.MethodGet, theirs), http.StatusUnauthorized)
		refused(t, "the attacker opens the victim's", look(t, attacker, http.MethodGet, mine), http.StatusUnauthorized)
		if p := look(t, victim, http.MethodGet, mine); p.Status != http.StatusSeeOther || victim.Cookies(w.Public)[api.ConsoleCookie] == "" {
			t.Errorf("the attempt took the victim's login away: %d %s", p.Status, p.Text)
		}
		refused(t, "the victim's again", look(t, victim, http.MethodGet, mine), http.StatusUnauthorized)
	})
}

// TestSessionOfMixedUpIssuers brings the answer of one provider to the address of
// another, and says that it comes from another issuer (RFC 9207).
func TestSessionOfMixedUpIssuers(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	for name, change := range map[string]func(string) string{
		"at the other's address": func(a string) string { return strings.Replace(a, "/oidc/idp/", "/oidc/other/", 1) },
		"at nobody's address":    func(a string) string { return strings.Replace(a, "/oidc/idp/", "/oidc/nobody/", 1) },
		"from the other issuer":  func(a string) string { return with(t, a, "iss", w.other.Issuer()) },
		"from two issuers":       func(a string) string { return a + "&iss=" + url.QueryEscape(w.other.Issuer()) },
		"from no issuer":         func(a string) string { return with(t, a, "iss", "") },
	} {
		v := w.visitor(t)
		answer := proven(t, v, w.Public+"/login?idp=idp", "alice")
		if queryOf(t, answer, "iss") != w.IdP.Issuer() {
			t.Fatalf("the provider does not say who it is: %s", answer)
		}
		refused(t, name, look(t, v, http.MethodGet, change(answer)), http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
		if v.Cookies(w.Public)[api.ConsoleCookie] != "" {
			t.Errorf("%s: it opens the console", name)
		}
	}
	// The other provider's alice has the same subject and groups, and is another account.
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/team")
	to := strings.TrimSuffix(choosing(t, v, page), "&idp=idp") + "&idp=other"
	p, err := v.Login(t.Context(), to, "alice")
	if err != nil || p.Status != http.StatusForbidden || !strings.Contains(p.Text, "user:other:") {
		t.Errorf("the other provider's alice has alice's access: %d %.300s %v", p.Status, p.Text, err)
	}
}

// TestSessionIsNewAfterALogin logs in with a console session that somebody else put
// there or has seen: after the login it opens nothing.
func TestSessionIsNewAfterALogin(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	v := w.visitor(t)
	old := w.atConsole(t, v, "carol")
	fresh := w.atConsole(t, v, "alice")
	if old == fresh {
		t.Fatal("the session is the one from before")
	}
	if p := look(t, w.visitor(t), http.MethodGet, w.Public+"/", "Cookie", api.ConsoleCookie+"="+old); p.Status != http.StatusSeeOther {
		t.Errorf("the session from before still opens the console: %d", p.Status)
	}
}
