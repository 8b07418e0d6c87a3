package dev

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// jwtTTL is the life of a JWT-SVID; SPIRE's is the same.
const jwtTTL = 5 * time.Minute

// jwtKeys sign JWT-SVIDs: the newest. All verify them.
type jwtKeys struct {
	kid    string
	key    *ecdsa.PrivateKey // nil: redacted
	public spiffe.JWTKeys
}

// RotateJWTKey signs JWT-SVIDs with a new key from now on. The old ones stay in the
// bundle.
func (ca *CA) RotateJWTKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	thumbprint, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	kid := spiffe.DevelopmentKey + base64.RawURLEncoding.EncodeToString(thumbprint)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	public := maps.Clone(ca.jwt.public)
	if public == nil {
		public = spiffe.JWTKeys{}
	}
	public[kid] = key.Public()
	ca.jwt = jwtKeys{kid, key, public}
	return ca.announce()
}

// DropOldJWTKeys leaves only the newest key of JWT-SVIDs in the bundle.
func (ca *CA) DropOldJWTKeys() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.jwt.key != nil {
		ca.jwt.public = spiffe.JWTKeys{ca.jwt.kid: ca.jwt.key.Public()}
	}
	return ca.announce()
}

// RedactJWT takes all keys of JWT-SVIDs out of the bundle, and leaves certificates
// alone.
func (ca *CA) RedactJWT() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.jwt.public = nil
	return ca.announce()
}

// JWTKeys returns the keys that JWT-SVIDs of the trust domain verify under.
func (ca *CA) JWTKeys() spiffe.JWTKeys {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return maps.Clone(ca.jwt.public)
}

// JWTSVID signs a JWT-SVID of id for audience that lives five minutes. Each change
// bends header and claims, also out of the standard.
func (ca *CA) JWTSVID(id spiffeid.ID, audience []string, change ...func(header, claims map[string]any)) (string, error) {
	ca.mu.Lock()
	by := ca.jwt
	ca.mu.Unlock()
	now := ca.now()
	claims := jwt.MapClaims{"sub": id.String(), "aud": audience, "iat": now.Unix(), "exp": now.Add(jwtTTL).Unix()}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = by.kid
	for _, f := range change {
		f(token.Header, claims)
	}
	return token.SignedString(by.key)
}

// jwks writes keys as the JWK set of a JWT bundle. The Workload API's have no use.
func jwks(keys spiffe.JWTKeys) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for kid, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: kid})
	}
	return json.Marshal(set)
}
