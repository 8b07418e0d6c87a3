package proxy_test

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// TestALoginEndsWhereItBegan goes to a page, to the console and back.
func TestALoginEndsWhereItBegan(t *testing.T) {
	d, _, _ := newFront(t)
	b := d.browser()
	state := b.begin("/tickets/7?tab=a&x=%2F")
	v := b.get(callback(d.console(state), state))
	if v.status != 303 || v.header["location"] != "/tickets/7?tab=a&x=%2F" || v.header["cache-control"] != "no-store" || v.header["referrer-policy"] != "no-referrer" ||
		v.body != "" || v.reason != "" || v.allowed {
		t.Fatalf("%+v", v)
	}
	if len(v.cookies) != 2 || len(b.jar) != 1 || len(b.jar["__Host-mayfly"]) != 43 {
		t.Fatalf("cookies %q, kept %v", v.cookies, b.jar)
	}
	if _, known := d.sessions.live[hashOf(b.jar["__Host-mayfly"])]; !known || strings.Contains(d.logs.String(), b.jar["__Host-mayfly"]) {
		t.Error("the control plane was not told the hash, or the log was told the secret")
	}
	if v := b.get("/tickets/7"); !v.allowed {
		t.Errorf("%+v", v)
	}
}

func TestEachLoginHasAnotherSecret(t *testing.T) {
	d, _, _ := newFront(t)
	seen := map[string]bool{}
	for range 8 {
		b := d.browser()
		state := b.begin("/")
		b.get(callback(d.console(state), state))
		seen[b.jar["__Host-mayfly"]], seen[state] = true, true
	}
	if len(seen) != 16 || seen[""] {
		t.Errorf("%v", seen)
	}
}

// TestTwoTabsLogInEach keeps at most four logins under way, the newest.
func TestTwoTabsLogInEach(t *testing.T) {
	d, _, _ := newFront(t)
	b := d.browser()
	var states []string
	for _, path := range []string{"/1", "/2", "/3", "/4", "/5"} {
		states = append(states, b.begin(path))
	}
	for n, path := range map[int]string{3: "/4", 1: "/2", 4: "/5", 2: "/3"} {
		if v := b.get(callback(d.console(states[n]), states[n])); v.status != 303 || v.header["location"] != path {
			t.Errorf("%s: %+v", path, v)
		}
	}
	if v := b.get(callback(d.console(states[0]), states[0])); v.status != 401 || len(v.cookies) != 0 {
		t.Errorf("the oldest of five: %+v", v)
	}
	if _, left := b.jar["__Host-mayfly-login"]; left {
		t.Errorf("%v", b.jar)
	}
}

func TestLongAddressesFitTheCookie(t *testing.T) {
	d, _, _ := newFront(t)
	b := d.browser()
	for _, n := range []int{1500, 2000, 2047, 3000} {
		path := "/" + strings.Repeat("a", n)
		state := b.begin(path)
		if size := len(b.jar["__Host-mayfly-login"]); size > 3800 {
			t.Errorf("a cookie of %d bytes", size)
		}
		want := path
		if n > 2047 {
			want = "/"
		}
		if v := b.get(callback(d.console(state), state)); v.status != 303 || v.header["location"] != want {
			t.Errorf("%d: %d %.20s", n, v.status, v.header["location"])
		}
		delete(b.jar, "__Host-mayfly")
	}
}

// TestALoginThatBeganElsewhereEndsNowhere replays, steals and mixes what ends a
// login. Nothing is set, and a page says what to do.
func TestALoginThatBeganElsewhereEndsNowhere(t *testing.T) {
	for name, c := range map[string]struct {
		send   func(d *desk, b *browser, state, code string) verdict
		status int
		reason grant.Reason
	}{
		"used twice": {func(_ *desk, b *browser, state, code string) verdict {
			entries := b.jar["__Host-mayfly-login"]
			b.get(callback(code, state))
			b.jar = map[string]string{"__Host-mayfly-login": entries} // a browser that goes back
			return b.get(callback(code, state))
		}, 401, grant.LoginAgain},
		"the browser of the attacker's victim": {func(d *desk, _ *browser, state, code string) verdict {
			return d.browser().get(callback(code, state))
		}, 401, grant.LoginAgain},
		"the victim has a login of its own under way": {func(d *desk, _ *browser, state, code string) verdict {
			victim := d.browser()
			victim.begin("/")
			return victim.get(callback(code, state))
		}, 401, grant.LoginAgain},
		"a stolen code with the thief's own state": {func(d *desk, _ *browser, _, code string) verdict {
			thief := d.browser()
			return thief.get(callback(code, thief.begin("/")))
		}, 401, grant.LoginAgain},
		"the state in the place of the entry": {func(d *desk, _ *browser, state, code string) verdict {
			thief := d.browser()
			thief.jar["__Host-mayfly-login"] = state + ".Lw"
			return thief.get(callback(code, state))
		}, 401, grant.LoginAgain},
		"on another host": {func(d *desk, b *browser, state, code string) verdict {
			return b.send(visit("").with(func(a *ask) {
				a.sni, a.authority, a.path = "board.acme.example", "board.acme.example", callback(code, state)
			}))
		}, 401, grant.LoginAgain},
		"a code that nobody made": {func(_ *desk, b *browser, state, _ string) verdict { return b.get(callback("guess", state)) }, 401, grant.LoginAgain},
		"no code":                 {func(_ *desk, b *browser, state, _ string) verdict { return b.get("/.mayfly/callback?state=" + state) }, 401, grant.LoginAgain},
		"an empty code":           {func(_ *desk, b *browser, state, _ string) verdict { return b.get(callback("", state)) }, 401, grant.LoginAgain},
		"no state":                {func(_ *desk, b *browser, _, code string) verdict { return b.get("/.mayfly/callback?code=" + code) }, 401, grant.LoginAgain},
		"an empty state":          {func(_ *desk, b *browser, _, code string) verdict { return b.get(callback(code, "")) }, 401, grant.LoginAgain},
		"two codes":               {func(_ *desk, b *browser, state, code string) verdict { return b.get(callback(code, state) + "&code=x") }, 401, grant.LoginAgain},
		"two states": {func(_ *desk, b *browser, state, code string) verdict {
			return b.get(callback(code, state) + "&state=" + state)
		}, 401, grant.LoginAgain},
		"something else": {func(_ *desk, b *browser, state, code string) verdict {
			return b.get(callback(code, state) + "&return=//evil")
		}, 401, grant.LoginAgain},
		"no query": {func(_ *desk, b *browser, _, _ string) verdict { return b.get("/.mayfly/callback") }, 401, grant.LoginAgain},
		"a long code": {func(_ *desk, b *browser, state, _ string) verdict {
			return b.get(callback(strings.Repeat("a", 257), state))
		}, 401, grant.LoginAgain},
		"an odd code": {func(_ *desk, b *browser, state, _ string) verdict { return b.get(callback("a b", state)) }, 401, grant.LoginAgain},
		"a bad query": {func(_ *desk, b *browser, state, code string) verdict { return b.get(callback(code, state) + "&%zz") }, 401, grant.LoginAgain},
		"an error of theirs": {func(_ *desk, b *browser, state, _ string) verdict {
			return b.get("/.mayfly/callback?error=x&state=" + state)
		}, 401, grant.LoginAgain},
		"silence": {func(d *desk, b *browser, state, code string) verdict {
			d.sessions.silent = true
			return b.get(callback(code, state))
		}, 503, grant.Stale},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, _ := newFront(t)
			b := d.browser()
			state := b.begin("/secret/page")
			v := c.send(d, b, state, d.console(state))
			if v.allowed || v.status != c.status || v.reason != c.reason || len(v.cookies) != 0 || v.header["location"] != "" {
				t.Fatalf("%+v", v)
			}
			if !strings.Contains(v.body, `href="/">Start again</a>`) || v.header["content-security-policy"] == "" {
				t.Errorf("no clear page: %s", v.body)
			}
			if len(d.journal.Denials())+len(d.journal.Intents()) != 0 {
				t.Error("somebody unproven is on record by name")
			}
		})
	}
}

// payloads are ways to send a browser to another host, to a script, or in circles.
func payloads() []string {
	return []string{
		"//evil.example", "///evil.example", "////evil.example", "/\\evil.example", "\\/evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example",
		"http://evil.example", "//evil.example/%2f..", "/\t/evil.example", "/\n/evil.example", "/\r\nlocation: https://evil.example", "/%0d%0aset-cookie:a=b\r\n",
		"javascript:alert(1)", "data:text/html,x", "", "evil.example", "?x", "#x", "/a#b", "@evil.example", "/..//evil.example", "/.//evil.example", "/./\\evil.example",
		"/a/../..//evil.example", "/ /evil.example", " //evil.example", "/\x00/evil.example", "/é", "/.mayfly/logout", "/.mayfly/callback?code=a&state=b", "/.MAYFLY/logout",
		"/%2e%2e//evil.example", "/;//evil.example", "/%5cevil.example", "/%2fevil.example", "/" + strings.Repeat("a", 2048),
	}
}

// TestNoLoginLeadsAnywhereElse plants every payload in the cookie: the browser's
// owner, or a script on the app's host, can write what it likes there.
func TestNoLoginLeadsAnywhereElse(t *testing.T) {
	d, _, _ := newFront(t)
	for _, path := range payloads() {
		b := d.browser()
		entry := secretA + "." + base64.RawURLEncoding.EncodeToString([]byte(path))
		sum := hashOf(entry)
		state := base64.RawURLEncoding.EncodeToString(sum[:])
		b.jar["__Host-mayfly-login"] = entry
		d.world.Pass(time.Second) // codes are not guessed at a rate
		d.world.Pong()
		if v := b.get(callback(d.console(state), state)); v.status != 303 && len(entry) < 2000 || v.status == 303 && v.header["location"] != "/" {
			t.Errorf("%q: %d to %q", path, v.status, v.header["location"])
		}
		a := visit("").with(func(a *ask) { a.path = path })
		if v := d.check(a); v.status == 302 && len(v.cookies) == 1 {
			value, _, _ := strings.Cut(strings.TrimPrefix(v.cookies[0], "__Host-mayfly-login="), ";")
			_, back, _ := strings.Cut(value, ".")
			if raw, err := base64.RawURLEncoding.DecodeString(back); err != nil || string(raw) != "/" {
				t.Errorf("%q: the cookie says %q", path, raw)
			}
		}
	}
}

func TestABrokenLoginCookieIsReplaced(t *testing.T) {
	for _, planted := range []string{"x", "~~~~", ".", secretA, secretA + ".!", "x.Lw", strings.Repeat("a", 5000), secretA + ".Lw~x~" + secretB + ".Lw"} {
		d, _, _ := newFront(t)
		b := d.browser()
		b.jar["__Host-mayfly-login"] = planted
		state := b.begin("/a")
		if want := strings.Count(planted, secretA+".Lw") + strings.Count(planted, secretB+".Lw"); strings.Count(b.jar["__Host-mayfly-login"], "~") != want {
			t.Errorf("%.60q: %q", planted, b.jar)
		}
		if v := b.get(callback(d.console(state), state)); v.status != 303 || v.header["location"] != "/a" {
			t.Errorf("%.60q: %+v", planted, v)
		}
	}
}

// TestEndsOfLoginsAreNotAskedAboutTooOften floods the door with made-up codes, under
// a login that did begin in the browser.
func TestEndsOfLoginsAreNotAskedAboutTooOften(t *testing.T) {
	d, _, _ := newFront(t)
	b := d.browser()
	state := b.begin("/")
	asked, limited := 0, 0
	for range 200 {
		switch v := b.get(callback("madeup", state)); v.reason {
		case grant.LoginAgain:
			asked++
		case grant.RateLimited:
			limited++
		default:
			t.Fatalf("%+v", v)
		}
	}
	if asked != 60 || limited != 140 {
		t.Errorf("%d codes were asked about, %d were not", asked, limited)
	}
	d.world.Pass(time.Second)
	if v := b.get(callback(d.console(state), state)); v.status != 303 {
		t.Errorf("a good one, a second later: %+v", v)
	}
}

func TestLogoutAsksAndThenEnds(t *testing.T) {
	d, session, _ := newFront(t)
	d.sessions.keep(func() *feed.Resource { r := d.world.Login(secretA, time.Hour); r.Id = session; return r }())
	page := d.check(signedIn().with(func(a *ask) { a.path = "/.mayfly/logout" }))
	if page.status != 200 || len(page.cookies) != 0 || !strings.Contains(page.body, `<form method="post" action="/.mayfly/logout">`) || len(d.sessions.live) != 1 {
		t.Fatalf("%+v", page)
	}
	out := signedIn().with(func(a *ask) { a.method, a.path = "POST", "/.mayfly/logout" })
	for _, site := range []string{"cross-site", "same-site"} {
		if v := d.check(out.with(having("sec-fetch-site", site))); v.reason != grant.CrossSite || len(v.cookies) != 0 || len(d.sessions.live) != 1 {
			t.Fatalf("a page of another site logs people out: %+v", v)
		}
	}
	v := d.check(out.with(having("sec-fetch-site", "same-origin")))
	if v.status != 200 || !slices.Equal(v.cookies, []string{"__Host-mayfly=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"}) || len(d.sessions.live) != 0 ||
		!strings.Contains(v.body, `href="https://mayfly.acme.example/">Log out everywhere`) || !strings.Contains(v.body, "has ended") {
		t.Fatalf("%+v", v)
	}
	if v := d.check(signedIn()); v.reason != grant.SessionEnded {
		t.Errorf("the cookie still counts before the feed tells: %+v", v)
	}
}

func TestLogoutInSilence(t *testing.T) {
	d, _, _ := newFront(t)
	d.sessions.silent = true
	d.world.Pass(20 * time.Second) // and stale
	out := signedIn().with(func(a *ask) { a.method, a.path = "POST", "/.mayfly/logout" }).with(having("sec-fetch-site", "same-origin"))
	v := d.check(out)
	if v.status != 200 || len(v.cookies) != 1 || !strings.Contains(v.cookies[0], "Max-Age=0") || !strings.Contains(v.body, "did not answer") {
		t.Fatalf("%+v", v)
	}
	d.world.Pong()
	if v := d.check(signedIn()); v.reason != grant.SessionEnded {
		t.Errorf("it still counts here: %+v", v)
	}
	if v := d.check(visit("").with(func(a *ask) { a.method, a.path = "POST", "/.mayfly/logout" }).with(having("sec-fetch-site", "same-origin"))); v.status != 200 {
		t.Errorf("without a session: %+v", v)
	}
}

// A session of another host is not ended from here, and nobody makes the gateway
// ask about sessions without bound.
func TestLogoutEndsNobodyElsesSession(t *testing.T) {
	d, _, _ := newFront(t)
	kept := d.world.Login(secretB, time.Hour)
	kept.GetSession().Host = "board.acme.example"
	d.world.Add(kept)
	d.sessions.keep(kept)
	out := visit("__Host-mayfly=" + secretB).with(func(a *ask) { a.method, a.path = "POST", "/.mayfly/logout" }).with(having("sec-fetch-site", "same-origin"))
	if v := d.check(out); v.status != 200 || len(d.sessions.live) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestADenialPageLeadsToWhatIsMissing(t *testing.T) {
	d, session, visits := newFront(t)
	d.world.End(visits, grant.Revoked)
	v := d.check(signedIn())
	if v.status != 403 || v.reason != grant.Revoked && v.reason != grant.NoGrant || v.header["content-type"] != "text/html; charset=utf-8" {
		t.Fatalf("%+v", v)
	}
	ask := url.Values{"denial": {v.meta["denial"]}, "return": {"https://panel.acme.example/tickets/7?tab=a"}}
	for _, want := range []string{
		"<html lang=\"en\">", "<h1>", string(v.reason), v.meta["denial"], "panel/use", "Alice Ähre (alice@acme.example)", proxytest.Alice,
		`href="` + proxytest.Console + "/ask?" + strings.ReplaceAll(ask.Encode(), "&", "&amp;") + `">Request access</a>`, `href="/.mayfly/logout">Log out</a>`,
	} {
		if !strings.Contains(v.body, want) {
			t.Errorf("%s\ndoes not say %s", v.body, want)
		}
	}
	for name, want := range map[string]string{
		"x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin",
		"cache-control": "no-store", "mayfly-reason": string(v.reason), "mayfly-denial": v.meta["denial"],
	} {
		if v.header[name] != want {
			t.Errorf("%s: %q", name, v.header[name])
		}
	}
	_, style, _ := strings.Cut(v.body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := hashOf(style)
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if v.header["content-security-policy"] != policy || strings.Contains(v.body, "<script") || strings.Contains(v.body, " style=") {
		t.Errorf("%s, want %s", v.header["content-security-policy"], policy)
	}
	denials := d.journal.Denials()
	if n := len(denials); n != 1 || denials[0].Principal != "p_alice" || denials[0].Ask.Session != session || strings.Contains(v.meta["denial"], "alice") {
		t.Errorf("%+v", denials)
	}
}

func TestWhatKindOfAnswerADenialIs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*ask)
		page   bool
		link   string // "" no request button
	}{
		{"a page", func(*ask) {}, true, "denial="},
		{"a page of an old browser", having("sec-fetch-mode", ""), true, "denial="},
		{"a form", func(a *ask) { a.method = "POST"; having("sec-fetch-site", "same-origin")(a) }, true, "denial="},
		{"a script", having("sec-fetch-mode", "cors"), false, ""},
		{"a script that takes HTML", func(a *ask) { having("sec-fetch-mode", "same-origin")(a) }, false, ""},
		{"a download", having("accept", "*/*"), false, ""},
		{"an operation of no entitlement", func(a *ask) { a.method = "DELETE"; having("sec-fetch-site", "same-origin")(a) }, true, ""},
		{"gRPC", having("content-type", "application/grpc"), false, ""},
	} {
		d, _, visits := newFront(t)
		d.world.End(visits, grant.Revoked)
		v := d.check(signedIn().with(c.change))
		if got := strings.HasPrefix(v.body, "<!doctype html>"); got != c.page || v.allowed {
			t.Errorf("%s: %+v", c.name, v)
		}
		if c.page && strings.Contains(v.body, "Request access") != (c.link != "") || !strings.Contains(v.body, c.link) {
			t.Errorf("%s: %s", c.name, v.body)
		}
		if c.name == "a form" && strings.Contains(v.body, "return=") {
			t.Error("a form's address is no page to come back to")
		}
		if c.page && c.link == "" && !strings.Contains(v.body, "No entitlement covers this. Ask the owner of the app.") {
			t.Errorf("%s: whom to ask? %s", c.name, v.body)
		}
	}
	d, _, visits := newFront(t)
	d.world.End(visits, grant.Revoked)
	d.journal.Counting = true
	if v := d.check(signedIn()); strings.Contains(v.body, "den_") || !strings.Contains(v.body, "/ask?entitlement=panel%2Fuse&amp;return=") {
		t.Errorf("a denial that was only counted: %s", v.body)
	}
	d.world.Pass(20 * time.Second)
	if v := d.check(signedIn()); v.status != 503 || !strings.Contains(v.body, `href="/tickets/7?tab=a">Try again</a>`) || v.header["retry-after"] != "1" {
		t.Errorf("silence: %s", v.body)
	}
}

// TestNoTextBecomesMarkup puts HTML wherever a caller, a provider or a link can.
func TestNoTextBecomesMarkup(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	d, session, visits := newFront(t)
	d.world.End(visits, grant.Revoked)
	login := d.world.Login(secretA, time.Hour)
	login.Id, login.GetSession().Facts = session, map[string]string{"name": evil, "email": evil}
	d.world.Add(login)
	escaped := (&url.URL{Path: "/" + evil}).EscapedPath()
	for _, a := range []ask{
		signedIn(), signedIn().with(func(a *ask) { a.path = "/" + evil }), signedIn().with(func(a *ask) { a.path = escaped + "?" + url.QueryEscape(evil) }),
		signedIn().with(func(a *ask) { a.path = "/.mayfly/" + evil }), signedIn().with(func(a *ask) { a.path = "/.mayfly/callback?" + url.QueryEscape(evil) }),
		signedIn().with(func(a *ask) { a.method = evil }), signedIn().with(func(a *ask) { a.method = evil; having("sec-fetch-site", "same-origin")(a) }),
		signedIn().with(having("accept", "text/html,"+evil)),
	} {
		v := d.check(a)
		if v.allowed || strings.Contains(v.body, "<script") || strings.Contains(v.body, "<img") || strings.Contains(v.body, "javascript:") {
			t.Errorf("%+v", v)
		}
	}
}
