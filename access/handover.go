package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/grant"
)

// HandOver asks to carry a console login over to the host of an app.
type HandOver struct {
	App   string
	Host  string // of the app, lower case, without port
	State string // of the browser on that host: base64url of a SHA-256
}

// HandOver makes the code that a gateway turns into a session on one host of an
// app (contracts §7): single use, 60 s, bound to host and state. It returns the
// address that the browser is sent to. c's console session is the parent of what
// the code is turned into.
func (s *Service) HandOver(ctx context.Context, c Caller, h HandOver) (callback string, err error) {
	return "", fault(CodeInternal, "", "not built yet")
}

// ProviderLogout is what a provider's back-channel logout token says (OpenID
// Connect Back-Channel Logout §2.4): a session of its own, or all of a subject.
type ProviderLogout struct {
	IDP     string // configured name
	Subject string // "" if only Session is told
	Session string // sid, "" if all of Subject's end
}

// LogoutAt ends the sessions of every kind that a provider says are over, and
// returns how many. None is no error.
func (s *Service) LogoutAt(ctx context.Context, l ProviderLogout) (int, error) {
	return 0, fault(CodeInternal, "", "not built yet")
}

// EndSessions ends every live session of the caller but the one that it speaks
// with, and returns how many.
func (s *Service) EndSessions(ctx context.Context, c Caller) (int, error) {
	return 0, fault(CodeInternal, "", "not built yet")
}

// AppSession returns a session of the caller's own by id.
func (s *Service) AppSession(ctx context.Context, c Caller, id grant.SessionID) (Session, error) {
	return Session{}, fault(CodeNotFound, "", "not built yet")
}
