package spiffe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// JWTKeys are the keys that JWT-SVIDs of one trust domain verify under, by kid.
type JWTKeys map[string]crypto.PublicKey

// DevelopmentKey begins the kid of every key that a development CA signs JWT-SVIDs
// with. See Bundles.Development.
const DevelopmentKey = "mayfly-development-"

// useJWT marks the keys of JWT-SVIDs in a SPIFFE bundle (SPIFFE Trust Domain and
// Bundle §4.2.2).
const useJWT = "jwt-svid"

// equal reports whether k and o are the same keys under the same names.
func (k JWTKeys) equal(o JWTKeys) bool {
	if len(k) != len(o) {
		return false
	}
	for kid, key := range k {
		p, ok := key.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || o[kid] == nil || !p.Equal(o[kid]) {
			return false
		}
	}
	return true
}

func (k JWTKeys) development() bool {
	for kid := range k {
		if strings.HasPrefix(kid, DevelopmentKey) {
			return true
		}
	}
	return false
}

// ParseJWTKeys reads the keys of JWT-SVIDs in a JWK set, with or without uses, such as
// a SPIFFE bundle.
func ParseJWTKeys(raw []byte) (JWTKeys, error) { return readJWTKeys(raw, true) }

// readJWTKeys reads the keys of JWT-SVIDs in a JWK set. Keys of another use are left
// alone, and those that say none count only if bare: the Workload API sends sets
// without uses, in a SPIFFE bundle each key has one. A kid that is missing or there
// twice makes the whole set unreadable: which key it names is anybody's guess.
func readJWTKeys(raw []byte, bare bool) (JWTKeys, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("JWT bundle: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New("JWT bundle: no member keys")
	}
	seen, out := map[string]bool{}, JWTKeys{}
	for _, k := range set.Keys {
		if k.Use != useJWT && (k.Use != "" || !bare) {
			continue
		}
		switch {
		case k.KeyID == "":
			return nil, errors.New("JWT bundle: a key without kid")
		case seen[k.KeyID]:
			return nil, fmt.Errorf("JWT bundle: kid %q is there twice", k.KeyID)
		}
		seen[k.KeyID] = true
		if counts(k.Key) {
			out[k.KeyID] = k.Key
		}
	}
	return out, nil
}

// counts takes the keys that the algorithms of a JWT-SVID go with (JWT-SVID §2.1), as
// strong as those of certificates. A private or symmetric key is none.
func counts(key any) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA
	default:
		return false
	}
}
