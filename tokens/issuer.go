package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// tokenType is the typ of our access tokens (RFC 9068 §2.1).
const tokenType = "at+jwt"

// IssuerConfig configures an Issuer. All fields are required.
type IssuerConfig struct {
	Issuer string                     // iss: the https address of the authorization server, without a path
	Key    func() (PrivateKey, error) // the key that signs now
}

// ErrTooLong is what Sign returns, wrapped, when a token would be longer than a
// Verifier reads: what it says has to be narrowed.
var ErrTooLong = fmt.Errorf("the token would be longer than %d bytes", MaxSize)

// Issuer signs claims. It keeps nothing, and is safe for concurrent use.
type Issuer struct{ c IssuerConfig }

// NewIssuer checks c.
func NewIssuer(c IssuerConfig) (*Issuer, error) {
	if c.Issuer == "" || c.Key == nil {
		return nil, errors.New("issuer: a required field of IssuerConfig is missing")
	}
	return &Issuer{c}, nil
}

// Sign writes claims as a token. Issuer may be empty: it is this one. It signs
// nothing that a Verifier would refuse.
func (i *Issuer) Sign(c Claims) (string, error) {
	if c.Issuer == "" {
		c.Issuer = i.c.Issuer
	}
	if c.Issuer != i.c.Issuer {
		return "", errors.New("sign: the claims are of another issuer")
	}
	payload, err := c.proven()
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	key, err := i.c.Key()
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	header, err := json.Marshal(tokenHeader{Alg: key.Public().Alg, Kid: key.Public().ID, Typ: tokenType})
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	text, err := seal(key, header, payload)
	if err == nil && len(text) > MaxSize {
		err = ErrTooLong
	}
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text, nil
}

type tokenHeader struct {
	Alg Alg    `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// proven writes the claims and reads them back with the verifier's own reader:
// nothing is signed that would be refused, or read as something else.
func (c *Claims) proven() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	payload, err := c.payload()
	if err != nil {
		return nil, err
	}
	read, err := readClaims(string(payload))
	if err != nil {
		return nil, err
	}
	again, err := read.payload()
	if err != nil || !bytes.Equal(payload, again) || read.Issuer != c.Issuer || read.ClientID != c.ClientID {
		return nil, errors.New("the claims cannot be written in one way only")
	}
	return payload, nil
}
