package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/api"
)

// browser keeps the cookies of mayflyd's host, as a person's does.
type browser struct {
	w       *world
	remote  string
	cookies map[string]string
}

func (w *world) browser() *browser { return &browser{w: w, cookies: map[string]string{}} }

// same is another browser with a copy of the cookies.
func (b *browser) same() *browser {
	return &browser{w: b.w, remote: b.remote, cookies: maps.Clone(b.cookies)}
}

// get opens a path.
func (b *browser) get(path string) *httptest.ResponseRecorder { return b.send("GET", path, nil) }

// send sends a request, with the cookies, and keeps those that come back.
func (b *browser) send(method, path string, header http.Header) *httptest.ResponseRecorder {
	b.w.t.Helper()
	return b.sendBody(method, path, header, "")
}

func (b *browser) sendBody(method, path string, header http.Header, body string) *httptest.ResponseRecorder {
	b.w.t.Helper()
	h := http.Header{}
	maps.Copy(h, header)
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		pairs = append(pairs, name+"="+b.cookies[name])
	}
	if len(pairs) > 0 {
		h.Set("Cookie", strings.Join(pairs, "; "))
	}
	res := b.w.do(ask{method: method, path: path, header: h, body: body, remote: b.remote})
	for _, c := range res.Result().Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			b.w.t.Errorf("%s %s sets the cookie %s", method, path, c)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return res
}

// asked reads what a login of the command asks its person.
func (b *browser) asked(res *httptest.ResponseRecorder) (ask api.CommandLogin) {
	b.w.t.Helper()
	if res.Code != http.StatusOK || res.Header().Get("Location") != "" {
		b.w.t.Fatalf("nobody is asked: %d, sent to %q: %s", res.Code, res.Header().Get("Location"), res.Body)
	}
	if words := strings.Fields(res.Body.String()); len(words) == 5 && res.Header().Get("Content-Type") == "text/html" { // as drawn
		return api.CommandLogin{Name: words[0], Principal: words[1], Address: words[2], Code: words[3], Token: words[4]}
	}
	check(b.w.t, json.Unmarshal(res.Body.Bytes(), &ask))
	return ask
}

// confirm sends the form of that page, with the headers of whoever sends it.
func (b *browser) confirm(token, answer string, from http.Header) *httptest.ResponseRecorder {
	b.w.t.Helper()
	h := from.Clone()
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.sendBody("POST", "/login/confirm", h, url.Values{"token": {token}, "answer": {answer}}.Encode())
}

// ownPage is what a browser says of a form of mayflyd's own page.
func ownPage() http.Header { return http.Header{"Sec-Fetch-Site": {"same-origin"}} }

// to opens a path and returns where the browser is sent.
func (b *browser) to(path string) string {
	b.w.t.Helper()
	res := b.get(path)
	if res.Code != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", path, res.Code, res.Body)
	}
	return res.Header().Get("Location")
}

// answer begins a login at path, logs name in at the provider, and returns the
// path to which the provider sends the browser.
func (b *browser) answer(path, name string) string {
	b.w.t.Helper()
	auth := b.to(path)
	u, err := url.Parse(auth)
	check(b.w.t, err)
	back, err := url.Parse(u.Query().Get("redirect_uri"))
	check(b.w.t, err)
	return back.Path + "?" + b.w.browse(auth, name)
}

// login logs name in at path and returns where the browser is sent at last. Who is
// asked continues.
func (b *browser) login(path, name string) string {
	b.w.t.Helper()
	return b.end(b.answer(path, name))
}

// end opens the path of a provider's answer and returns where the browser is sent at
// last.
func (b *browser) end(answer string) string {
	b.w.t.Helper()
	res := b.get(answer)
	if res.Code == http.StatusOK {
		res = b.confirm(b.asked(res).Token, "continue", ownPage())
	}
	if res.Code != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", answer, res.Code, res.Body)
	}
	return res.Header().Get("Location")
}
