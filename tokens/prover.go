package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Prover makes DPoP proofs with one key: the client's side of RFC 9449. Its key is
// kept by Marshal only. It prints and logs as "redacted", is safe for concurrent
// use, and its zero value proves nothing.
type Prover struct{ key PrivateKey }

// NewProver makes a key for ES256.
func NewProver() (Prover, error) {
	key, err := GenerateKey(ES256)
	return Prover{key}, err
}

// ParseProver reads what Marshal wrote.
func ParseProver(der []byte) (Prover, error) {
	key, err := ParsePrivateKey(der)
	return Prover{key}, err
}

// Marshal returns the key itself, as PKCS#8 in DER, for a file that only its owner
// reads.
func (p Prover) Marshal() ([]byte, error) { return p.key.Marshal() }

// IsZero reports whether there is no key.
func (p Prover) IsZero() bool { return p.key.IsZero() }

// String hides the key.
func (p Prover) String() string { return "redacted" }

// GoString hides the key.
func (p Prover) GoString() string { return "redacted" }

// Thumbprint is the jkt of the key (RFC 7638).
func (p Prover) Thumbprint() (jkt [sha256.Size]byte, err error) {
	if p.IsZero() {
		return jkt, errNoKey()
	}
	return thumbprint(p.key.Public().Key)
}

type proofHeader struct {
	Alg Alg             `json:"alg"`
	JWK json.RawMessage `json:"jwk"`
	Typ string          `json:"typ"`
}

type proofClaims struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Issued int64  `json:"iat"`
	Digest string `json:"ath,omitempty"`
	Nonce  string `json:"nonce,omitempty"`
}

// Prove makes a proof for one request (RFC 9449 §4.2). token is the access token
// beside it, nonce the newest of this server; either may be empty. What address has
// behind a ? or # is left out.
func (p Prover) Prove(method, address, token, nonce string, now time.Time) (string, error) {
	if p.IsZero() {
		return "", errNoKey()
	}
	if method == "" || address == "" {
		return "", errors.New("proof: no method, or no address")
	}
	public, err := newJWK(p.key.Public().Key)
	if err != nil {
		return "", err
	}
	key, err := json.Marshal(public)
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	header, err := json.Marshal(proofHeader{Alg: p.key.Public().Alg, JWK: key, Typ: proofType})
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	address, _, _ = strings.Cut(address, "#")
	address, _, _ = strings.Cut(address, "?")
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	c := proofClaims{ID: rawURL().EncodeToString(id[:]), Method: method, URL: address, Issued: now.Unix(), Nonce: nonce}
	if token != "" {
		c.Digest = AccessTokenHash(token)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	return seal(p.key, header, payload)
}
