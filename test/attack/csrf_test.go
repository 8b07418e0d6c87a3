package attack

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// foreign are the headers that a browser sends with what a page of somebody else's
// makes it send; and what old browsers leave out.
var foreign = []struct{ name, site, origin string }{
	{"another site", "cross-site", "https://evil.example"},
	{"another site in a sandbox", "cross-site", "null"},
	{"another site that says no origin", "cross-site", ""},
	{"a sibling host", "same-site", "https://evil.acme.example"},
	{"a sibling host that says no origin", "same-site", ""},
	{"an old browser, another site", "", "https://evil.example"},
	{"an old browser, a sibling host", "", "https://evil.acme.example"},
	{"an old browser, a host that begins alike", "", "https://" + env.WikiHost + ".evil.example"},
	{"an old browser in a sandbox", "", "null"},
	{"an old browser that says nothing", "", ""},
	{"words that nobody knows", "same-origin, cross-site", "https://evil.example"},
}

func says(site, origin string) http.Header {
	h := http.Header{"Sec-Fetch-Site": nil}
	if site != "" {
		h.Set("Sec-Fetch-Site", site)
	}
	if origin != "" {
		h.Set("Origin", origin)
	}
	return h
}

func post(t testing.TB, v *env.Visitor, address string, h http.Header, form url.Values) env.Page {
	t.Helper()
	p, err := v.Look(t.Context(), http.MethodPost, address, h, form)
	if err != nil {
		t.Fatalf("POST %s: %v", address, err)
	}
	return p
}

// TestCsrfFormsToAnApp sends what others' pages can send to an app that alice may
// write to: nothing arrives. The app's own page sends the same and is let through.
func TestCsrfFormsToAnApp(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/edit")
	mine := enter(t, v, page, "alice")
	form := url.Values{"text": {"hello"}}
	for _, c := range foreign {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			p, err := v.Look(t.Context(), method, page, says(c.site, c.origin), form)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, method+" of "+c.name, p, http.StatusForbidden)
			if got := p.Header.Get("Mayfly-Reason"); got != "cross_site" {
				t.Errorf("%s of %s: refused for %q", method, c.name, got)
			}
		}
		refused(t, "logout by "+c.name, post(t, v, w.App(env.WikiHost, "/.mayfly/logout"), says(c.site, c.origin), form), http.StatusForbidden)
	}
	for _, c := range [][2]string{{"same-origin", ""}, {"none", ""}, {"", strings.TrimSuffix(w.App(env.WikiHost, ""), "/")}} {
		l.allow("wiki", "POST", "/edit", alice)
		if p := post(t, v, page, says(c[0], c[1]), form); p.Status != http.StatusOK {
			t.Errorf("its own page (%q, %q): %d %s", c[0], c[1], p.Status, p.Text)
		}
	}
	if v.Cookies(page)["__Host-mayfly"] != mine {
		t.Error("alice was logged out")
	}
}

// pending is a request of alice's that waits for bob, and the digest of its offer.
func (w *world) pending(t testing.TB) api.Request {
	t.Helper()
	r, err := w.alice.Request(t.Context(), api.Ask{Entitlement: "wiki/write", Reason: "order 18"}, api.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.alice.Withdraw(t.Context(), r.ID) })
	if r, err = w.bob.ShowRequest(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	return r
}

// state is everything that a form of the console could change, as the security group
// sees it.
func (w *world) state(t testing.TB) string {
	t.Helper()
	requests, err := w.bob.Requests(t.Context(), api.RequestsQuery{Everyone: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range requests.Items {
		out = append(out, r.ID+" "+r.State)
	}
	grants, err := w.bob.Grants(t.Context(), api.GrantsQuery{Everyone: true, All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants.Items {
		out = append(out, g.ID+" "+g.State)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// forms are those of the console that act, filled in so that each would.
func (w *world) forms(t testing.TB, r api.Request) map[string]url.Values {
	t.Helper()
	grants, err := w.alice.Grants(t.Context(), api.GrantsQuery{App: "board"})
	if err != nil || len(grants.Items) == 0 {
		t.Fatal(grants, err)
	}
	g := grants.Items[0].ID
	return map[string]url.Values{
		"/ask":                            {"entitlement": {"wiki/read"}, "duration": {"10m"}, "key": {"00112233445566778899aabbccddeeff"}},
		"/requests/" + r.ID + "/decide":   {"verdict": {"approve"}, "offer": {r.Offer.SHA256}},
		"/requests/" + r.ID + "/withdraw": {}, "/grants/" + g + "/finish": {}, "/grants/" + g + "/revoke": {"reason": {"x"}},
		"/logout": {},
	}
}

// TestCsrfFormsToTheConsole sends each form of the console as others' pages can, from
// the browsers of alice and of bob, who decides: nothing changes. And it sends them as
// GET and HEAD, which a link or a picture can: nothing changes either.
func TestCsrfFormsToTheConsole(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	r := w.pending(t)
	before := w.state(t)
	for _, who := range []string{"alice", "bob"} {
		v := w.visitor(t)
		mine := w.atConsole(t, v, who)
		for path, form := range w.forms(t, r) {
			for _, c := range foreign {
				p := post(t, v, w.Public+path, says(c.site, c.origin), form)
				refused(t, who+", "+path+" of "+c.name, p, http.StatusForbidden)
			}
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				p := look(t, v, method, w.Public+path+"?"+form.Encode(), "Sec-Fetch-Site", "cross-site")
				if p.Status < 300 && path != "/ask" { // where it only fills in the form
					t.Errorf("%s, %s %s: %d", who, method, path, p.Status)
				}
			}
		}
		if got := w.state(t); got != before {
			t.Errorf("%s: it was %s, and is %s", who, before, got)
		}
		if p := look(t, v, http.MethodGet, w.Public+"/"); p.Status != http.StatusOK || v.Cookies(w.Public)[api.ConsoleCookie] != mine {
			t.Errorf("%s was logged out: %d", who, p.Status)
		}
	}
	// From its own page the same form does what it says.
	bob := w.visitor(t)
	w.atConsole(t, bob, "bob")
	path := "/requests/" + r.ID + "/decide"
	if p := post(t, bob, w.Public+path, nil, url.Values{"verdict": {"deny"}, "offer": {r.Offer.SHA256}}); p.Status != http.StatusSeeOther || w.state(t) == before {
		t.Errorf("its own page: %d %s", p.Status, p.Text)
	}
}

// TestCsrfLinksEndNoSession opens the addresses of both logouts as a link or a picture
// would.
func TestCsrfLinksEndNoSession(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/team")
	enter(t, v, page, "alice")
	for _, address := range []string{w.App(env.WikiHost, "/.mayfly/logout"), w.Public + "/logout"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
			look(t, v, method, address, "Sec-Fetch-Site", "cross-site")
		}
	}
	l.allow("wiki", "GET", "/team", alice)
	if p := look(t, v, http.MethodGet, page); p.Status != http.StatusOK {
		t.Errorf("the host: %d %s", p.Status, p.Text)
	}
	if p := look(t, v, http.MethodGet, w.Public+"/"); p.Status != http.StatusOK {
		t.Errorf("the console: %d %s", p.Status, p.Text)
	}
}

// TestCsrfNoPageIsFramed looks at every page of ours for what keeps it out of others'
// frames, and out of the reach of their windows.
func TestCsrfNoPageIsFramed(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	r := w.pending(t)
	v := w.visitor(t)
	enter(t, v, w.App(env.WikiHost, "/team"), "carol")
	pages := map[string]int{
		w.App(env.WikiHost, "/team"):                   403, // she has no grant
		w.App(env.WikiHost, "/.mayfly/logout"):         200,
		w.App(env.WikiHost, "/.mayfly/x"):              404,
		w.App(env.WikiHost, "/.mayfly/callback?code="): 401,
		w.Public + "/": 200, w.Public + "/ask": 200, w.Public + "/ask?entitlement=wiki/read": 200, w.Public + "/waiting": 200, w.Public + "/trace": 200,
		w.Public + "/requests/" + r.ID: 200, w.Public + "/nowhere": 404, w.Public + "/requests/x": 404, w.Public + "/trace/x": 404,
		w.Public + "/logout": 405, w.Public + "/login": 200, w.Public + "/login?idp=nobody": 400, w.Public + "/oidc/idp/callback": 400,
		w.Public + "/oidc/idp/callback?state=" + strings.Repeat("A", 43): 401, w.Public + "/api/v1/whoami": 401,
	}
	for address, status := range pages {
		p := look(t, v, http.MethodGet, address)
		if p.Status != status {
			t.Errorf("%s: %d, want %d", address, p.Status, status)
		}
		if !strings.Contains(p.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || p.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s may be framed: %v", address, p.Header)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", address, name, got)
			}
		}
		for name := range p.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: others may read it: %s", address, name)
			}
		}
	}
}

// TestCsrfNoWebSocket opens a WebSocket with alice's cookie, as a page of another
// origin can: no cross-site header stops those, so they are not opened at all.
func TestCsrfNoWebSocket(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	mine := enter(t, v, w.App(env.WikiHost, "/team"), "alice")
	for _, origin := range []string{"https://evil.example", "https://evil.acme.example", strings.TrimSuffix(w.App(env.WikiHost, ""), "/")} {
		res, err := raw(t, w, w.gw.People, env.WikiHost, "GET /live HTTP/1.1\r\nHost: "+env.WikiHost+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: "+origin+
			"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: websocket\r\nCookie: __Host-mayfly="+mine+"\r\n\r\n")
		if err == nil && res.StatusCode < 400 {
			t.Errorf("%s: %d", origin, res.StatusCode)
		}
	}
	if n := l.count(); n != 0 {
		t.Errorf("%d reached the app", n)
	}
}
