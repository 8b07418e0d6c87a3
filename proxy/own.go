package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

// The paths that are ours on every app's host. Nothing below them reaches an app,
// at any door.
const (
	ownPrefix    = "/.mayfly"
	pathCallback = "/.mayfly/callback"
	pathLogout   = "/.mayfly/logout"
)

// ownPath reports whether a path, with its query, is ours.
func ownPath(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	if len(path) < len(ownPrefix) || !strings.EqualFold(path[:len(ownPrefix)], ownPrefix) {
		return false
	}
	return len(path) == len(ownPrefix) || path[len(ownPrefix)] == '/'
}

// own answers on a path of ours at the people door.
func (c *Checker) own(ctx context.Context, v *ruling) (*app.Response, error) {
	v.own = true
	path, query, _ := strings.Cut(v.r.HTTP.Path, "?")
	switch method := v.r.HTTP.Method; {
	case path == pathCallback && method == http.MethodGet:
		return c.callback(ctx, v, query)
	case path == pathLogout && reads(method):
		return c.logoutPage(v), nil
	case path == pathLogout && method == http.MethodPost:
		return c.logout(ctx, v), nil
	}
	v.status = http.StatusNotFound
	return nil, grant.Deny(grant.UnknownOperation, "the gateway has no such page")
}

// callback ends a login: the browser brings the code that the console gave it, and
// in its cookie the proof that the login began in this browser.
func (c *Checker) callback(ctx context.Context, v *ruling, query string) (*app.Response, error) {
	code, state, ok := readCallback(query)
	if !ok {
		return nil, grant.Deny(grant.LoginAgain, "the address that ends a login is not whole")
	}
	begun, others, ok := takeEntry(readEntries(v.cookies.login), state)
	if !ok {
		return nil, grant.Deny(grant.LoginAgain, "this login did not begin in this browser, or too long ago, or the browser keeps no cookies")
	}
	if !c.people.redeems.take(c.c.Table.clock.Boot()) {
		return nil, grant.Deny(grant.RateLimited, "too many logins end at this moment")
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s := newSecret()
	r, err := c.c.Sessions.Redeem(ctx, v.app.Name, hostOf(v.r.HTTP.Authority), code, state, s.hash())
	if err != nil {
		return nil, unanswered(err, "the control plane did not end the login")
	}
	v.now = c.c.Table.Now()
	if _, err := c.answered(v, r, s.hash()); err != nil {
		return nil, err
	}
	h := pageHeader("text/plain; charset=utf-8")
	h.Set("Location", begun.back())
	h["Set-Cookie"] = []string{setCookie(cookieSession, s.text, ""), writeEntries(others)}
	return &app.Response{Status: http.StatusSeeOther, Header: h}, nil
}

// readCallback takes exactly one code and one state.
func readCallback(query string) (code, state string, ok bool) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values) != 2 || len(values["code"]) != 1 || len(values["state"]) != 1 {
		return "", "", false
	}
	code, state = values.Get("code"), values.Get("state")
	_, isHash := parseSecret(state) // of the same form
	return code, state, isHash && code != "" && len(code) <= 256 && strings.Trim(code, alphabet) == ""
}

// logoutPage asks before it ends anything: a page that a link leads to acts on
// nothing.
func (c *Checker) logoutPage(v *ruling) *app.Response {
	p := page{
		Title: "Log out of " + v.app.Name, App: v.app.Name, Text: []string{"Your session on this host ends. You stay logged in at the console and at other apps."},
		Form:  &form{Action: pathLogout, Button: "Log out"},
		Links: []link{{Href: "/", Text: "Stay logged in"}},
	}
	if !v.cookies.found {
		p.Text, p.Form, p.Links = []string{"You are not logged in on this host."}, nil, []link{{Href: "/", Text: "Log in"}}
	}
	return c.pages.render(p, http.StatusOK)
}

// logout ends the session of the cookie. The cookie goes in any case, and the
// session counts no more at this gateway, even if the control plane does not hear.
func (c *Checker) logout(ctx context.Context, v *ruling) *app.Response {
	p := page{
		Title: "Logged out of " + v.app.Name, App: v.app.Name, Text: []string{"The session on this host has ended. To log out everywhere, log out of the console."},
		// The console's button does it: a link that ended something would be anybody's.
		Links: []link{{Href: v.app.Console + "/", Text: "Log out everywhere", Primary: true}, {Href: "/", Text: "Log in again"}},
	}
	if !c.leave(ctx, v) {
		p.Text = []string{"This browser has forgotten the session, but the control plane did not answer. To be sure that it has ended, log out of the console."}
	}
	resp := c.pages.render(p, http.StatusOK)
	resp.Header.Set("Set-Cookie", setCookie(cookieSession, "", "0"))
	return resp
}

// leave reports whether the session of the cookie is over for everybody.
func (c *Checker) leave(ctx context.Context, v *ruling) bool {
	s, ok := parseSecret(v.cookies.session)
	if !ok {
		return true
	}
	hash := s.hash()
	h, known := c.c.Table.state.Load().seats.get(hash)
	if known && h.past || c.people.refused.Contains(hash) {
		return true
	}
	if known && h.session.of(v) != nil {
		return true // not a session of this host: nobody logs out of it here
	}
	if known {
		c.people.left.Add(hash, struct{}{})
	} else if !c.people.lookups.take(c.c.Table.clock.Boot()) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if err := c.c.Sessions.End(ctx, v.app.Name, hash); err != nil {
		c.c.Log.WarnContext(ctx, "a session could not be ended at the control plane", "app", v.app.Name, "error", err)
		return false
	}
	return true
}
