package server

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

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

// oidcCallback takes a provider's answer and sends the browser on: to whoever
// waits for a code, or into a new session.
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
	if in.Purpose.Code != nil {
		return s.askToConfirm(w, r, confirmation{in.Purpose.Code, s.loginOf(facts, access.SessionAPI)})
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
	if in.Code == nil {
		p.Next = in.again()
		return p
	}
	s.c.Authorization.LoginFailed(w, r, in.Code, p)
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
		redirect(w, in.Return)
		return nil
	}
	return s.handOver(w, r, session, *in.App)
}
