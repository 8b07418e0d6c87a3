package dev

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
)

// token exchanges a code for an ID token (OpenID Connect Core §3.1.3).
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
	if q.Get("grant_type") != "authorization_code" {
		refuseToken(w, http.StatusBadRequest, "unsupported_grant_type", "want authorization_code")
		return
	}
	answer, words := p.redeem(client, q)
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

// redeem spends the code. words says why not.
func (p *IdP) redeem(client Client, q url.Values) (answer map[string]any, words string) {
	now, code := p.now(), q.Get("code")
	p.mu.Lock()
	defer p.mu.Unlock()
	in, ok := p.codes.take(code, now)
	if !ok {
		if token, again := p.spent.take(code, now); again {
			delete(p.access, token) // RFC 6749 §4.1.2: a code that comes twice was stolen
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
	id, err := p.idToken(client, in)
	if err != nil {
		return nil, err.Error()
	}
	token := unguessable()
	if err := p.access.put(token, in.user.Name, now, tokenTTL); err != nil {
		return nil, err.Error()
	}
	if err := p.spent.put(code, token, now, tokenTTL); err != nil {
		return nil, err.Error()
	}
	return map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(tokenTTL.Seconds()), "id_token": id, "scope": in.scope,
	}, ""
}

// idToken needs mu.
func (p *IdP) idToken(client Client, in login) (string, error) {
	now := p.now()
	claims := in.user.claims()
	claims["iss"] = p.issuer
	claims["aud"] = client.ID
	claims["iat"] = now.Unix()
	claims["exp"] = now.Add(tokenTTL).Unix()
	claims["auth_time"] = in.at.Unix()
	claims["acr"] = in.user.ACR
	if in.nonce != "" {
		claims["nonce"] = in.nonce
	}
	return p.sign(client.Alg, claims)
}

// provesChallenge checks a verifier (RFC 7636 §4.6, S256).
func provesChallenge(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
