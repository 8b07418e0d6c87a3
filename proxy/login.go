package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	maxEntries   = 4    // logins under way in one browser, on one host
	maxReturn    = 2048 // bytes of a path to come back to
	maxLogin     = 3800 // bytes of the cookie: browsers keep 4096 with its name
	loginSeconds = "900"
)

// entry is one login under way in a browser: a nonce and where it began. Whoever
// knows only its state, its SHA-256, cannot make it.
type entry string

func newEntry(back string) entry {
	return entry(newSecret().text + "." + base64.RawURLEncoding.EncodeToString([]byte(back)))
}

// state is what the console is told of an entry, and gives back.
func (e entry) state() string {
	sum := sha256.Sum256([]byte(e))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// back is the path that the person wanted, "/" if the browser's cookie does not
// say one that is safe to send it to.
func (e entry) back() string {
	_, text, _ := strings.Cut(string(e), ".")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "/"
	}
	return safeReturn(string(raw))
}

// readEntries reads the login cookie, newest first; what is no entry is left out.
func readEntries(cookie string) []entry {
	if len(cookie) > maxLogin {
		return nil
	}
	var out []entry
	for text := range strings.SplitSeq(cookie, "~") {
		nonce, back, ok := strings.Cut(text, ".")
		_, isSecret := parseSecret(nonce)
		if ok && isSecret && strings.Trim(back, alphabet) == "" && len(out) < maxEntries {
			out = append(out, entry(text))
		}
	}
	return out
}

// alphabet is that of base64url.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// writeEntries is the Set-Cookie of the logins under way, without the oldest that
// the cookie has no room for; of none, it removes the cookie.
func writeEntries(entries []entry) string {
	if len(entries) == 0 {
		return setCookie(cookieLogin, "", "0")
	}
	value := string(entries[0])
	for _, e := range entries[1:min(len(entries), maxEntries)] {
		if len(value)+1+len(e) > maxLogin {
			break
		}
		value += "~" + string(e)
	}
	return setCookie(cookieLogin, value, loginSeconds)
}

// takeEntry finds the login that a state belongs to, and the others.
func takeEntry(entries []entry, state string) (found entry, rest []entry, ok bool) {
	for _, e := range entries {
		if subtle.ConstantTimeCompare([]byte(e.state()), []byte(state)) == 1 {
			found, ok = e, true
		} else {
			rest = append(rest, e)
		}
	}
	return found, rest, ok
}

// safeReturn is path if a browser that is sent there stays on this host, at the
// app: one that can be read in one way only. Else it is "/".
func safeReturn(path string) string {
	if _, err := app.ParsePath(path); err != nil || len(path) > maxReturn || ownPath(path) {
		return "/"
	}
	return path
}

// redirectToLogin sends a browser without a session to the console, which sends it
// back with a code. What was refused, and why, it learns from the headers.
func redirectToLogin(v *ruling, d *grant.Denial) app.Response {
	address, cookie := loginAt(v)
	h := app.DenialHeader(d, "text/plain; charset=utf-8")
	h.Set("Location", address)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Set-Cookie", cookie)
	return app.Response{Status: http.StatusFound, Header: h, Body: []byte("Log in to go on.\n")}
}

// loginAt is where a login begins that ends at the page that was wanted, and the
// cookie by which it is known again. It asks for what the one before fell short of.
func loginAt(v *ruling) (address, cookie string) {
	e := newEntry(safeReturn(v.r.HTTP.Path))
	query := url.Values{"app": {v.app.Name}, "host": {hostOf(v.r.HTTP.Authority)}, "state": {e.state()}}
	if s := v.stepUp; s != nil && len(s.ACR) > 0 {
		query.Set("acr", strings.Join(s.ACR, " "))
	}
	if s := v.stepUp; s != nil && s.MaxAge > 0 {
		query.Set("max_age", strconv.Itoa(int(s.MaxAge.Seconds())))
	}
	return v.app.Console + "/login?" + query.Encode(), writeEntries(append([]entry{e}, readEntries(v.cookies.login)...))
}

// sendsToLogin reports whether a refusal is mended by a login: nobody is logged in,
// and a browser waits for a page of the app.
func sendsToLogin(v *ruling, d *grant.Denial) bool {
	return v.r.Door == DoorPeople && v.app != nil && !v.own && (d.Reason == grant.NoIdentity || d.Reason == grant.SessionEnded) &&
		reads(v.r.HTTP.Method) && navigates(v.r)
}

// navigates reports whether a browser would show the answer in place of the page:
// only then is a login of use. Fetch metadata says it; older browsers ask for HTML.
func navigates(r *Request) bool {
	h := r.HTTP.Header
	if len(h["Upgrade"]) > 0 || len(h["X-Requested-With"]) > 0 {
		return false
	}
	if modes := h["Sec-Fetch-Mode"]; len(modes) > 0 {
		return len(modes) == 1 && modes[0] == "navigate"
	}
	return takesHTML(r)
}

// takesHTML reports whether Accept lists text/html.
func takesHTML(r *Request) bool {
	for _, v := range r.HTTP.Header["Accept"] {
		for item := range strings.SplitSeq(v, ",") {
			kind, weight, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") && strings.ReplaceAll(weight, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}

// reads reports whether a method is to change nothing, by HTTP's word.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }
