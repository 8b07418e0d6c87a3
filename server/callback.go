package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

// proven is a login that waits for the command to come for it.
type proven struct {
	Challenge string             `json:"challenge"`
	Principal identity.Principal `json:"principal"`
	Name      string             `json:"name"`
	Email     string             `json:"email"`
	Groups    []identity.Group   `json:"groups"`
	GroupsAt  time.Time          `json:"groups_at"`
	ACR       string             `json:"acr"`
	AuthTime  time.Time          `json:"auth_time"`
	Provider  string             `json:"provider"`
	Refresh   []byte             `json:"refresh"`
}

func codeKey(code string) string { return "cli:" + code }

// loginOf is what a provider proved, at now, for a session of a kind.
func (s *Server) loginOf(f oidc.Facts, kind access.SessionKind) access.Login {
	l := access.Login{
		Kind: kind, Principal: f.Principal, Name: f.Name, Email: f.Email, Groups: f.Groups, GroupsAt: s.c.Now().UTC(),
		ACR: f.ACR, AuthTime: f.AuthTime, Provider: f.SID,
	}
	if token := f.Refresh.Reveal(); token != "" {
		l.Refresh = []byte(token)
	}
	return l
}

// oidcCallback takes a provider's answer and sends the browser on: to the command
// with a code or with the reason why there is none, or into a new session.
func (s *Server) oidcCallback(w http.ResponseWriter, r *http.Request) error {
	if err := s.logins.allow(r); err != nil {
		return err
	}
	provider := s.provider(r.PathValue("idp"))
	if provider == nil {
		return noRoute()
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !urlText(query.Get("state"), 43, 43) {
		return badLogin("Not a login", "this is not the answer to a login", "start again")
	}
	var in underWay
	err = s.take(r.Context(), underWayKey(provider.Name(), query.Get("state"), cookie(r, browserCookie)), &in)
	if access.CodeOf(err) == access.CodeNoSession {
		return s.notUnderWay()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), providerTime)
	defer cancel()
	facts, err := provider.Finish(ctx, in.Kept, query)
	if err != nil {
		return s.failed(w, r, in.Purpose, err)
	}
	if in.Purpose.Command != nil {
		return s.codeFor(w, r, *in.Purpose.Command, facts)
	}
	return s.enter(w, r, in.Purpose, facts)
}

func (s *Server) notUnderWay() error {
	p := problem(http.StatusUnauthorized, string(access.CodeNoSession), "This login is over",
		"this login was not begun in this browser, was used already, or began more than ten minutes ago")
	p.Next = "start again where you began"
	return p
}

// failed tells whoever waits why a login came to nothing.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, in purpose, err error) error {
	p := s.providerProblem(r.Context(), err)
	if in.Command == nil {
		p.Next = in.again()
		return p
	}
	redirect(w, in.Command.back(url.Values{"error": {p.Code}, "error_description": {p.Detail}}))
	return nil
}

// codeFor sends the browser to the command with a code.
func (s *Server) codeFor(w http.ResponseWriter, r *http.Request, c command, facts oidc.Facts) error {
	l, code := s.loginOf(facts, access.SessionAPI), random()
	if err := s.keep(r.Context(), codeKey(code), proven{
		Challenge: c.Challenge, Principal: l.Principal, Name: l.Name, Email: l.Email, Groups: l.Groups, GroupsAt: l.GroupsAt,
		ACR: l.ACR, AuthTime: l.AuthTime, Provider: l.Provider, Refresh: l.Refresh,
	}, codeLife); err != nil {
		return err
	}
	redirect(w, c.back(url.Values{"code": {code}}))
	return nil
}

// enter opens the console session of a browser, in place of the one that it had:
// whoever put that there, or has seen it, has nothing of the new one. Then the
// browser goes where it wanted to go.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, in purpose, facts oidc.Facts) error {
	old, err := s.consoleSession(r)
	if err != nil {
		return err
	}
	secret, session, err := s.service.NewSession(r.Context(), s.loginOf(facts, access.SessionConsole))
	if err != nil {
		return err
	}
	if !old.ID.IsZero() {
		if err := s.service.EndSession(r.Context(), old.ID); err != nil {
			return err
		}
	}
	setCookie(w, api.ConsoleCookie, secret.Reveal(), session.EndsAt.Sub(s.c.Now()))
	if in.App == nil {
		redirect(w, returnPath(in.Return))
		return nil
	}
	to, err := s.service.HandOver(r.Context(), access.CallerOf(session), *in.App)
	if err != nil {
		return err
	}
	redirect(w, to)
	return nil
}

// cliToken gives the command its session for the code that the browser brought
// and the verifier that only the command knows. A code counts once, whatever
// comes of it.
func (s *Server) cliToken(w http.ResponseWriter, r *http.Request) error {
	if err := s.logins.allow(r); err != nil {
		return err
	}
	var in api.CodeExchange
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if !urlText(in.Code, 43, 43) || !urlText(in.Verifier, 43, 128) {
		return notOfCommand("code and verifier are not those of a login")
	}
	var p proven
	if err := s.take(r.Context(), codeKey(in.Code), &p); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(in.Verifier))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(p.Challenge)) != 1 {
		return notOfCommand("the verifier is not the one that this login began with")
	}
	return s.openSession(w, r, p)
}

func (s *Server) openSession(w http.ResponseWriter, r *http.Request, p proven) error {
	secret, session, err := s.service.NewSession(r.Context(), access.Login{
		Kind: access.SessionAPI, Principal: p.Principal, Name: p.Name, Email: p.Email, Groups: p.Groups, GroupsAt: p.GroupsAt,
		ACR: p.ACR, AuthTime: p.AuthTime, Provider: p.Provider, Refresh: p.Refresh,
	})
	if err != nil {
		return err
	}
	who, err := s.whoIs(r.Context(), caller{Caller: access.CallerOf(session), session: session})
	if err != nil {
		return fmt.Errorf("whoami: %w", err)
	}
	return writeJSON(w, http.StatusOK, api.NewSession{Secret: secret.Reveal(), Ends: audit.Stamp(session.EndsAt), Whoami: who})
}
