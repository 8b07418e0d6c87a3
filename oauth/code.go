package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// codeBody is what an authorization code stands for. It is secret.
type codeBody struct {
	Authorization authorization `json:"authorization"`
	Login         access.Login  `json:"login"`
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// isVerifier reports whether text is a code verifier (RFC 7636 §4.1).
func isVerifier(text string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	return len(text) >= 43 && len(text) <= 128 && !strings.ContainsFunc(text, func(c rune) bool { return !strings.ContainsRune(alphabet, c) })
}

// redeem gives the command its session for a code (RFC 6749 §4.1.3): an access token
// for our own API, bound to the key of the proof. A code counts once, whatever comes
// of it; shown a second time it ends what came of it.
func (s *Server) redeem(w http.ResponseWriter, r *http.Request, d door, f form) error {
	code, err := f.need("code")
	if err != nil {
		return err
	}
	verifier, err := f.need("code_verifier")
	if err != nil {
		return err
	}
	to, err := f.need("redirect_uri")
	if err != nil {
		return err
	}
	id, err := f.need("client_id")
	if err != nil {
		return err
	}
	switch {
	case d.mutual || id != CommandClient:
		return refuse(InvalidClient, "codes are for the client "+CommandClient+", at the public door")
	case f.has("resource") && f.get("resource") != s.c.Issuer:
		return refuse(InvalidTarget, "a login is to this server: exchange it for tokens for apps")
	case f.has("authorization_details"):
		return refuse(InvalidAuthorizationDetails, "authorization_details: a login has none: exchange it for tokens that do")
	case !isHash(code) || !isVerifier(verifier):
		return refuse(InvalidGrant, "code and code_verifier are not those of a login")
	}
	c, err := s.client(w, r, d, f, "")
	if err != nil {
		return err
	}
	secret, session, err := s.service.RedeemCode(r.Context(), code, func(body []byte) (access.Login, error) {
		return readCode(body, to, verifier, c.confirm.JKT)
	})
	switch access.CodeOf(err) {
	case "":
	case access.CodeNoSession, access.CodeLocked, access.CodeNotAPerson:
		return refuse(InvalidGrant, access.FaultOf(err).Sentence).because(err)
	default:
		return err
	}
	note(r, session.Principal)
	writeJSON(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
	}{secret.Reveal(), "DPoP", int64(session.EndsAt.Sub(session.CreatedAt) / time.Second)})
	return nil
}

// readCode says who has logged in, to whoever shows what the code is bound to.
func readCode(body []byte, to, verifier string, key [32]byte) (access.Login, error) {
	var in codeBody
	if err := json.Unmarshal(body, &in); err != nil {
		return access.Login{}, err
	}
	a := in.Authorization
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(a.Challenge)) != 1:
		return access.Login{}, refuse(InvalidGrant, "the code_verifier is not the one that this login began with")
	case a.Redirect != to:
		return access.Login{}, refuse(InvalidGrant, "the redirect_uri is not the one that this login began with")
	case a.Key != "" && a.Key != base64.RawURLEncoding.EncodeToString(key[:]):
		return access.Login{}, refuse(InvalidGrant, "the key of the proof is not the one that this login began with")
	}
	l := in.Login
	l.Kind, l.ProofKey = access.SessionAPI, key
	return l, nil
}
