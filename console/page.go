package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
)

// page is what every template gets.
type page struct {
	Title   string
	Section string    // of the navigation
	Who     *visit    // nil: nobody is logged in
	Now     time.Time // by the store's clock
	Notice  *notice
	// Live pages are fetched again when something of their reader's changed. Hold
	// names what must not change beneath a reader's hand: if it would, they are told.
	Live  bool
	Hold  string
	Every int // seconds after which a page with a script is fetched again; 0: never
	Poll  int // the same for a page without one
	// Continue is the address where the browser goes by itself after a moment.
	Continue string
	Dev      bool
	Policy   []string // what people are to know of policy
	Observed observedView
	// FormTo is an origin where the answer to the page's form may lead, beside our own.
	FormTo   string
	Passkeys bool // its script asks the browser for a passkey
	Body     any
}

// notice is a message above a page.
type notice struct {
	Kind  string // good, bad or info
	Title string
	Text  string
}

// parse reads each page's template with the layout and the parts that pages share.
func parse(a assets) (map[string]*template.Template, error) {
	base := template.New("layout.html").Funcs(template.FuncMap{
		"asset": func(name string) (string, error) {
			if p, ok := a.paths[name]; ok {
				return p, nil
			}
			return "", fmt.Errorf("no asset %q", name)
		},
		"instant": instant,
	})
	base, err := base.ParseFS(embedded, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		return nil, err
	}
	out := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if out[name], err = t.ParseFS(embedded, file); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// policyNotices never keeps a page from anybody: where nothing is known, that is said.
func (c *Console) policyNotices(ctx context.Context) []string {
	out, err := c.service.PolicyNotices(ctx)
	if err != nil && ctx.Err() == nil {
		c.c.Log.ErrorContext(ctx, "how policy stands is not known", "error", err)
		return []string{"How policy stands cannot be told at the moment."}
	}
	return out
}

// render writes one page, or nothing of it.
func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) error {
	if p.Now.IsZero() {
		p.Now = c.c.Now()
	}
	p.Dev, p.Observed = c.c.Dev, c.observed(r, p.Who, p.Now)
	if p.Who != nil {
		p.Policy = c.policyNotices(r.Context())
	}
	t, ok := c.templates[name]
	if !ok {
		return fmt.Errorf("no page %q", name)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	body := visible(b.Bytes())
	secure(w.Header())
	if p.FormTo != "" {
		w.Header().Set("Content-Security-Policy", contentPolicy(p.FormTo))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader who is gone is nobody to tell
	}
	return nil
}

// visible shows every character that would not print as its escape: marks of
// direction could show another text than was written. It stands after the
// templates so that no text can go around it; joiners, which scripts need, stay.
func visible(page []byte) []byte {
	const nonJoiner, joiner = '\u200c', '\u200d'
	out := make([]byte, 0, len(page))
	for len(page) > 0 {
		c, n := utf8.DecodeRune(page)
		switch {
		case c == '\r':
		case c == '\n', c == '\t', c == nonJoiner, c == joiner, unicode.IsGraphic(c) && (c != utf8.RuneError || n > 1):
			out = append(out, page[:n]...)
		case c == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, page[0])
		default:
			out = fmt.Appendf(out, `\u%04x`, c)
		}
		page = page[n:]
	}
	return out
}

// secure sets what every answer carries: nothing is cached, framed, sniffed or
// loaded from elsewhere. The Origin of our own forms must be sent, so the
// referrer is kept on this origin.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentPolicy(""))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// contentPolicy is the Content-Security-Policy of a page. Browsers hold the redirects
// after a form to form-action too.
func contentPolicy(formTo string) string {
	return "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action " + strings.TrimSpace("'self' "+formTo) + "; frame-ancestors 'none'; base-uri 'none'"
}

// guard sets the headers, and answers a panic with a page if it still can.
func (c *Console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		out := &answer{ResponseWriter: w}
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if fault != http.ErrAbortHandler {
				c.c.Log.ErrorContext(r.Context(), "panic", "route", r.Pattern, "value", fault, "stack", string(debug.Stack()))
			}
			if out.begun {
				panic(http.ErrAbortHandler) // half an answer must not look whole
			}
			c.problem(out, r, nil, problemOf(errors.New("panic")))
		}()
		next.ServeHTTP(out, r)
	})
}

// answer knows whether anything was answered.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// refuse answers with the page of err; v is nil where nobody is logged in.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		c.c.Log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "code", p.Code, "cause", causeOf(err))
	}
	c.problem(w, r, v, p)
}

// Problem renders p as a page, with its status.
func (c *Console) Problem(w http.ResponseWriter, r *http.Request, p *api.Problem) {
	c.problem(w, r, nil, p)
}

// problemView is the page of a problem. Login is where to log in again, "" if
// that does not help.
type problemView struct {
	*api.Problem
	Login string
}

func (c *Console) problem(w http.ResponseWriter, r *http.Request, v *visit, p *api.Problem) {
	view := problemView{Problem: p}
	if p.Code == string(access.CodeLoginAgain) || p.Code == string(access.CodeNoSession) {
		view.Login = loginURL(r)
	}
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if err := c.render(w, r, p.Status, "problem", page{Title: p.Title, Who: v, Body: view}); err != nil {
		c.c.Log.ErrorContext(r.Context(), "problem not rendered", "error", err)
		http.Error(w, p.Title, p.Status)
	}
}

// choice is one identity provider to log in at.
type choice struct{ Name, Next string }

// Choose renders the choice of an identity provider; next says where each leads.
func (c *Console) Choose(w http.ResponseWriter, r *http.Request, names []string, next func(name string) string) {
	list := make([]choice, len(names))
	for i, name := range names {
		list[i] = choice{name, next(name)}
	}
	if err := c.render(w, r, http.StatusOK, "choose", page{Title: "Log in", Body: list}); err != nil {
		c.refuse(w, r, nil, err)
	}
}

// Confirm asks whether the command may act as the person who has logged in.
func (c *Console) Confirm(w http.ResponseWriter, r *http.Request, ask api.CommandLogin) {
	formTo := "http://" + ask.Address
	if strings.HasPrefix(ask.Address, "[") {
		formTo = "http:" // no Content-Security-Policy can name an IPv6 address
	}
	if err := c.render(w, r, http.StatusOK, "confirm", page{Title: "Log in to the command", FormTo: formTo, Body: ask}); err != nil {
		c.refuse(w, r, nil, err)
	}
}

// LoggedOut says that the login has ended, and leads to a new one.
func (c *Console) LoggedOut(w http.ResponseWriter, r *http.Request) {
	if err := c.render(w, r, http.StatusOK, "goodbye", page{Title: "Logged out"}); err != nil {
		c.refuse(w, r, nil, err)
	}
}

// loginURL is where the reader of a page logs in and comes back to it. What was
// posted cannot be come back to: then it is the first page.
func loginURL(r *http.Request) string {
	back := "/"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		back = r.URL.RequestURI()
	}
	return "/login?return=" + url.QueryEscape(back)
}

const typePrefix = "urn:mayfly:problem:"

// problemOf turns any error into what the reader is told: a problem as it is, a
// Fault by the table of access, everything else internal and without its words.
func problemOf(err error) *api.Problem {
	var p *api.Problem
	if errors.As(err, &p) {
		return p
	}
	f := access.FaultOf(err)
	if f.Code == access.CodeInternal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return problem(http.StatusServiceUnavailable, "timeout", "It took too long", "The answer was not ready in time. Nothing is known to have changed.")
	}
	info := f.Info()
	return problem(info.HTTP, string(f.Code), info.Title, sentence(f.Sentence))
}

func problem(status int, code, title, detail string) *api.Problem {
	return &api.Problem{Type: typePrefix + code, Title: title, Status: status, Detail: detail, Code: code}
}

func noRoute() *api.Problem {
	return problem(http.StatusNotFound, "no_route", "Not found", "There is no page at this address.")
}

// causeOf returns the innermost private cause, which stands on no page.
func causeOf(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}
