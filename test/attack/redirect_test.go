package attack

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

// elsewhere are ways to write an address that some browser or library has once taken
// for one of another host, where a path was wanted.
func elsewhere() []string {
	return []string{
		"https://evil.example", "https://evil.example/", "http://evil.example/a", "//evil.example", "//evil.example/a", "///evil.example", "////evil.example/a",
		`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, "/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example",
		" //evil.example", "/ /evil.example", "\x00//evil.example", "/\x00/evil.example", "https:evil.example", "https:/evil.example", "https:///evil.example", "HTTPS://evil.example",
		"javascript:alert(1)", "JavaScript:alert(1)//https://", "data:text/html,<script>alert(1)</script>", "vbscript:x", "mailto:a@evil.example", "evil.example", "@evil.example", ":@evil.example",
		"/..//evil.example", "/.//evil.example", "/a/..//evil.example", "/%2f/evil.example", "/%2f%2fevil.example", "/%5cevil.example", "/%09/evil.example", "/%0d%0aLocation:%20https://evil.example",
		"/\r\nLocation: https://evil.example", "/\r\nSet-Cookie: __Host-mayfly=x", "https://localhost@evil.example", "https://wiki.acme.example@evil.example/", "https://wiki.acme.example.evil.example/",
		"https://evil.example#wiki.acme.example", "https://evil.example?wiki.acme.example", "https://evil.example\\@wiki.acme.example", "//evil.example:443", "//evil%00.example", "/\u2028/evil.example", "\u3000//evil.example", "//evil。example",
		"///wiki.acme.example@evil.example", "/;@evil.example", "?//evil.example", "#//evil.example", "", strings.Repeat("/a", 2000),
	}
}

// stays reports whether a browser on host stays there when it is sent to location: as
// RFC 3986 reads it and as browsers do, which drop control characters and take a
// backslash for a slash.
func stays(location, origin string) bool {
	if strings.ContainsFunc(location, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return false
	}
	base, err := url.Parse(origin + "/x")
	if err != nil {
		return false
	}
	to, err := base.Parse(location)
	return err == nil && to.Scheme == base.Scheme && to.Host == base.Host && to.User == nil && !strings.HasPrefix(to.EscapedPath(), "//")
}

func originOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Scheme + "://" + u.Host
}

// TestRedirectOfTheReturnCookie writes addresses of elsewhere into the cookie that says
// where a login began, as somebody who can set cookies on the host can, and ends the
// login: the browser stays on the host.
func TestRedirectOfTheReturnCookie(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	v := w.visitor(t)
	w.atConsole(t, v, "alice")
	host := originOf(t, w.App(env.WikiHost, "/"))
	for _, back := range append(elsewhere(), "/.mayfly/logout", "/.mayfly/callback?code=x", "/.MAYFLY/x", "/a/../.mayfly/logout") {
		entry := secret() + "." + base64.RawURLEncoding.EncodeToString([]byte(back))
		sum := sha256.Sum256([]byte(entry))
		state := base64.RawURLEncoding.EncodeToString(sum[:])
		to := look(t, v, http.MethodGet, w.Public+"/login?"+url.Values{"app": {"wiki"}, "host": {env.WikiHost}, "state": {state}}.Encode()).Header.Get("Location")
		if originOf(t, to) != host {
			t.Fatalf("the console leads to %q", to)
		}
		p := look(t, w.visitor(t), http.MethodGet, to, "Cookie", "__Host-mayfly-login="+entry)
		if len(entry) > 3800 { // longer than the cookie: nothing is known of it
			refused(t, "a long one", p, http.StatusUnauthorized)
			continue
		}
		if got := p.Header.Get("Location"); p.Status != http.StatusSeeOther || !strings.HasPrefix(got, "/") || !stays(got, host) || strings.Contains(strings.ToLower(got), ".mayfly") {
			t.Errorf("%q leads to %q (%d)", back, got, p.Status)
		}
		for _, c := range p.Header.Values("Set-Cookie") {
			if strings.HasPrefix(c, "__Host-mayfly=x;") {
				t.Errorf("%q sets a cookie", back)
			}
		}
	}
}

// TestRedirectOfTheFirstPath asks for pages at such paths without being logged in: what
// is kept, and come back to, is a path of the host.
func TestRedirectOfTheFirstPath(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	for _, path := range elsewhere() {
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			continue // no request line
		}
		res, err := raw(t, w, w.gw.People, env.WikiHost, "GET "+path+" HTTP/1.1\r\nHost: "+env.WikiHost+"\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if to := res.Header.Get("Location"); to != "" && originOf(t, to) != w.Public {
			t.Errorf("%q leads to %q", path, to)
		}
		for _, c := range res.Cookies() {
			_, kept, _ := strings.Cut(c.Value, ".")
			back, err := base64.RawURLEncoding.DecodeString(kept)
			if err != nil || !stays(string(back), "https://"+env.WikiHost) || strings.HasPrefix(string(back), "//") {
				t.Errorf("%q is kept as %q, %v", path, back, err)
			}
		}
	}
}

// TestRedirectOfTheConsoleLogin logs in with such addresses as where to go on to.
func TestRedirectOfTheConsoleLogin(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	for _, back := range append(elsewhere(), "/logout", "/api/v1/requests", "/oidc/idp/callback", "/login?return=//evil.example", "/oauth/authorize?client_id=mayfly-cli") {
		v := w.visitor(t)
		p := look(t, v, http.MethodGet, proven(t, v, w.Public+"/login?"+url.Values{"idp": {"idp"}, "return": {back}}.Encode(), "alice"))
		got := p.Header.Get("Location")
		if p.Status != http.StatusSeeOther || !strings.HasPrefix(got, "/") || !stays(got, w.Public) || slices.ContainsFunc([]string{"/logout", "/api", "/oidc", "/login", "/cli"}, func(p string) bool { return strings.HasPrefix(got, p) }) {
			t.Errorf("%q leads to %q (%d)", back, got, p.Status)
		}
	}
}

var address = regexp.MustCompile(`(?i)(?:href|action|src|content)="([^"]*)"`)

// TestRedirectOfTheConsolePages gives the console such addresses as where somebody was
// going when they were refused: no page of it leads there, and no answer to its form.
func TestRedirectOfTheConsolePages(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	r := w.pending(t)
	v := w.visitor(t)
	w.atConsole(t, v, "alice")
	_, port, _ := strings.Cut(originOf(t, w.App(env.WikiHost, "/"))[len("https://"):], ":")
	for _, back := range append(elsewhere(),
		"http://"+env.WikiHost+":"+port+"/", "https://"+env.WikiHost+"/", "https://"+env.WikiHost+":1/", "https://"+env.ReportsHost+":"+port+"/", "https://a@"+env.WikiHost+":"+port+"/",
		"https://"+env.WikiHost+":"+port+`\@evil.example/`, "https://"+env.WikiHost+":"+port+"@evil.example/", "https://"+env.WikiHost+".:"+port+"/", "https://evil.example:"+port+"/",
	) {
		q := url.QueryEscape(back)
		for _, path := range []string{"/ask?return=" + q, "/ask?entitlement=wiki/write&return=" + q, "/requests/" + r.ID + "?return=" + q} {
			p := look(t, v, http.MethodGet, w.Public+path)
			if p.Status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, p.Status, p.Text)
			}
			for _, found := range address.FindAllStringSubmatch(p.Text, -1) {
				to := html.UnescapeString(found[1])
				if at, err := url.Parse(to); strings.Contains(to, "evil") || strings.Contains(to, "script:") || err == nil && at.Host != "" {
					t.Errorf("%q: the page %s leads to %q", back, path, to)
				}
			}
		}
	}
	p := post(t, v, w.Public+"/ask", nil, url.Values{"entitlement": {"wiki/read"}, "duration": {"1m"}, "key": {"10112233445566778899aabbccddeeff"}, "return": {"https://evil.example/"}})
	if got := p.Header.Get("Location"); p.Status != http.StatusSeeOther || !strings.HasPrefix(got, "/requests/req_") || strings.Contains(got, "evil") {
		t.Errorf("the form leads to %q (%d)", got, p.Status)
	}
	good := w.App(env.WikiHost, "/team")
	if p := look(t, v, http.MethodGet, w.Public+"/ask?entitlement=wiki/write&return="+url.QueryEscape(good)); !strings.Contains(html.UnescapeString(p.Text), good) {
		t.Error("the page of an app is not kept either")
	}
}

// TestRedirectOfTheHandOver asks the console for codes for hosts that are none of an
// app's, or of another app, while logged in and while not: it sends nobody there.
func TestRedirectOfTheHandOver(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	in := w.visitor(t)
	w.atConsole(t, in, "alice")
	state := strings.Repeat("A", 43)
	for _, c := range [][3]string{
		{"wiki", "evil.example", state}, {"wiki", "evil.acme.example", state}, {"wiki", env.BoardHost, state}, {"board", env.WikiHost, state}, {"reports", env.ReportsHost, state},
		{"stripe", env.StripeHost, state}, {"mayfly", "localhost", state}, {"wiki", "localhost", state}, {"wiki", env.WikiHost + ":1", state}, {"wiki", env.WikiHost + ".", state},
		{"wiki", "WIKI.acme.example", state}, {"wiki", env.WikiHost + "@evil.example", state}, {"wiki", env.WikiHost + "/evil", state}, {"wiki", env.WikiHost + "#", state}, {"wiki", env.WikiHost + "\x00", state},
		{"wiki", env.WikiHost + "\r\nLocation: https://evil.example", state}, {"wiki", "", state}, {"", env.WikiHost, state}, {"", "", state}, {"*", env.WikiHost, state}, {"../wiki", env.WikiHost, state},
		{"wiki", env.WikiHost, ""}, {"wiki", env.WikiHost, "A"}, {"wiki", env.WikiHost, state + "A"}, {"wiki", env.WikiHost, strings.Repeat("B", 43)}, {"wiki", env.WikiHost, "&code=x" + state[7:]},
		{"wiki", env.WikiHost, state[:42] + "\n"}, {"wiki", env.WikiHost, "https://evil.example/" + state[21:]}, {"wiki", "[::1]", state}, {"wiki", "127.0.0.1", state}, {"wiki", strings.Repeat("a.", 200) + "example", state},
	} {
		q := url.Values{"app": {c[0]}, "host": {c[1]}, "state": {c[2]}}
		for name, v := range map[string]*env.Visitor{"logged in": in, "logged out": w.visitor(t)} {
			p := look(t, v, http.MethodGet, w.Public+"/login?idp=idp&"+q.Encode())
			if p.Status < 400 || p.Header.Get("Location") != "" {
				t.Errorf("%s, %q: %d to %q", name, c, p.Status, p.Header.Get("Location"))
			}
		}
	}
	for _, more := range []string{"&return=https://evil.example", "&return=/", "&host=evil.example", "&app=board", "&state=x", "&unknown=1"} {
		q := url.Values{"app": {"wiki"}, "host": {env.WikiHost}, "state": {state}}
		if p := look(t, in, http.MethodGet, w.Public+"/login?"+q.Encode()+more); p.Status < 400 {
			t.Errorf("%s: %d to %q", more, p.Status, p.Header.Get("Location"))
		}
	}
}

// TestRedirectOfTheHostHeader writes another host than that of TLS into requests: they
// are refused, and no answer of the gateway or of mayflyd leads to it.
func TestRedirectOfTheHostHeader(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	mine := enter(t, w.visitor(t), w.App(env.WikiHost, "/team"), "alice")
	for _, head := range []string{
		"GET /team HTTP/1.1\r\nHost: " + env.BoardHost, "GET /team HTTP/1.1\r\nHost: evil.example", "GET /team HTTP/1.1\r\nHost: " + env.WikiHost + ".evil.example", "GET /team HTTP/1.1\r\nHost: evil.example@" + env.WikiHost,
		"GET /team HTTP/1.1\r\nHost: " + env.WikiHost + "@evil.example", "GET /team HTTP/1.1\r\nHost: localhost", "GET https://evil.example/team HTTP/1.1\r\nHost: " + env.WikiHost, "GET https://" + env.BoardHost + "/ HTTP/1.1\r\nHost: " + env.WikiHost,
		"GET /team HTTP/1.1\r\nHost: " + env.WikiHost + "\r\nHost: evil.example", "GET /team HTTP/1.1\r\nHost: ", "GET /team HTTP/1.1\r\nHost: " + env.WikiHost + ".", "GET /team HTTP/1.1\r\nHost: " + env.WikiHost + "\\evil.example",
	} {
		res, err := raw(t, w, w.gw.People, env.WikiHost, head+"\r\nCookie: __Host-mayfly="+mine+"\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
		if err != nil {
			continue // it hung up
		}
		if to := res.Header.Get("Location"); res.StatusCode < 400 || to != "" {
			t.Errorf("%q: %d to %q", head, res.StatusCode, to)
		}
	}
	for _, more := range []string{"X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Host: evil.example", "X-Original-URL: https://evil.example/", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1"} {
		res, err := raw(t, w, w.gw.People, env.WikiHost, "GET /team HTTP/1.1\r\nHost: "+env.WikiHost+"\r\n"+more+"\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
		if err != nil || res.StatusCode != http.StatusFound {
			t.Fatal(res, err)
		}
		if to := res.Header.Get("Location"); originOf(t, to) != w.Public || queryOf(t, to, "host") != env.WikiHost {
			t.Errorf("%s: %q", more, to)
		}
	}
	u, err := url.Parse(w.Public)
	if err != nil {
		t.Fatal(err)
	}
	console := w.atConsole(t, w.visitor(t), "alice")
	for _, host := range []string{"evil.example", env.WikiHost, "localhost:1", u.Host + "@evil.example"} {
		for _, path := range []string{"/", "/login?idp=idp", "/login?" + url.Values{"app": {"wiki"}, "host": {env.WikiHost}, "state": {strings.Repeat("A", 43)}}.Encode(), "/ask?entitlement=wiki/write"} {
			for _, cookie := range []string{"", console} {
				res, err := raw(t, w, u.Host, "localhost", "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nX-Forwarded-Host: "+host+"\r\nCookie: "+api.ConsoleCookie+"="+cookie+"\r\nConnection: close\r\n\r\n")
				if err != nil {
					continue
				}
				to := res.Header.Get("Location")
				if at, err := url.Parse(to); err != nil || at.Host == host || strings.Contains(at.Host, "evil") || strings.Contains(at.RawQuery, "evil") {
					t.Errorf("mayflyd, Host %s, %s: to %q", host, path, to)
				}
			}
		}
	}
}
