package dev

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// keyring is the pair of signing keys in use, and the public ones still shown.
type keyring struct {
	signing map[string]jose.JSONWebKey // by algorithm
	shown   []jose.JSONWebKey
}

// RotateKeys signs with new keys from now on. The old ones stay in the JWKS until
// DropOldKeys.
func (p *IdP) RotateKeys() error {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	next := keyring{signing: map[string]jose.JSONWebKey{}}
	for alg, key := range map[string]crypto.Signer{"ES256": ec, "RS256": rs} {
		jwk := jose.JSONWebKey{Key: key, Algorithm: alg, Use: "sig"}
		sum, err := jwk.Thumbprint(crypto.SHA256) // RFC 7638
		if err != nil {
			return err
		}
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
		next.signing[alg] = jwk
		next.shown = append(next.shown, jwk.Public())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next.shown = append(next.shown, p.keys.shown...)
	p.keys = next
	return nil
}

// DropOldKeys shows only the keys in use. What older ones signed is no longer
// valid to whoever fetches the JWKS.
func (p *IdP) DropOldKeys() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys.shown = p.keys.shown[:len(p.keys.signing)]
}

func (p *IdP) publicKeys() jose.JSONWebKeySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return jose.JSONWebKeySet{Keys: p.keys.shown}
}

// sign needs mu. typ is the kind of token (RFC 7515 §4.1.9).
func (p *IdP) sign(alg, typ string, claims map[string]any) (string, error) {
	if alg == "" {
		alg = "ES256"
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: p.keys.signing[alg]}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", alg, err)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
