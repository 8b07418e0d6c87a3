package spiffe_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// TestJWTSVIDsThatProveNothing: what go-spiffe leaves open is closed, besides what it
// refuses itself.
func TestJWTSVIDsThatProveNothing(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	acme, other := spiffeid.RequireTrustDomainFromString("acme.example"), spiffeid.RequireTrustDomainFromString("other.example")
	authorities := map[string]crypto.PublicKey{"k": &key.PublicKey}
	bundles := jwtbundle.NewSet(jwtbundle.FromJWTAuthorities(acme, authorities), jwtbundle.FromJWTAuthorities(other, authorities))
	const issuer, workload = "https://mayfly.acme.example", "spiffe://acme.example/a"
	now := time.Now()
	sign := func(change func(h map[string]any, c jwt.MapClaims)) string {
		token := jwt.New(jwt.SigningMethodES256)
		claims := jwt.MapClaims{"sub": workload, "aud": issuer, "exp": now.Add(time.Minute).Unix()}
		token.Header["kid"] = "k"
		change(token.Header, claims)
		token.Claims = claims
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	got, err := spiffe.VerifyJWT(sign(func(map[string]any, jwt.MapClaims) {}), bundles, issuer, now, acme)
	if err != nil || got.Principal.String() != workload || got.Expires.Unix() != now.Add(time.Minute).Unix() {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, change := range map[string]func(h map[string]any, c jwt.MapClaims){
		"a jku":                       func(h map[string]any, _ jwt.MapClaims) { h["jku"] = "https://evil.example" },
		"a key in the header":         func(h map[string]any, _ jwt.MapClaims) { h["jwk"] = map[string]any{} },
		"another type":                func(h map[string]any, _ jwt.MapClaims) { h["typ"] = "at+jwt" },
		"no kid":                      func(h map[string]any, _ jwt.MapClaims) { delete(h, "kid") },
		"another kid":                 func(h map[string]any, _ jwt.MapClaims) { h["kid"] = "x" },
		"expired 30 s ago":            func(_ map[string]any, c jwt.MapClaims) { c["exp"] = now.Add(-30 * time.Second).Unix() },
		"no end":                      func(_ map[string]any, c jwt.MapClaims) { delete(c, "exp") },
		"no audience":                 func(_ map[string]any, c jwt.MapClaims) { delete(c, "aud") },
		"another audience":            func(_ map[string]any, c jwt.MapClaims) { c["aud"] = "https://wiki.acme.example" },
		"two audiences":               func(_ map[string]any, c jwt.MapClaims) { c["aud"] = []string{issuer, "https://wiki.acme.example"} },
		"a trust domain, no workload": func(_ map[string]any, c jwt.MapClaims) { c["sub"] = "spiffe://acme.example" },
		"a domain not accepted":       func(_ map[string]any, c jwt.MapClaims) { c["sub"] = "spiffe://other.example/a" },
		"a domain without a bundle":   func(_ map[string]any, c jwt.MapClaims) { c["sub"] = "spiffe://third.example/a" },
		"a person":                    func(_ map[string]any, c jwt.MapClaims) { c["sub"] = "user:idp:1" },
		"SUB beside sub":              func(_ map[string]any, c jwt.MapClaims) { c["SUB"] = "spiffe://acme.example/admin" },
	} {
		if got, err := spiffe.VerifyJWT(sign(change), bundles, issuer, now, acme); err == nil || !got.Principal.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
	}
	good := sign(func(map[string]any, jwt.MapClaims) {})
	if _, err := spiffe.VerifyJWT(good, bundles, "", now, acme); err == nil {
		t.Error("without an audience everything counts")
	}
	if _, err := spiffe.VerifyJWT(good, bundles, issuer, now); err == nil {
		t.Error("without a domain everything counts")
	}
}
