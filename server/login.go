package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

const (
	loginLife    = 10 * time.Minute // from the start to the provider's answer
	providerTime = 20 * time.Second // that a provider has for one answer
)

// purpose is what a login is for: an authorization code, a host of an app, or a
// page of the console. At most one field is set.
type purpose struct {
	Code   []byte           `json:"code,omitempty"` // what Server.Login was given
	App    *access.HandOver `json:"app,omitempty"`
	Return string           `json:"return,omitempty"`
}

// underWay is a login that is at the provider. Provider, state and browser are in
// its key: an answer that comes by the address of another provider (RFC 9700
// §4.4), with another state, or from another browser finds nothing, and takes
// nothing from whom it belongs to.
type underWay struct {
	Purpose purpose `json:"purpose"`
	Kept    []byte  `json:"kept"` // by the provider
}

func underWayKey(provider, state, browser string) string {
	return "oidc:" + provider + "." + state + "." + browser
}

// urlText reports whether s is base64url text of a length, as states, challenges
// and codes are.
func urlText(s string, least, most int) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(s) >= least && len(s) <= most && !strings.ContainsFunc(s, func(c rune) bool { return !strings.ContainsRune(alphabet, c) })
}

// isHash reports whether s is a SHA-256 in base64url, in its one spelling.
func isHash(s string) bool {
	_, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && urlText(s, 43, 43)
}

func badLogin(title, detail, next string) *api.Problem {
	p := problem(http.StatusBadRequest, codeBadLogin, title, detail)
	p.Next = next
	return p
}

// Login sends a browser to the identity provider of that name, or has its person
// choose one. What the login proves goes to Config.Authorization with kept, which
// no browser sees. It answers whole.
func (s *Server) Login(w http.ResponseWriter, r *http.Request, idp string, kept []byte) {
	m := newMux(s.c.Log, s.c.Pages)
	if s.c.Authorization == nil || len(kept) == 0 {
		m.refuse(w, r, errors.New("a login for a code that nobody gives"))
		return
	}
	err := s.logins.allow(r)
	if err == nil {
		err = s.start(w, r, idp, purpose{Code: kept}, loginAsked{})
	}
	if err != nil { // the command waits, and would not see a page
		m.note(r, err)
		s.c.Authorization.LoginFailed(w, r, kept, problemOf(err))
	}
}

// login logs a browser in to the console, for a page of it or for a host of an app
// (contracts §7). A browser that is logged in already goes on to the app at once.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r.URL.RawQuery, "app", "host", "state", "return", "idp", "acr", "max_age")
	if q.err != nil {
		return q.err
	}
	if q.values.Has("app") || q.values.Has("host") || q.values.Has("state") {
		return s.appLogin(w, r, q)
	}
	if err := s.logins.allow(r); err != nil {
		return err
	}
	return s.start(w, r, q.text("idp"), purpose{Return: returnPath(q.text("return"))}, loginAsked{})
}

func (s *Server) appLogin(w http.ResponseWriter, r *http.Request, q *query) error {
	h := access.HandOver{App: q.text("app"), Host: q.text("host"), State: q.text("state")}
	if q.values.Has("return") || !appName().MatchString(h.App) || !hostName().MatchString(h.Host) || len(h.Host) > 253 || !isHash(h.State) {
		return badLogin("Not a login of an app", "the address of an app's login has app, host and state, as the gateway writes them", "open the app's own address")
	}
	asked, err := readLoginAsked(q)
	if err != nil {
		return err
	}
	session, err := s.consoleSession(r)
	if err != nil {
		return err
	}
	if session.ID.IsZero() || !asked.met(session, s.c.Now()) {
		if err := s.logins.allow(r); err != nil {
			return err
		}
		if err := s.takesPeople(r.Context(), h); err != nil {
			return err
		}
		return s.start(w, r, q.text("idp"), purpose{App: &h}, asked)
	}
	return s.handOver(w, r, session, h)
}

// handOver sends a browser with a console session on to the host of an app.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request, session access.Session, h access.HandOver) error {
	to, err := s.service.HandOver(r.Context(), access.CallerOf(session), h)
	if err != nil {
		return err
	}
	redirect(w, to)
	return nil
}

// takesPeople spares people a login for what access.HandOver would refuse
// afterwards, which stays the one to decide.
func (s *Server) takesPeople(ctx context.Context, h access.HandOver) error {
	set, err := s.service.Policy(ctx)
	if err != nil {
		return err
	}
	if app, ok := set.AppByHost(h.Host); !ok || app.Name != h.App || !app.TakesPeople() {
		return problem(http.StatusNotFound, string(access.CodeNotFound), access.CodeNotFound.Info().Title,
			"there is no app "+quoted(h.App)+" at "+quoted(h.Host)+" that people reach with a browser")
	}
	return nil
}

func appName() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`) }

func hostName() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
}

// start sends a browser to the provider of that name, or has a person choose one.
func (s *Server) start(w http.ResponseWriter, r *http.Request, name string, p purpose, asked loginAsked) error {
	names := s.providerNames()
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if name == "" {
		return s.choose(w, r, names)
	}
	provider := s.provider(name)
	if provider == nil {
		out := badLogin("No such identity provider", "nobody logs in with "+quoted(name)+" here", "choose one of "+strings.Join(names, ", "))
		out.Allowed = names
		return out
	}
	ctx, cancel := context.WithTimeout(r.Context(), providerTime)
	defer cancel()
	state := random()
	to, kept, err := provider.Begin(ctx, state)
	if err != nil {
		return s.providerProblem(r.Context(), err)
	}
	if to, err = asked.at(to); err != nil {
		return s.providerProblem(r.Context(), err)
	}
	browser := bind(w, r)
	if err := s.keep(r.Context(), underWayKey(name, state, browser), underWay{Purpose: p, Kept: kept}, loginLife); err != nil {
		return err
	}
	redirect(w, to)
	return nil
}

// choose lets a person say with which provider they log in.
func (s *Server) choose(w http.ResponseWriter, r *http.Request, names []string) error {
	if s.c.Pages == nil {
		p := badLogin("Which identity provider?", "people log in with one of several identity providers here", "add idp=NAME to the address")
		p.Allowed = names
		return p
	}
	s.c.Pages.Choose(w, r, names, func(name string) string {
		q := r.URL.Query()
		q.Set("idp", name)
		return r.URL.Path + "?" + q.Encode()
	})
	return nil
}

func (s *Server) provider(name string) Provider {
	for _, p := range s.c.Providers {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

func (s *Server) providerNames() []string {
	var out []string
	for _, p := range s.c.Providers {
		out = append(out, p.Name())
	}
	return out
}

// again says how a person tries once more.
func (p purpose) again() string {
	switch {
	case p.Code != nil:
		return "mayfly login"
	case p.App != nil:
		return "open https://" + p.App.Host + " again"
	default:
		return "open /login again"
	}
}

// providerProblem says why a login failed. What the provider said is for the log.
func (s *Server) providerProblem(ctx context.Context, err error) *api.Problem {
	s.c.Log.WarnContext(ctx, "login failed", "cause", err.Error())
	switch {
	case errors.Is(err, oidc.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		p := problem(http.StatusServiceUnavailable, codeProvider, "The identity provider does not answer", "the identity provider does not answer: try again, and tell your platform team if it lasts")
		p.Next = "load this page again in a minute"
		return p
	case errors.Is(err, oidc.ErrRefused):
		return problem(http.StatusForbidden, codeBadLogin, "The identity provider refused", "the identity provider refused the login")
	default:
		return problem(http.StatusForbidden, codeBadLogin, "The login is not proven", "what the identity provider answered does not prove this login: start again")
	}
}

// redirect sends the browser on without a body that could run anything.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}
