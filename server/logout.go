package server

import (
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/limit"
)

// logout ends the session that the caller speaks with.
func (s *Server) logout(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := noBody(r); err != nil {
		return err
	}
	if err := s.service.EndSession(r.Context(), c.session.ID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// consoleLogout ends the console session of a browser, and with it those on hosts
// of apps. Without one there is nothing to end, and the page after it is the same.
func (s *Server) consoleLogout(w http.ResponseWriter, r *http.Request) error {
	if err := s.sameOrigin(r); err != nil {
		return err
	}
	session, err := s.consoleSession(r)
	if err != nil {
		return err
	}
	if !session.ID.IsZero() {
		if err := s.service.EndSession(r.Context(), session.ID); err != nil {
			return err
		}
	}
	setCookie(w, api.ConsoleCookie, "", 0)
	// No redirect: it would lead on to the provider, where the page that sent the
	// form may not lead (form-action), and whoever logs out wants no login page.
	if s.c.Pages == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.c.Pages.LoggedOut(w, r)
	return nil
}

// The words of RFC 6749 §4.1.2.1 that a provider is told.
const (
	invalidRequest = "invalid_request"
	serverError    = "server_error"
)

// providerLogout ends the sessions that a provider says are over (OpenID Connect
// Back-Channel Logout §2.5 to §2.8). A provider may send many; only peers that
// send what is none are slowed down.
func (s *Server) providerLogout(w http.ResponseWriter, r *http.Request) error {
	provider := s.provider(r.PathValue("idp"))
	if provider == nil {
		return noRoute()
	}
	if s.logouts.Spent(limit.Peer(r)) {
		return tooMany()
	}
	token, ok := logoutToken(w, r)
	if !ok {
		return s.badLogout(w, r, "want the form field logout_token, once")
	}
	facts, err := provider.Logout(r.Context(), token)
	if err != nil {
		s.c.Log.WarnContext(r.Context(), "logout of a provider refused", "provider", provider.Name(), "cause", err.Error())
		if errors.Is(err, oidc.ErrUnavailable) {
			return failedLogout(w, "the provider's keys could not be fetched")
		}
		return s.badLogout(w, r, "this is not a logout token for this client")
	}
	n, err := s.service.LogoutAt(r.Context(), access.ProviderLogout{IDP: provider.Name(), Subject: facts.Subject, Session: facts.SID})
	if err != nil {
		provider.Undo(facts) // so that its next try is no replay
		s.c.Log.ErrorContext(r.Context(), "logout of a provider failed", "provider", provider.Name(), "cause", causeOf(err))
		return failedLogout(w, "the sessions could not be ended")
	}
	s.c.Log.InfoContext(r.Context(), "logout of a provider", "provider", provider.Name(), "sessions", n)
	w.WriteHeader(http.StatusOK)
	return nil
}

// badLogout answers what is no logout token, and counts it against its peer.
func (s *Server) badLogout(w http.ResponseWriter, r *http.Request, why string) error {
	if err := allow(s.logouts, r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusBadRequest, api.LogoutError{Error: invalidRequest, Description: why})
}

// failedLogout answers a good token that could not be carried out: 400 too (§2.8).
func failedLogout(w http.ResponseWriter, why string) error {
	return writeJSON(w, http.StatusBadRequest, api.LogoutError{Error: serverError, Description: why})
}

// logoutToken reads the one field of a provider's form.
func logoutToken(w http.ResponseWriter, r *http.Request) (string, bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return "", false
	}
	r.Body = http.MaxBytesReader(w, r.Body, api.MaxBody)
	if err := r.ParseForm(); err != nil {
		return "", false
	}
	return one(r.PostForm, "logout_token")
}

// one returns a field that is there once.
func one(form url.Values, name string) (string, bool) {
	v := form[name]
	return form.Get(name), len(v) == 1 && v[0] != ""
}
