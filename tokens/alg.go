package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Alg is a signature algorithm of JOSE. The zero value is none, and refused.
type Alg string

// The algorithms of the profile. No others are accepted anywhere (RFC 8725 §3.1).
const (
	ES256 Alg = "ES256" // ECDSA on P-256 with SHA-256: what we sign with
	RS256 Alg = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256: for readers that know nothing else (RFC 9068 §2.1)
)

// The sizes of RSA keys, in bits. The upper one bounds what a stranger's DPoP key
// may cost.
const (
	minRSA = 2048
	maxRSA = 4096
)

// method returns golang-jwt's method, nil for an algorithm that is not ours.
func (a Alg) method() jwt.SigningMethod {
	switch a {
	case ES256:
		return jwt.SigningMethodES256
	case RS256:
		return jwt.SigningMethodRS256
	default:
		return nil
	}
}

// checkKey reports whether key is a public key for a: golang-jwt looks at neither
// the curve nor the size.
func (a Alg) checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if a != ES256 {
			return fmt.Errorf("an EC key is not for %q", a)
		}
		if k.Curve != elliptic.P256() {
			return errors.New("the curve is not P-256")
		}
		if _, err := k.Bytes(); err != nil {
			return errors.New("the point is not on P-256")
		}
	case *rsa.PublicKey:
		if a != RS256 {
			return fmt.Errorf("an RSA key is not for %q", a)
		}
		if k.N == nil || k.N.BitLen() < minRSA || k.N.BitLen() > maxRSA {
			return fmt.Errorf("an RSA key has %d to %d bits", minRSA, maxRSA)
		}
		if k.E < 3 || k.E%2 == 0 {
			return errors.New("the RSA exponent is not odd and above 2")
		}
	default:
		return fmt.Errorf("%T is no key of the profile", key)
	}
	return nil
}

// algOf reads the algorithm of a header: one of the profile, in its one spelling.
func algOf(n *node) (Alg, error) {
	s, err := n.str()
	if err != nil {
		return "", fmt.Errorf("alg: %w", err)
	}
	if a := Alg(s); a.method() != nil {
		return a, nil
	}
	return "", fmt.Errorf("alg %s is not of the profile", shown(s))
}
