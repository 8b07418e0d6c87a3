package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// A JWT-SVID counts by the file of its own trust domain, as that is now.
func TestJWTSVIDsByTheirBundleFile(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "acme.jwks.json")
	write := func(authorities map[string]crypto.PublicKey) {
		t.Helper()
		text, err := jwtbundle.FromJWTAuthorities(spiffeid.RequireTrustDomainFromString("acme.example"), authorities).Marshal()
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const issuer, workload = "https://mayfly.acme.example", "spiffe://acme.example/ns/web/sa/client"
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": workload, "aud": issuer, "exp": now.Add(time.Minute).Unix()})
	token.Header["kid"] = "k"
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	ca := devtest.CA(t)
	c := &daemon{dev: true, source: devtest.Source(t, ca, "/mayflyd"), domains: []spiffeid.TrustDomain{ca.TrustDomain()}}
	if _, err := c.jwtSVID(t.Context(), text, issuer, now); err == nil {
		t.Error("nothing is configured, and it proves something")
	}
	told, err := ca.JWTSVID(devtest.ID(t, "/a"), []string{issuer})
	if err != nil {
		t.Fatal(err)
	}
	c.c.OAuth.JWTBundles = map[string]jwtBundleConfig{"acme.example": {File: path}}
	for _, text := range []string{text, told} {
		if _, err := c.jwtSVID(t.Context(), text, issuer, now); err == nil {
			t.Error("without the file it proves something")
		}
	}
	write(map[string]crypto.PublicKey{"k": &key.PublicKey})
	if w, err := c.jwtSVID(t.Context(), text, issuer, now); err != nil || w.Principal.String() != workload || !w.Ends.Equal(time.Unix(now.Add(time.Minute).Unix(), 0)) {
		t.Errorf("%+v, %v", w, err)
	}
	if _, err := c.jwtSVID(t.Context(), text, "https://other.example", now); err == nil {
		t.Error("it proves something to others")
	}
	write(map[string]crypto.PublicKey{})
	if _, err := c.jwtSVID(t.Context(), text, issuer, now); err == nil {
		t.Error("its key was withdrawn")
	}
	if _, err := c.jwtSVID(t.Context(), told, issuer, now); err == nil {
		t.Error("a key that comes otherwise counts beside the file")
	}
}
