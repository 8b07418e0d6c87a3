package attack

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/test/env"
)

func secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// script makes a request what a page's script would send.
var script = []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}

// TestSessionCountsAtItsOwnDoorOnly brings each kind of proof, all of them live and of
// the same person, to every door that is not its own.
func TestSessionCountsAtItsOwnDoorOnly(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	wiki, board := w.App(env.WikiHost, "/team"), w.App(env.BoardHost, "/")
	onWiki := enter(t, v, wiki, "alice")
	console := v.Cookies(w.Public)[api.ConsoleCookie]
	bearer, key, err := w.Secret(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	const api1 = "/api/v1/whoami"
	for _, c := range []struct {
		name, address string
		header        [2]string
		status        int
	}{
		{"the wiki's at the board", board, [2]string{"Cookie", "__Host-mayfly=" + onWiki}, 401},
		{"the console's at the wiki", wiki, [2]string{"Cookie", "__Host-mayfly=" + console}, 401},
		{"the console's under its own name", wiki, [2]string{"Cookie", api.ConsoleCookie + "=" + console}, 401},
		{"the command's at the wiki", wiki, [2]string{"Cookie", "__Host-mayfly=" + bearer}, 401},
		{"the command's as bearer at the wiki", wiki, [2]string{"Authorization", "Bearer " + bearer}, 401},
		{"the wiki's as bearer at the wiki", wiki, [2]string{"Authorization", "Bearer " + onWiki}, 401},
		{"the wiki's under another name", wiki, [2]string{"Cookie", "__host-mayfly=" + onWiki}, 401},
		{"the wiki's at the console", w.Public + "/", [2]string{"Cookie", api.ConsoleCookie + "=" + onWiki}, 303},
		{"the command's at the console", w.Public + "/", [2]string{"Cookie", api.ConsoleCookie + "=" + bearer}, 303},
		{"the command's as bearer at the console", w.Public + "/", [2]string{"Authorization", "Bearer " + bearer}, 303},
		{"the console's as bearer at the API", w.Public + api1, [2]string{"Authorization", "Bearer " + console}, 401},
		{"the console's as cookie at the API", w.Public + api1, [2]string{"Cookie", api.ConsoleCookie + "=" + console}, 401},
		{"the command's as cookie at the API", w.Public + api1, [2]string{"Cookie", api.ConsoleCookie + "=" + bearer}, 401},
		{"the command's without its key at the API", w.Public + api1, [2]string{"Authorization", "DPoP " + bearer}, 401},
		{"the command's as bearer at the API", w.Public + api1, [2]string{"Authorization", "Bearer " + bearer}, 401},
		{"the wiki's as bearer at the API", w.Public + api1, [2]string{"Authorization", "Bearer " + onWiki}, 401},
	} {
		thief := w.visitor(t)
		p := look(t, thief, http.MethodGet, c.address, append(script, c.header[0], c.header[1])...)
		refused(t, c.name, p, c.status)
		if p.Status == http.StatusSeeOther && !strings.HasPrefix(p.Header.Get("Location"), "/login") {
			t.Errorf("%s leads to %s", c.name, p.Header.Get("Location"))
		}
	}
	// And each counts at its own.
	l.allow("wiki", "GET", "/team", alice)
	for name, p := range map[string]env.Page{
		"wiki":    look(t, w.visitor(t), http.MethodGet, wiki, append(script, "Cookie", "__Host-mayfly="+onWiki)...),
		"console": look(t, w.visitor(t), http.MethodGet, w.Public+"/", "Cookie", api.ConsoleCookie+"="+console),
	} {
		if p.Status != http.StatusOK {
			t.Errorf("%s: %d %.300s", name, p.Status, p.Text)
		}
	}
	client, err := w.Client(bearer, key)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := client.Whoami(t.Context()); err != nil || who.Principal != alice {
		t.Errorf("the command's at the API: %+v, %v", who, err)
	}
}

// TestSessionIsNothingAtTheServicesDoor brings a live cookie to the door of services:
// without a certificate, and with that of a workload that may do nothing, or that may
// do something itself.
func TestSessionIsNothingAtTheServicesDoor(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	board := w.App(env.BoardHost, "/")
	cookie := "__Host-mayfly=" + enter(t, v, board, "alice")

	answer, err := raw(t, w, w.gw.Address, env.BoardHost, "GET / HTTP/1.1\r\nHost: "+env.BoardHost+"\r\nCookie: "+cookie+"\r\nConnection: close\r\n\r\n")
	if err == nil {
		t.Errorf("without a certificate: %d", answer.StatusCode)
	}
	send := func(name string) (int, string) {
		c, err := w.Caller(t.Context(), name, w.gw)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+env.BoardHost+"/services", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", "theme=dark; "+cookie)
		req.Header.Set("X-Auth-User", forged)
		req.Header.Set("X-Auth-Groups", forged)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	if status, text := send("shop"); status != http.StatusForbidden {
		t.Errorf("a workload without access, with alice's cookie: %d %s", status, text)
	}
	reporter, err := w.WorkloadAPIClient(t.Context(), "reporter")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Grant(t.Context(), reporter, nil, api.Ask{Entitlement: "board/read"}); err != nil {
		t.Fatal(err)
	}
	l.allow("board", "GET", "/services", "") // as itself, and told nothing of alice
	eventually(t, "the reporter reads the board", func() error {
		if status, text := send("reporter"); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	for _, a := range w.board.Arrivals() {
		if a.Path == "/services" && a.Header.Get("Cookie") != "theme=dark" {
			t.Errorf("the app is given the cookie %q", a.Header.Get("Cookie"))
		}
	}
}

// TestSessionGuessing tries made-up secrets at every door for people. None opens
// anything; the gateway asks mayflyd about a bounded number of them; and who is
// logged in works on.
func TestSessionGuessing(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	page := w.App(env.WikiHost, "/team")
	owner := w.visitor(t)
	mine := enter(t, owner, page, "alice")
	thief := w.visitor(t)
	counts := map[int]int{}
	for n := range 300 {
		guess := secret()
		switch n {
		case 0:
			guess = strings.ToLower(mine)
		case 1:
			guess = mine[:42]
		case 2:
			guess = mine + "A"
		case 3:
			guess = `"` + mine + `"`
		case 4:
			guess = "%" + mine
		}
		p := look(t, thief, http.MethodGet, page, append(script, "Cookie", "__Host-mayfly="+guess)...)
		if counts[p.Status]++; p.Status != http.StatusUnauthorized && p.Status != http.StatusTooManyRequests {
			t.Fatalf("guess %d: %d %s", n, p.Status, p.Text)
		}
		refused(t, "a guess", p, p.Status)
	}
	if counts[http.StatusTooManyRequests] == 0 {
		t.Error("guesses are not bounded")
	}
	l.allow("wiki", "GET", "/team", alice)
	if p := look(t, owner, http.MethodGet, page); p.Status != http.StatusOK {
		t.Errorf("the owner, during the flood: %d %s", p.Status, p.Text)
	}
	for range 50 {
		refused(t, "the console", look(t, thief, http.MethodGet, w.Public+"/", "Cookie", api.ConsoleCookie+"="+secret()), http.StatusSeeOther)
		refused(t, "the API", look(t, thief, http.MethodGet, w.Public+"/api/v1/whoami", "Authorization", "Bearer "+secret()), http.StatusUnauthorized)
	}
}

// TestSessionCookieTwice sends two session cookies, of which one is alice's: nobody
// says which of them counts.
func TestSessionCookieTwice(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	page := w.App(env.WikiHost, "/team")
	mine := enter(t, w.visitor(t), page, "alice")
	theirs := enter(t, w.visitor(t), page, "carol")
	for _, cookies := range []string{
		"__Host-mayfly=" + mine + "; __Host-mayfly=" + theirs, "__Host-mayfly=" + theirs + "; __Host-mayfly=" + mine,
		"__Host-mayfly=" + mine + ";__Host-mayfly=" + mine, "__Host-mayfly=; __Host-mayfly=" + mine,
	} {
		refused(t, cookies[:20], look(t, w.visitor(t), http.MethodGet, page, "Cookie", cookies), http.StatusBadRequest)
	}
	v := w.visitor(t)
	one, other := w.atConsole(t, v, "alice"), w.atConsole(t, w.visitor(t), "carol")
	name := api.ConsoleCookie
	refused(t, "at the console", look(t, w.visitor(t), http.MethodGet, w.Public+"/", "Cookie", name+"="+one+"; "+name+"="+other), http.StatusSeeOther)
}

// TestSessionCookieFromTheApp has an app answer with a cookie of our name: it does not
// reach the browser, the app's own does.
func TestSessionCookieFromTheApp(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/cookies")
	mine := enter(t, v, page, "alice")
	l.allow("wiki", "GET", "/cookies", alice)
	p := look(t, v, http.MethodGet, page)
	if got := strings.Join(p.Header.Values("Set-Cookie"), "|"); p.Status != http.StatusOK || got != "theme=dark" {
		t.Errorf("%d, the browser is given the cookies %q", p.Status, got)
	}
	if got := v.Cookies(page); got["__Host-mayfly"] != mine || got["theme"] != "dark" {
		t.Errorf("it keeps %v", got)
	}
}

// TestSessionTellsTheAppWhoItIs sends forged identity headers, in spellings that
// servers take for the same, and looks at what the app is told.
func TestSessionTellsTheAppWhoItIs(t *testing.T) {
	w := theWorld(t)
	l := w.watch(t)
	v := w.visitor(t)
	page := w.App(env.WikiHost, "/team")
	enter(t, v, page, "alice")
	l.allow("wiki", "GET", "/team", alice)
	p := look(t, v, http.MethodGet, page, "X-Auth-User", forged, "X-Auth-User", forged, "X-Auth-Groups", forged, "X-Auth-Email", forged, "Cookie", "a=b")
	if p.Status != http.StatusOK {
		t.Errorf("%d %s", p.Status, p.Text)
	}
	// An underscore is a hyphen to CGI, WSGI and Rack: Envoy drops or refuses it.
	l.allow("wiki", "GET", "/team", alice)
	cookie := v.Cookies(page)["__Host-mayfly"]
	_, err := raw(t, w, w.gw.People, env.WikiHost, "GET /team HTTP/1.1\r\nHost: "+env.WikiHost+"\r\nX_Auth_User: "+forged+"\r\nx_auth-user: "+forged+"\r\nCookie: __Host-mayfly="+cookie+"\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Error(err)
	}
}

// raw sends bytes over TLS to an address, under a server name, and reads one answer.
func raw(t testing.TB, w *world, address, sni, text string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: sni, RootCAs: w.Roots(), NextProtos: []string{"http/1.1"}}}
	if address == w.gw.Address { // its certificate is a SPIFFE one, and this is about ours
		d.Config.InsecureSkipVerify = true
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return exchange(ctx, conn, text)
}

func exchange(ctx context.Context, conn net.Conn, text string) (*http.Response, error) {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res, nil
}

// TestSessionOwnPathsReachNoApp asks for paths of ours, written in every way that some
// server takes for them, at both doors: with access to everything, nothing arrives.
func TestSessionOwnPathsReachNoApp(t *testing.T) {
	w := theWorld(t)
	w.watch(t)
	v := w.visitor(t)
	cookie := enter(t, v, w.App(env.BoardHost, "/"), "alice")
	reporter, err := w.Caller(t.Context(), "reporter", w.gw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reporter.Close)
	client, err := w.WorkloadAPIClient(t.Context(), "reporter")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Grant(t.Context(), client, nil, api.Ask{Entitlement: "board/read"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/.mayfly", "/.mayfly/", "/.mayfly/x", "/.mayfly?x", "/.mayfly/callback", "/.mayfly/callback/", "/.mayfly/logout/x", "/.MAYFLY/x", "/.Mayfly/callback",
		"//.mayfly/x", "///.mayfly/x", "/./.mayfly/x", "/a/../.mayfly/x", "/%2emayfly/x", "/%2Emayfly/x", "/.%6dayfly/x", "/%252emayfly/x", "/.mayfly%2fx", "/.mayfly%2Fcallback",
		"/.mayfly;x/y", "/.mayfly;", "/.mayfly;/callback", "/;/.mayfly/x", "/x;/../.mayfly/x", "/.mayfly%3bx/y", `/.mayfly\x`, `/\.mayfly/x`, "/.mayfly%5cx", "/.mayfly%00/x",
		"/..mayfly/../.mayfly/x", "https://" + env.BoardHost + "/.mayfly/x",
	} {
		res, err := raw(t, w, w.gw.People, env.BoardHost, "GET "+path+" HTTP/1.1\r\nHost: "+env.BoardHost+"\r\nCookie: __Host-mayfly="+cookie+"\r\nConnection: close\r\n\r\n")
		if err != nil {
			t.Errorf("people, %s: %v", path, err)
		} else if res.StatusCode < 300 {
			t.Errorf("people, %s: %d", path, res.StatusCode)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+env.BoardHost+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = path // as it is
		if strings.HasPrefix(path, "https:") {
			req.URL.Opaque = strings.TrimPrefix(path, "https:")
		}
		answer, err := reporter.Do(req)
		if err != nil {
			continue // not even a request
		}
		_ = answer.Body.Close()
		if answer.StatusCode < 300 {
			t.Errorf("services, %s: %d", path, answer.StatusCode)
		}
	}
}
