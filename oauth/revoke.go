package oauth

import (
	"crypto/subtle"
	"net/http"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/tokens"
)

// revoke ends a token for whoever holds it (RFC 7009). The command's session ends; of
// an access token its grant is finished, since nothing less ends it on every gateway
// at once. A token that says nothing to us is answered like one that was revoked.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, d door) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	text, err := f.need("token")
	if err != nil {
		return err
	}
	c, err := s.client(w, r, d, f, "")
	if err != nil {
		return err
	}
	if !tokens.IsToken(text) {
		return s.revokeSession(w, r, text, c)
	}
	claims, err := s.verify(text)
	if err != nil {
		return done(w)
	}
	if !holds(c, *claims) {
		return refuse(UnauthorizedClient, "the token is not one of whoever sent this")
	}
	err = s.service.RevokeToken(r.Context(), claims.Subject, *claims)
	switch access.CodeOf(err) {
	case "", access.CodeEnded, access.CodeNotFound:
		return done(w)
	}
	return err
}

// revokeSession ends the session of the command, for its key.
func (s *Server) revokeSession(w http.ResponseWriter, r *http.Request, secret string, c client) error {
	got, err := s.session(r, secret, c)
	if err != nil {
		return err
	}
	if got != nil {
		if err := s.service.EndSession(r.Context(), got.ID); err != nil {
			return err
		}
	}
	return done(w)
}

// holds reports whether c is the subject of a token: the workload itself, or the key
// of the person that the token is bound to. Whoever only acts for somebody ends
// nothing of theirs.
func holds(c client, t tokens.Claims) bool {
	if !c.principal.IsZero() {
		return c.principal == t.Subject
	}
	none := [32]byte{}
	return len(t.Actor) == 0 && c.confirm.JKT != none && subtle.ConstantTimeCompare(c.confirm.JKT[:], t.Confirm.JKT[:]) == 1
}

func done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusOK)
	return nil
}
