package tokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
)

// maxJWK is the longest JWK that is read, in bytes: RSA with 4096 bits is below 800.
const maxJWK = 2048

// ParseJWK reads one public key (RFC 7517). A private member, a member that is not
// of RFC 7517 and 7518, or one that says the key is for something else is refused.
// Without alg the key's type decides; kid may say anything, since ours is the
// thumbprint.
func ParseJWK(text []byte) (PublicKey, error) {
	if len(text) > maxJWK {
		return PublicKey{}, errors.New("jwk: it is too long")
	}
	n, err := parseObject(string(text))
	if err != nil {
		return PublicKey{}, fmt.Errorf("jwk: %w", err)
	}
	k, err := n.jwk()
	if err != nil {
		return PublicKey{}, fmt.Errorf("jwk: %w", err)
	}
	return k, nil
}

func (n *node) jwk() (PublicKey, error) {
	if n == nil || n.kind != kindObject {
		return PublicKey{}, errors.New("it is not an object")
	}
	for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if n.get(secret) != nil {
			return PublicKey{}, errors.New("it holds a private key")
		}
	}
	kty, err := n.get("kty").str()
	if err != nil {
		return PublicKey{}, fmt.Errorf("kty: %w", err)
	}
	var k PublicKey
	switch kty {
	case "EC":
		k, err = n.ec()
	case "RSA":
		k, err = n.rsa()
	default:
		err = fmt.Errorf("kty %s is not of the profile", shown(kty))
	}
	if err != nil {
		return PublicKey{}, err
	}
	return k, n.purpose(k.Alg)
}

func (n *node) ec() (PublicKey, error) {
	if err := n.only("kty", "crv", "x", "y", "alg", "use", "kid", "key_ops", "ext"); err != nil {
		return PublicKey{}, err
	}
	if crv, err := n.get("crv").str(); err != nil || crv != "P-256" {
		return PublicKey{}, errors.New("the curve is not P-256")
	}
	point := []byte{4}
	for _, name := range []string{"x", "y"} {
		b, err := n.coordinate(name)
		if err != nil {
			return PublicKey{}, err
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return PublicKey{}, errors.New("the point is not on P-256")
	}
	return NewPublicKey(ES256, key)
}

func (n *node) coordinate(name string) ([]byte, error) {
	s, err := n.get(name).str()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b, err := decode64(s)
	if err != nil || len(b) != sizeP256 {
		return nil, fmt.Errorf("%s is not %d bytes of base64url", name, sizeP256)
	}
	return b, nil
}

func (n *node) rsa() (PublicKey, error) {
	if err := n.only("kty", "n", "e", "alg", "use", "kid", "key_ops", "ext"); err != nil {
		return PublicKey{}, err
	}
	modulus, err := n.positive("n", maxRSA)
	if err != nil {
		return PublicKey{}, err
	}
	exponent, err := n.positive("e", 31)
	if err != nil {
		return PublicKey{}, err
	}
	return NewPublicKey(RS256, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())})
}

// positive reads Base64urlUInt (RFC 7518 §2): no leading zero, so that a number has
// one thumbprint.
func (n *node) positive(name string, bits int) (*big.Int, error) {
	s, err := n.get(name).str()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b, err := decode64(s)
	if err != nil || len(b) == 0 || b[0] == 0 {
		return nil, fmt.Errorf("%s is not a number in base64url", name)
	}
	v := new(big.Int).SetBytes(b)
	if v.BitLen() > bits {
		return nil, fmt.Errorf("%s has more than %d bits", name, bits)
	}
	return v, nil
}

// purpose refuses a key that its own members keep from verifying with alg.
func (n *node) purpose(alg Alg) error {
	if m := n.get("alg"); m != nil {
		if s, err := m.str(); err != nil || Alg(s) != alg {
			return errors.New("the key is for another alg")
		}
	}
	if m := n.get("use"); m != nil {
		if s, err := m.str(); err != nil || s != "sig" {
			return errors.New("the key is not for signatures")
		}
	}
	if m := n.get("key_ops"); m != nil {
		if ops, err := m.strings(); err != nil || len(ops) != 1 || ops[0] != "verify" {
			return errors.New("the key is not for verifying")
		}
	}
	return nil
}
