package server

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// browserCookie binds a login under way to the browser that began it. A stolen
// state is nothing in another browser, and nobody can be made to finish a login
// that somebody else began.
const browserCookie = "__Host-mayfly-oidc"

// setCookie sets a cookie of this host. No script and no other site's form has
// it: Lax lets it through where somebody follows a link, which is how a provider
// sends a browser back. The prefix keeps sibling hosts from setting it (RFC
// 6265bis §4.1.3.2). A life of 0 or less forgets it.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	seconds := int(life / time.Second)
	if seconds <= 0 {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns the value of a cookie of ours, "" if there is not exactly one
// that is well-formed.
func cookie(r *http.Request, name string) string {
	found := r.CookiesNamed(name)
	if len(found) != 1 || !urlText(found[0].Value, 43, 43) {
		return ""
	}
	return found[0].Value
}

// bind returns the value that binds a login to the browser of r: the one that it
// has, so that logins in several tabs do not disturb each other, or a new one.
func bind(w http.ResponseWriter, r *http.Request) string {
	value := cookie(r, browserCookie)
	if value == "" {
		value = random()
	}
	setCookie(w, browserCookie, value, loginLife)
	return value
}

// consoleSession returns the live console session of a browser; the zero Session
// if it has none.
func (s *Server) consoleSession(r *http.Request) (access.Session, error) {
	secret := cookie(r, api.ConsoleCookie)
	if secret == "" {
		return access.Session{}, nil
	}
	session, err := s.service.Session(r.Context(), access.SessionConsole, access.ParseSessionSecret(secret))
	if access.CodeOf(err) == access.CodeNoSession {
		return access.Session{}, nil
	}
	return session, err
}

// sameOrigin refuses what another site makes a browser send, a sibling host's
// among them. Browsers say where a request comes from, and no page can change
// that; what says nothing is refused.
func (s *Server) sameOrigin(r *http.Request) error {
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case len(site) == 1 && (site[0] == "same-origin" || site[0] == "none"):
		return nil
	case len(site) == 0 && len(origin) == 1 && origin[0] == s.origin:
		return nil
	}
	return crossSite()
}

// ownPage is sameOrigin that takes a form of our own pages only, not what a browser
// sends for no page.
func (s *Server) ownPage(r *http.Request) error {
	if site := r.Header.Values("Sec-Fetch-Site"); len(site) == 1 && site[0] == "none" {
		return crossSite()
	}
	return s.sameOrigin(r)
}

func crossSite() error {
	return problem(http.StatusForbidden, codeCrossSite, "Not from another site", "this can only be sent from a page of Mayfly's own")
}

// originOf returns the origin of an https address as browsers write it.
func originOf(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return "https://" + strings.TrimSuffix(strings.ToLower(u.Host), ":443"), true
}

// maxReturn bounds the address that a browser comes back to, in bytes.
const maxReturn = 2048

// returnPath returns where a browser goes after its login: a path of the console
// with its query, or / if text is anything else. Nobody is led elsewhere.
func returnPath(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, len(text) > maxReturn, !strings.HasPrefix(text, "/"):
		return "/"
	case u.Scheme != "" || u.Host != "" || u.User != nil || u.Fragment != "" || strings.ContainsFunc(u.Path+u.RawQuery, odd):
		return "/"
	case strings.Contains(u.Path, "//") || hasDots(u.Path) || Owns(u.Path):
		return "/"
	}
	return text
}

// odd reports what browsers drop, turn into a slash, or need not send.
func odd(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }

func hasDots(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// Owns reports whether a path of the public door is the Server's, the API, logins and
// the record, or no page at all: tokens are package oauth's. Every other one is the
// console's.
func Owns(path string) bool {
	switch path {
	case "/login", confirmPath, "/logout", "/checkpoint":
		return true
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "api", "hooks", "oidc", "oauth", ".well-known", "tile":
		return true
	}
	return false
}
