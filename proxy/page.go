package proxy

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // page.html
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
)

//go:embed page.html
var pageSource string

// page is what a person is shown by the gateway itself. Its texts may come from a
// request: the template escapes them. It runs no script.
type page struct {
	Title string
	App   string // whose host it is
	Text  []string
	Facts []fact
	Form  *form
	Links []link
}

type fact struct {
	Name, Value string
	Code        bool // an identifier, to be copied
}

type link struct {
	Href, Text string
	Primary    bool
}

type form struct{ Action, Button string }

// pages renders them. Nobody changes it after newPages.
type pages struct {
	template *template.Template
	policy   string // Content-Security-Policy: our one style, and forms to this host
}

func newPages() (*pages, error) {
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(pageSource, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return &pages{t, "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

func (ps *pages) render(p page, status int) *app.Response {
	h := pageHeader("text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ps.policy)
	var body bytes.Buffer
	if err := ps.template.Execute(&body, p); err != nil { // it runs on texts alone
		h.Set("Content-Type", "text/plain; charset=utf-8")
		return &app.Response{Status: status, Header: h, Body: []byte(http.StatusText(status))}
	}
	return &app.Response{Status: status, Header: h, Body: body.Bytes()}
}

// pageHeader are the headers of what a browser shows by itself: kept by nobody, and
// in nobody's frame.
func pageHeader(contentType string) http.Header {
	h := http.Header{}
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	return h
}

// wantsPage reports whether a person looks at the answer.
func wantsPage(v *ruling) bool {
	return v.r.Door == DoorPeople && v.app != nil && navigates(v.r) && takesHTML(v.r)
}

// denialPage shows a denial to a person: what was refused and why, what would allow
// it, and a way to ask for that.
func (ps *pages) denial(v *ruling, d *grant.Denial) app.Response {
	info := d.Info()
	p := page{Title: titleOf(d), App: v.app.Name, Text: []string{sentence(d.Sentence)}, Links: nextSteps(v, d)}
	if s := v.caller.session; s != nil {
		p.Facts = append(p.Facts, fact{Name: "You are", Value: shown(s)}, fact{"Account", s.Principal.String(), true})
		p.Text = append(p.Text, advice(d)...)
	}
	p.Facts = append(p.Facts, fact{Name: "App", Value: v.app.Name})
	if d.Entitlement != "" {
		p.Facts = append(p.Facts, fact{Name: "Allowed by", Value: d.Entitlement})
	}
	p.Facts = append(p.Facts, fact{"Reason", string(d.Reason), true})
	if !d.ID.IsZero() {
		p.Facts = append(p.Facts, fact{"Denial", d.ID.String(), true})
	}
	var begun string
	if v.stepUp != nil { // a button, not a redirect: a provider that never satisfies would send the browser in circles
		var address string
		address, begun = loginAt(v)
		p.Text = append(p.Text, "Log in again, the way that is asked for, and you come back to where you were going.")
		p.Links = append([]link{{Href: address, Text: "Log in again", Primary: true}}, p.Links...)
	}
	resp := *ps.render(p, info.HTTP)
	if begun != "" {
		resp.Header.Set("Set-Cookie", begun)
	}
	for name, values := range app.DenialHeader(d, resp.Header.Get("Content-Type")) {
		resp.Header[name] = values
	}
	return resp
}

// titleOf says of a form that was sent without a session what happened to it: a
// page would have been sent to log in.
func titleOf(d *grant.Denial) string {
	if d.Reason == grant.NoIdentity || d.Reason == grant.SessionEnded {
		return "Log in, then send it again"
	}
	return d.Info().Title
}

// advice says in words what the links are for.
func advice(d *grant.Denial) []string {
	switch {
	case d.Info().Retryable:
		return []string{"This may pass by itself. Try again in a moment."}
	case d.Entitlement != "":
		return []string{"You can ask for access. Once it is granted, you come back to where you were going."}
	case d.Info().HTTP == http.StatusForbidden && d.Reason != grant.CrossSite && d.Reason != grant.Locked:
		return []string{"No entitlement covers this. Ask the owner of the app."}
	}
	return nil
}

func nextSteps(v *ruling, d *grant.Denial) []link {
	var out []link
	if d.Entitlement != "" && v.caller.proven() {
		out = append(out, link{Href: askLink(v, d), Text: "Request access", Primary: true})
	}
	switch {
	case d.Reason == grant.NoIdentity || d.Reason == grant.SessionEnded:
		out = append(out, link{Href: "/", Text: "Log in", Primary: true})
	case d.Reason == grant.CrossSite:
		out = append(out, link{Href: "/", Text: "Open " + v.app.Name, Primary: true})
	case v.own:
		out = append(out, link{Href: "/", Text: "Start again", Primary: true})
	case d.Info().Retryable && reads(v.r.HTTP.Method):
		out = append(out, link{Href: safeReturn(v.r.HTTP.Path), Text: "Try again", Primary: true})
	}
	if v.caller.proven() {
		out = append(out, link{Href: pathLogout, Text: "Log out"})
	}
	return out
}

// askLink leads to the console with everything filled in, and from there back to
// the page that was refused.
func askLink(v *ruling, d *grant.Denial) string {
	query := url.Values{}
	if d.ID.IsZero() {
		query.Set("entitlement", d.Entitlement) // a denial that was only counted has no id
	} else {
		query.Set("denial", d.ID.String())
	}
	if reads(v.r.HTTP.Method) {
		query.Set("return", origin(v.r)+safeReturn(v.r.HTTP.Path))
	}
	return v.app.Console + "/ask?" + query.Encode()
}

// shown is the person as the app's own pages would show them, or by account.
func shown(s *Session) string {
	switch {
	case s.Name != "" && s.Email != "":
		return s.Name + " (" + s.Email + ")"
	case s.Name != "":
		return s.Name
	case s.Email != "":
		return s.Email
	}
	return s.Person.String()
}

// sentence makes a denial's sentence one that stands alone.
func sentence(s string) string {
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return s + "."
}
