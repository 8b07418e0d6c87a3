package server_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
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
	h := http.Header{}
	maps.Copy(h, header)
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		pairs = append(pairs, name+"="+b.cookies[name])
	}
	if len(pairs) > 0 {
		h.Set("Cookie", strings.Join(pairs, "; "))
	}
	res := b.w.do(ask{method: method, path: path, header: h, remote: b.remote})
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

// login logs name in at path and returns where the browser is sent at last.
func (b *browser) login(path, name string) string {
	b.w.t.Helper()
	return b.to(b.answer(path, name))
}
