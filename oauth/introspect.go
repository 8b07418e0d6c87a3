package oauth

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/tokens"
)

// introspect says what a token is to whom it concerns (RFC 7662): the app that it
// names, by the SVID that policy gives the app, and its subject. To everybody else,
// and of everything that is no live token, it is inactive and nothing more.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request, d door) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	text, err := f.need("token")
	if err != nil {
		return err
	}
	caller, err := s.reader(w, r, d, f)
	if err != nil {
		return err
	}
	claims, err := s.verify(text)
	if err != nil {
		return inactive(w)
	}
	live, app, err := s.service.TokenLive(r.Context(), *claims)
	if err != nil {
		return err
	}
	if !live || caller != claims.Subject && (app.Workload.IsZero() || caller != app.Workload) {
		return inactive(w)
	}
	writeJSON(w, http.StatusOK, active(*claims))
	return nil
}

// reader proves who introspects: a workload, or a person by the command's session.
func (s *Server) reader(w http.ResponseWriter, r *http.Request, d door, f form) (identity.Principal, error) {
	secret := ""
	if !d.mutual {
		scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if len(r.Header.Values("Authorization")) > 1 || r.Header.Get("Authorization") != "" && (!strings.EqualFold(scheme, "DPoP") || text == "" || len(text) > maxWord) {
			return identity.Principal{}, s.unknownReader(w)
		}
		secret = text
	}
	c, err := s.client(w, r, d, f, secret)
	if err != nil {
		return identity.Principal{}, err
	}
	if secret == "" {
		if c.principal.IsZero() {
			return identity.Principal{}, s.unknownReader(w)
		}
		return c.principal, nil
	}
	got, err := s.session(r, secret, c)
	if err != nil {
		return identity.Principal{}, err
	}
	if got == nil || !c.principal.IsZero() {
		return identity.Principal{}, s.unknownReader(w)
	}
	note(r, got.Principal)
	return got.Principal, take(s.callers, got.Principal.String())
}

func (s *Server) unknownReader(w http.ResponseWriter) error {
	w.Header().Set("WWW-Authenticate", challenge)
	return refuse(InvalidClient, "whoever introspects proves itself: by an SVID, or by a session and its key")
}

func inactive(w http.ResponseWriter) error {
	writeJSON(w, http.StatusOK, struct {
		Active bool `json:"active"`
	}{})
	return nil
}

// actor is a link of the chain of RFC 8693 §4.1.
type actor struct {
	Sub string `json:"sub"`
	Act *actor `json:"act,omitempty"`
}

// told is what stands in a live token (RFC 7662 §2.2).
type told struct {
	Active    bool              `json:"active"`
	Iss       string            `json:"iss"`
	Sub       string            `json:"sub"`
	Aud       string            `json:"aud"`
	ClientID  string            `json:"client_id"`
	Jti       string            `json:"jti"`
	Iat       int64             `json:"iat"`
	Exp       int64             `json:"exp"`
	TokenType string            `json:"token_type"`
	Cnf       map[string]string `json:"cnf"`
	Act       *actor            `json:"act,omitempty"`
	Details   []granted         `json:"authorization_details"`
	AuthTime  int64             `json:"auth_time,omitempty"`
	ACR       string            `json:"acr,omitempty"`
	AMR       []string          `json:"amr,omitempty"`
	Txn       string            `json:"txn"`
}

func active(c tokens.Claims) told {
	out := told{
		Active: true, Iss: c.Issuer, Sub: c.Subject.String(), Aud: c.Audience, ClientID: c.ClientID, Jti: c.ID.String(), Iat: c.IssuedAt.Unix(), Exp: c.Expires.Unix(),
		TokenType: "DPoP", Cnf: map[string]string{"jkt": thumbprint(c.Confirm.JKT)}, Details: grantedOf(c), AuthTime: unix(c.AuthTime), ACR: c.ACR, AMR: c.AMR, Txn: c.Txn.String(),
	}
	if c.Confirm.X5T != [32]byte{} {
		out.TokenType, out.Cnf = "Bearer", map[string]string{"x5t#S256": thumbprint(c.Confirm.X5T)}
	}
	for i := len(c.Actor) - 1; i >= 0; i-- {
		out.Act = &actor{Sub: c.Actor[i].String(), Act: out.Act}
	}
	return out
}

func thumbprint(sum [32]byte) string { return base64.RawURLEncoding.EncodeToString(sum[:]) }

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
