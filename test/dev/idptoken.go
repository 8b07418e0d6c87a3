package dev

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// token exchanges a code or a refresh token for an ID token (OpenID Connect Core
// §3.1.3, §12).
func (p *IdP) token(w http.ResponseWriter, r *http.Request) {
	q, ok := single(r)
	if !ok || len(r.URL.RawQuery) > 0 {
		refuseToken(w, http.StatusBadRequest, "invalid_request", "malformed, repeated or query parameters")
		return
	}
	client, ok := p.authenticate(r, q)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		refuseToken(w, http.StatusUnauthorized, "invalid_client", "unknown client or wrong secret")
		return
	}
	var answer map[string]any
	var words string
	switch q.Get("grant_type") {
	case "authorization_code":
		answer, words = p.redeem(client, q)
	case "refresh_token":
		answer, words = p.renew(client, q)
	default:
		refuseToken(w, http.StatusBadRequest, "unsupported_grant_type", "want authorization_code or refresh_token")
		return
	}
	if words != "" {
		refuseToken(w, http.StatusBadRequest, "invalid_grant", words)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func refuseToken(w http.ResponseWriter, status int, code, words string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": words})
}

// authenticate takes client_secret_basic, client_secret_post, or none for public
// clients (RFC 6749 §2.3.1).
func (p *IdP) authenticate(r *http.Request, q url.Values) (Client, bool) {
	id, secret := q.Get("client_id"), q.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		basicID, err1 := url.QueryUnescape(user)
		basicSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || secret != "" || (id != "" && id != basicID) {
			return Client{}, false
		}
		id, secret = basicID, basicSecret
	}
	c, ok := p.client(id)
	return c, ok && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) == 1
}

// bought is what a code was exchanged for.
type bought struct{ access, sid string }

// redeem spends the code. words says why not.
func (p *IdP) redeem(client Client, q url.Values) (answer map[string]any, words string) {
	now, code := p.now(), q.Get("code")
	p.mu.Lock()
	defer p.mu.Unlock()
	in, ok := p.codes.take(code, now)
	if !ok {
		if b, again := p.spent.take(code, now); again {
			delete(p.access, b.access) // RFC 6749 §4.1.2: a code that comes twice was stolen
			p.revoke(b.sid)
		}
		return nil, "the code is unknown, used or older than 60 s"
	}
	switch {
	case in.client != client.ID:
		return nil, "the code is another client's"
	case in.redirect != q.Get("redirect_uri"):
		return nil, "redirect_uri differs from the authorization request's"
	case !provesChallenge(q.Get("code_verifier"), in.challenge):
		return nil, "code_verifier does not fit the challenge"
	}
	s := session{client: client.ID, scope: in.scope, user: in.user.Name, subject: in.user.Subject, acr: in.user.ACR, at: in.at}
	sid := unguessable()
	if err := p.sessions.put(sid, s, now, sessionTTL); err != nil {
		return nil, err.Error()
	}
	answer, err := p.answer(client, sid, s, in.user, in.nonce)
	if err != nil {
		return nil, err.Error()
	}
	if err := p.spent.put(code, bought{answer["access_token"].(string), sid}, now, tokenTTL); err != nil {
		return nil, err.Error()
	}
	return answer, ""
}

// answer makes the tokens of a session. It needs mu.
func (p *IdP) answer(client Client, sid string, s session, user User, nonce string) (map[string]any, error) {
	now := p.now()
	id, err := p.idToken(client, sid, s, user, nonce)
	if err != nil {
		return nil, err
	}
	access := unguessable()
	if err := p.access.put(access, user.Name, now, tokenTTL); err != nil {
		return nil, err
	}
	out := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(tokenTTL.Seconds()), "id_token": id, "scope": s.scope,
	}
	if slices.Contains(strings.Fields(s.scope), "offline_access") {
		refresh := unguessable()
		if err := p.refresh.put(refresh, sid, now, sessionTTL); err != nil {
			return nil, err
		}
		out["refresh_token"] = refresh
	}
	return out, nil
}

// idToken needs mu.
func (p *IdP) idToken(client Client, sid string, s session, user User, nonce string) (string, error) {
	now := p.now()
	claims := user.claims()
	if p.userinfo {
		delete(claims, "groups")
	}
	claims["iss"] = p.issuer
	claims["aud"] = client.ID
	claims["iat"] = now.Unix()
	claims["exp"] = now.Add(tokenTTL).Unix()
	claims["auth_time"] = s.at.Unix()
	claims["acr"] = s.acr
	claims["sid"] = sid
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return p.sign(client.Alg, "JWT", claims)
}

// provesChallenge checks a verifier (RFC 7636 §4.6, S256).
func provesChallenge(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
