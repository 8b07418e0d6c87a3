package attack

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/browser"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	sibling = "evil.acme.example" // of the apps' hosts
	evil    = "evil.example"
)

// evilSite serves pages under hosts of the attacker's, whose certificates everybody
// trusts. It returns its IP:port.
func evilSite(t testing.TB, w *world, pages map[string]http.HandlerFunc) string {
	t.Helper()
	cert, err := w.CA.Mint(dev.Template{DNS: []string{sibling, evil}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, f := range pages {
		mux.HandleFunc(path, f)
	}
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// shows is a page with a body and whatever scripts it wants.
func shows(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>Kittens</title><link rel="icon" href="data:,"><body>%s</body>`, body)
	}
}

// submits is a page that sends a form by itself, into a frame that it watches.
func submits(action string, form url.Values) http.HandlerFunc {
	var fields strings.Builder
	for name, values := range form {
		fmt.Fprintf(&fields, `<input type="hidden" name="%s" value="%s">`, html.EscapeString(name), html.EscapeString(values[0]))
	}
	return shows(fmt.Sprintf(`<form id="f" method="post" action="%s">%s</form><script>document.getElementById('f').submit()</script>`, html.EscapeString(action), fields.String()))
}

// chromium opens a person's browser, who is logged in at the console and at the wiki.
func (w *world) chromium(t testing.TB, who, evilAt string) *browser.Browser {
	t.Helper()
	gateway, _, err := net.SplitHostPort(w.gw.People)
	if err != nil {
		t.Fatal(err)
	}
	b := browser.New(t, browser.Config{Roots: w.CA.Roots(), Resolve: map[string]string{
		env.WikiHost: gateway, env.BoardHost: gateway, "localhost": "127.0.0.1", sibling: evilAt, evil: evilAt,
	}})
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/team")
	b.SetCookie(page, "__Host-mayfly", enter(t, v, page, who))
	b.SetCookie(w.Public+"/", api.ConsoleCookie, v.Cookies(w.Public)[api.ConsoleCookie])
	return b
}

// TestCsrfInABrowser has alice, and bob who decides, come by a page that sends forms to
// the wiki and to the console by itself: from another site, and from a sibling host,
// from where their browsers send every cookie along.
func TestCsrfInABrowser(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	r := w.pending(t)
	targets := map[string]url.Values{}
	for path, form := range w.forms(t, r) {
		targets[w.Public+path] = form
	}
	targets[w.App(env.WikiHost, "/edit")] = url.Values{"text": {"hello"}}
	targets[w.App(env.WikiHost, "/.mayfly/logout")] = nil
	pages := map[string]http.HandlerFunc{}
	lures := map[string]string{}
	for address, form := range targets {
		path := fmt.Sprintf("/lure/%d", len(lures))
		pages["GET "+path], lures[path] = submits(address, form), address
	}
	at := evilSite(t, w, pages)
	_, port, _ := net.SplitHostPort(at)
	before := w.state(t)
	for _, who := range []string{"alice", "bob"} {
		b := w.chromium(t, who, at)
		for path, address := range lures {
			for _, host := range []string{sibling, evil} {
				b.Open("https://" + host + ":" + port + path)
				b.WaitURL(address)
				if s := b.Status(); s != http.StatusForbidden && s != http.StatusUnauthorized {
					t.Errorf("%s, from %s to %s: %d\n%s", who, host, address, s, b.Text())
				}
			}
		}
		if got := w.state(t); got != before {
			t.Errorf("%s: it was %s, and is %s", who, before, got)
		}
		if _, ok := b.Cookie(env.WikiHost, "__Host-mayfly"); !ok {
			t.Errorf("%s was logged out of the wiki", who)
		}
		if b.Open(w.Public+"/") != http.StatusOK {
			t.Errorf("%s was logged out of the console", who)
		}
	}
	if n := l.count(); n != 0 {
		t.Errorf("%d reached the wiki", n)
	}
}

// TestCsrfReadsNothingInABrowser has a page of the attacker's fetch from the wiki and
// the console with alice's cookies, frame them, open them, and throw cookies at the
// wiki. It reads nothing, shows nothing, and sets nothing.
func TestCsrfReadsNothingInABrowser(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	r := w.pending(t)
	at := evilSite(t, w, map[string]http.HandlerFunc{
		"GET /": shows("<h1>Kittens</h1>"),
		"GET /cookies": func(rw http.ResponseWriter, _ *http.Request) {
			for _, name := range []string{"__Host-mayfly", "__host-mayfly", "__HOST-Mayfly-login", "__Host-mayfly-login"} {
				rw.Header().Add("Set-Cookie", name+"=tossed; Domain=acme.example; Path=/; Secure")
				rw.Header().Add("Set-Cookie", name+"=tossed; Domain=acme.example; Path=/team; Secure")
			}
			shows("tossed")(rw, nil)
		},
	})
	_, port, _ := net.SplitHostPort(at)
	b := w.chromium(t, "alice", at)
	mine, _ := b.Cookie(env.WikiHost, "__Host-mayfly")
	for _, host := range []string{sibling, evil} {
		b.Open("https://" + host + ":" + port + "/")
		for _, address := range []string{w.App(env.WikiHost, "/secret"), w.App(env.WikiHost, "/.mayfly/logout"), w.Public + "/", w.Public + "/api/v1/whoami", w.Public + "/requests/" + r.ID} {
			for _, mode := range []string{"cors", "no-cors"} {
				if address == w.App(env.WikiHost, "/secret") {
					// A sibling's GET is sent with the cookie (SameSite does not stop it) and
					// harms nothing that reads only; its answer stays unread.
					l.allow("wiki", "GET", "/secret", alice)
				}
				got := browser.Eval[string](b.Tab, fmt.Sprintf(`fetch(%q, {credentials: 'include', mode: %q}).then((r) => r.text()).catch(() => '')`, address, mode))
				if got != "" {
					t.Errorf("%s reads %s (%s): %.200s", host, address, mode, got)
				}
			}
			got := browser.Eval[string](b.Tab, fmt.Sprintf(`fetch(%q, {credentials: 'include', method: 'POST', body: 'a=b', headers: {'Content-Type': 'application/json', 'X-Auth-User': 'root'}}).then((r) => r.text()).catch(() => '')`, address))
			if got != "" {
				t.Errorf("%s reads what it posted to %s: %.200s", host, address, got)
			}
			socket := browser.Eval[string](b.Tab, fmt.Sprintf(`new Promise((done) => { const s = new WebSocket(%q); s.onopen = () => done('open'); s.onerror = () => done('') })`,
				strings.Replace(address, "https:", "wss:", 1)))
			if socket != "" {
				t.Errorf("%s opens a WebSocket to %s", host, address)
			}
		}
		// Frames of pages of ours stay empty.
		for _, address := range []string{w.App(env.WikiHost, "/.mayfly/logout"), w.App(env.WikiHost, "/.mayfly/x"), w.Public + "/", w.Public + "/requests/" + r.ID, w.Public + "/ask?entitlement=wiki/write", w.Public + "/login"} {
			b.Forget()
			browser.Eval[string](b.Tab, fmt.Sprintf(`new Promise((done) => { const f = document.createElement('iframe'); f.src = %q; f.onload = () => done(''); document.body.append(f) })`, address))
			if !framingStopped(b.Tab) {
				t.Errorf("%s frames %s: %v", host, address, b.Problems())
			}
		}
	}
	b.Open("https://" + sibling + ":" + port + "/cookies")
	for _, c := range b.Cookies() {
		if c.Value == "tossed" && strings.HasPrefix(c.Name, "__Host-mayfly") {
			t.Errorf("the sibling sets %s for %s", c.Name, c.Domain)
		}
	}
	l.allow("wiki", "GET", "/team", alice)
	l.allow("wiki", "GET", "/favicon.ico", alice) // the browser asks for it by itself
	if b.Open(w.App(env.WikiHost, "/team")) != http.StatusOK {
		t.Errorf("alice cannot work on: %s", b.Text())
	}
	if now, ok := b.Cookie(env.WikiHost, "__Host-mayfly"); !ok || now.Value != mine.Value {
		t.Error("alice has another session now")
	}
}

// framingStopped reports whether the browser says that it shows no page in a frame.
func framingStopped(b *browser.Tab) bool {
	for _, p := range b.Problems() {
		if strings.Contains(p.String(), "frame-ancestors") || strings.Contains(strings.ToLower(p.String()), "x-frame-options") {
			return true
		}
	}
	return false
}

// TestSessionOfSomebodyWithAHostileName has a person's name, groups, reason and path
// hold scripts and what ends attributes and lines: every page that shows them shows
// them as they are, and nothing runs.
func TestSessionOfSomebodyWithAHostileName(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	const attack = `<script>window.pwned=1</script><img src=x onerror="window.pwned=1">`
	who := "mallory-" + secret()[:6]
	name := who + `"'><svg onload=window.pwned=1>` + attack
	if err := w.IdP.SetUser(dev.User{
		Name: name, Subject: who, Email: `"<script>window.pwned=1</script>"@acme.example`, EmailVerified: true,
		Groups: []string{"support", `x"><script>window.pwned=1</script>`, "a\r\nX-Auth-User: root", "a,b", `{{.Secret}}`, `javascript:window.pwned=1`},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.IdP.RemoveUser(name) })
	b := w.chromium(t, name, "127.0.0.1:1")
	look := func(tab *browser.Tab, address string, want ...string) {
		t.Helper()
		tab.Open(address)
		for _, text := range want {
			if !strings.Contains(tab.Text(), text) {
				t.Errorf("%s does not say %q:\n%s", address, text, tab.Text())
			}
		}
		if browser.Eval[bool](tab, `window.pwned !== undefined`) {
			t.Errorf("%s: a script of theirs runs", address)
		}
		if strings.Contains(tab.HTML(), "<script>window") {
			t.Errorf("%s: their text is markup", address)
		}
		tab.Clean("status of")
	}
	inPath := `<img src=x onerror="window.pwned=1"><script>window.pwned=1` // Envoy takes no path with an encoded slash
	look(b.Tab, w.App(env.WikiHost, "/"+url.PathEscape(inPath)+"?q="+url.QueryEscape(attack)), inPath)
	look(b.Tab, w.App(env.WikiHost, "/.mayfly/logout"))
	look(b.Tab, w.Public+"/", name)
	for _, path := range []string{
		"/ask?q=" + url.QueryEscape(attack), "/ask?entitlement=" + url.QueryEscape(attack), "/ask?denial=" + url.QueryEscape(attack), "/trace/" + url.PathEscape(attack),
		"/ask?entitlement=wiki/write&return=" + url.QueryEscape("javascript:window.pwned=1"), "/trace?id=" + url.QueryEscape(attack), "/login?idp=" + url.QueryEscape(attack),
		"/login?app=" + url.QueryEscape(attack), "/" + url.PathEscape(attack), "/ask?entitlement=wiki/write&duration=" + url.QueryEscape(attack),
	} {
		look(b.Tab, w.Public+path)
	}
	b.Open(w.Public + "/ask?entitlement=wiki/write")
	b.Fill("reason", attack)
	b.Follow("Ask for access")
	b.WaitText("This page follows it")
	request := strings.Split(b.URL(), "?")[0]
	look(b.Tab, request, attack)
	bob := w.chromium(t, "bob", "127.0.0.1:1")
	look(bob.Tab, request, attack)
	look(bob.Tab, w.Public+"/waiting")
	bob.Open(request)
	bob.Fill("reason", attack)
	bob.Follow("Deny")
	look(bob.Tab, strings.Replace(request, "/requests/", "/explain/", 1))
	look(b.Tab, request, attack)
	look(b.Tab, w.Public+"/")
	if n := l.count(); n != 0 {
		t.Errorf("%d reached the wiki", n)
	}
}
