package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// PublicKey verifies tokens. Its ID is its RFC 7638 thumbprint, so that an id
// never stands for two keys. Make it with NewPublicKey.
type PublicKey struct {
	ID  string
	Alg Alg
	Key crypto.PublicKey // *ecdsa.PublicKey on P-256, or *rsa.PublicKey
}

// NewPublicKey checks the key: P-256 for ES256, RSA of 2048 to 4096 bits for RS256.
func NewPublicKey(alg Alg, key crypto.PublicKey) (PublicKey, error) {
	if err := alg.checkKey(key); err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	print, err := thumbprint(key)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{ID: rawURL().EncodeToString(print[:]), Alg: alg, Key: key}, nil
}

// check reports whether k is what NewPublicKey makes.
func (k PublicKey) check() error {
	made, err := NewPublicKey(k.Alg, k.Key)
	if err == nil && made.ID != k.ID {
		return errors.New("public key: the id is not the key's thumbprint")
	}
	return err
}

// JWK returns the key as RFC 7517 writes it, with alg, kid and use.
func (k PublicKey) JWK() ([]byte, error) {
	w, err := newJWK(k.Key)
	if err != nil {
		return nil, err
	}
	w.Alg, w.Kid, w.Use = string(k.Alg), k.ID, "sig"
	return json.Marshal(w)
}

// jwk is a public key on the wire. The order of the fields is that of RFC 7638
// §3.2, by name: with the others left out, its JSON is what the thumbprint hashes.
type jwk struct {
	Alg string `json:"alg,omitempty"`
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kid string `json:"kid,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	Use string `json:"use,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

func newJWK(key crypto.PublicKey) (jwk, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y (SEC 1 §2.3.3)
		if err != nil || len(point) != 1+2*sizeP256 {
			return jwk{}, errors.New("public key: the point is not on P-256")
		}
		return jwk{Kty: "EC", Crv: "P-256", X: rawURL().EncodeToString(point[1 : 1+sizeP256]), Y: rawURL().EncodeToString(point[1+sizeP256:])}, nil
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", N: rawURL().EncodeToString(k.N.Bytes()), E: rawURL().EncodeToString(big.NewInt(int64(k.E)).Bytes())}, nil
	default:
		return jwk{}, fmt.Errorf("public key: %T is no key of the profile", key)
	}
}

// sizeP256 is the length of a coordinate in bytes (RFC 7518 §6.2.1.2).
const sizeP256 = 32

// thumbprint is RFC 7638 with SHA-256.
func thumbprint(key crypto.PublicKey) (sum [sha256.Size]byte, err error) {
	w, err := newJWK(key)
	if err != nil {
		return sum, err
	}
	text, err := json.Marshal(w)
	if err != nil {
		return sum, fmt.Errorf("thumbprint: %w", err)
	}
	return sha256.Sum256(text), nil
}
