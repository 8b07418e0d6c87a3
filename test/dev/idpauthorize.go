package dev

import (
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// authRequest is a checked authorization request that waits for its person.
type authRequest struct {
	client, redirect, state, nonce, challenge, scope string
}

// login is what a code stands for.
type login struct {
	authRequest
	user User
	at   time.Time
}

var loginPage = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Development login</title>
<h1>Development login</h1>
<p>{{.Client}} asks who you are. This provider believes any answer.</p>
<form method="post" action="/login">
<input type="hidden" name="page" value="{{.Page}}">
{{range .Users}}<p><button name="user" value="{{.Name}}">{{.Name}}</button> {{.Email}} {{range .Groups}}[{{.}}] {{end}}</p>
{{end}}<p><button name="user" value="">Cancel</button></p>
</form></html>
`))

// authorize shows the login page (OpenID Connect Core §3.1.2).
func (p *IdP) authorize(w http.ResponseWriter, r *http.Request) {
	q, ok := single(r)
	if !ok {
		http.Error(w, "invalid_request: malformed or repeated parameters", http.StatusBadRequest)
		return
	}
	client, ok := p.client(q.Get("client_id"))
	if !ok {
		http.Error(w, "unknown client_id", http.StatusBadRequest)
		return
	}
	ask := authRequest{
		client: client.ID, redirect: q.Get("redirect_uri"), state: q.Get("state"),
		nonce: q.Get("nonce"), challenge: q.Get("code_challenge"), scope: q.Get("scope"),
	}
	if !slices.ContainsFunc(client.Redirects, func(allowed string) bool { return sameRedirect(allowed, ask.redirect) }) {
		http.Error(w, "redirect_uri is not one of this client's", http.StatusBadRequest)
		return
	}
	if code, words := ask.fault(q); code != "" {
		p.back(w, r, ask, url.Values{"error": {code}, "error_description": {words}})
		return
	}
	page := unguessable()
	p.mu.Lock()
	err := p.pages.put(page, ask, p.now(), pageTTL)
	users := slices.Clone(p.users)
	p.mu.Unlock()
	if err != nil {
		p.back(w, r, ask, url.Values{"error": {"temporarily_unavailable"}, "error_description": {err.Error()}})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Frame-Options", "DENY")
	_ = loginPage.Execute(w, map[string]any{"Client": client.ID, "Page": page, "Users": users})
}

// fault returns the error of a request that goes back to the client, "" for none.
func (a authRequest) fault(q url.Values) (code, words string) {
	switch {
	case q.Get("response_type") != "code":
		return "unsupported_response_type", "want response_type=code"
	case q.Get("response_mode") != "" && q.Get("response_mode") != "query":
		return "invalid_request", "want response_mode=query"
	case !slices.Contains(strings.Fields(a.scope), "openid"):
		return "invalid_scope", "want scope openid"
	case q.Get("code_challenge_method") != "S256" || len(a.challenge) != 43:
		return "invalid_request", "want PKCE with code_challenge_method=S256"
	case q.Get("request") != "" || q.Get("request_uri") != "":
		return "request_not_supported", "request objects are not supported"
	case q.Get("prompt") == "none":
		return "login_required", "nobody stays logged in here"
	}
	return "", ""
}

// login takes the answer of the login page, once, and sends the person back.
func (p *IdP) login(w http.ResponseWriter, r *http.Request) {
	q, ok := single(r)
	if !ok {
		http.Error(w, "malformed or repeated parameters", http.StatusBadRequest)
		return
	}
	now := p.now()
	code := unguessable()
	p.mu.Lock()
	ask, shown := p.pages.take(q.Get("page"), now)
	user, known := p.user(q.Get("user"))
	var err error
	if shown && known {
		err = p.codes.put(code, login{authRequest: ask, user: user, at: now}, now, codeTTL)
	}
	p.mu.Unlock()
	switch {
	case !shown:
		http.Error(w, "this login page was used already, or is too old", http.StatusBadRequest)
	case err != nil:
		p.back(w, r, ask, url.Values{"error": {"temporarily_unavailable"}, "error_description": {err.Error()}})
	case !known:
		p.back(w, r, ask, url.Values{"error": {"access_denied"}, "error_description": {"the person did not log in"}})
	default:
		p.back(w, r, ask, url.Values{"code": {code}})
	}
}

// back redirects to the client, with state and with iss (RFC 9207 §2).
func (p *IdP) back(w http.ResponseWriter, r *http.Request, ask authRequest, q url.Values) {
	to, err := url.Parse(ask.redirect)
	if err != nil {
		http.Error(w, "redirect_uri", http.StatusBadRequest)
		return
	}
	all := to.Query()
	for k, v := range q {
		all[k] = v
	}
	all.Set("iss", p.issuer)
	if ask.state != "" {
		all.Set("state", ask.state)
	}
	to.RawQuery = all.Encode()
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

// single returns the parameters of r, if none comes twice (RFC 6749 §3.1).
func single(r *http.Request) (url.Values, bool) {
	if r.ParseForm() != nil {
		return nil, false
	}
	for _, v := range r.Form {
		if len(v) != 1 {
			return nil, false
		}
	}
	return r.Form, true
}

// sameRedirect compares byte for byte, except for the port on a loopback address.
func sameRedirect(allowed, asked string) bool {
	if allowed == asked {
		return true
	}
	a, err := url.Parse(allowed)
	if err != nil {
		return false
	}
	b, err := url.Parse(asked)
	if err != nil || b.Port() == "" || a.Hostname() != b.Hostname() {
		return false
	}
	if ip, err := netip.ParseAddr(a.Hostname()); err != nil || !ip.IsLoopback() {
		return false
	}
	b.Host = a.Host
	return a.String() == allowed && b.String() == allowed
}
