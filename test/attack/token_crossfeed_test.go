package attack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
)

const everybody = "mayflyd" // one audience for all, so that it tells no kind from another

// forger signs every kind of token with one key, under one issuer, for one audience:
// whoever reads one kind has nothing but the kind to tell it by.
type forger struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	public tokens.PublicKey
	issuer string
	minter *grant.Minter
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f := &forger{t: t, minter: grant.NewMinter()}
	f.key = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	f.public = must[tokens.PublicKey](t)(tokens.NewPublicKey(tokens.ES256, &f.key.PublicKey))
	set := must[*tokens.KeySet](t)(tokens.NewKeySet([]tokens.PublicKey{f.public}))
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.issuer = server.URL
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": f.issuer, "authorization_endpoint": f.issuer + "/authorize", "token_endpoint": f.issuer + "/token", "jwks_uri": f.issuer + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(set.JWKS())
	})
	return f
}

func (f *forger) sign(header map[string]any, claims jwt.MapClaims) string {
	f.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	for name, v := range header {
		token.Header[name] = v
	}
	return must[string](f.t)(token.SignedString(f.key))
}

func (f *forger) jwk() map[string]any {
	f.t.Helper()
	var out map[string]any
	if err := json.Unmarshal(must[[]byte](f.t)(f.public.JWK()), &out); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// kinds returns a fresh, good token of each kind.
func (f *forger) kinds(now time.Time) map[string]string {
	const workload = "spiffe://acme.example/ns/pay/sa/refunder"
	kid := func(typ string) map[string]any { return map[string]any{"typ": typ, "kid": f.public.ID} }
	claims := func(more jwt.MapClaims) jwt.MapClaims {
		out := jwt.MapClaims{"iss": f.issuer, "aud": everybody, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": f.minter.NewTokenID(now).String()}
		for name, v := range more {
			out[name] = v
		}
		return out
	}
	bound := must[[32]byte](f.t)(must[tokens.Prover](f.t)(f.prover()).Thumbprint())
	access := must[string](f.t)(must[*tokens.Issuer](f.t)(tokens.NewIssuer(tokens.IssuerConfig{Issuer: f.issuer, Key: f.private})).Sign(tokens.Claims{
		Subject: must[identity.Principal](f.t)(identity.ParsePrincipal(workload)), Audience: everybody, ClientID: workload, ID: f.minter.NewTokenID(now),
		IssuedAt: now.Truncate(time.Second), Expires: now.Truncate(time.Second).Add(time.Minute), Confirm: tokens.Key(bound), Txn: f.minter.NewRequestID(now), Grant: f.minter.NewGrantID(now),
		Details: []tokens.Detail{{Type: "urn:mayfly:web", Locations: []string{everybody}, Entitlement: "pay/all", Scope: scope.Scope{App: "pay", Rules: []scope.Rule{{Operation: "http.get"}}}}},
	}))
	event := map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	return map[string]string{
		"access token": access,
		"proof":        must[string](f.t)(must[tokens.Prover](f.t)(f.prover()).Prove("GET", "https://pay.acme.example/", "token", "", now)),
		"JWT-SVID":     f.sign(kid("JWT"), jwt.MapClaims{"sub": workload, "aud": everybody, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}),
		"ID token":     f.sign(kid("JWT"), claims(jwt.MapClaims{"sub": "3f1c"})),
		"logout token": f.sign(kid("logout+jwt"), claims(jwt.MapClaims{"sub": "3f1c", "sid": "s1", "events": event})),
		"security event": f.sign(kid("secevent+jwt"), jwt.MapClaims{"iss": f.issuer, "aud": everybody, "iat": now.Unix(), "jti": f.minter.NewTokenID(now).String(),
			"sub_id": map[string]any{"format": "iss_sub", "iss": f.issuer, "sub": "3f1c"},
			"events": map[string]any{"https://schemas.openid.net/secevent/caep/event-type/session-revoked": map[string]any{"event_timestamp": now.Unix()}}}),
		"WIT-SVID":                f.sign(kid("wit+jwt"), claims(jwt.MapClaims{"sub": workload, "cnf": map[string]any{"jwk": f.jwk()}})),
		"WIT-SVID without a type": f.sign(kid("JWT"), jwt.MapClaims{"sub": workload, "exp": now.Add(time.Minute).Unix(), "cnf": map[string]any{"jwk": f.jwk()}}),
	}
}

func (f *forger) private() (tokens.PrivateKey, error) {
	return tokens.ParsePrivateKey(must[[]byte](f.t)(x509.MarshalPKCS8PrivateKey(f.key)))
}

func (f *forger) prover() (tokens.Prover, error) {
	return tokens.ParseProver(must[[]byte](f.t)(x509.MarshalPKCS8PrivateKey(f.key)))
}

// TestTokenCrossFeed: each kind of token to each reader. One key, one issuer and one
// audience are behind all of them, and still only its own reader takes each.
func TestTokenCrossFeed(t *testing.T) {
	f := newForger(t)
	set := must[*tokens.KeySet](t)(tokens.NewKeySet([]tokens.PublicKey{f.public}))
	verifier := must[*tokens.Verifier](t)(tokens.NewVerifier(tokens.VerifierConfig{Issuer: f.issuer, Keys: func() *tokens.KeySet { return set }}))
	domain := spiffeid.RequireTrustDomainFromString("acme.example")
	bundle := jwtbundle.FromJWTAuthorities(domain, map[string]crypto.PublicKey{f.public.ID: &f.key.PublicKey})
	no := false
	rp := must[*oidc.RP](t)(oidc.New(oidc.Config{
		Name: "idp", Issuer: f.issuer, ClientID: everybody, RedirectURL: "https://mayfly.acme.example/oidc/idp/callback", Refresh: &no,
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}))
	jkt := must[[32]byte](t)(must[tokens.Prover](t)(f.prover()).Thumbprint())
	readers := map[string]func(text string, now time.Time) error{
		"access token": func(text string, now time.Time) error {
			_, err := verifier.Verify(text, now, tokens.Expect{Audience: everybody, Presenter: tokens.Key(jkt)})
			return err
		},
		"proof": func(text string, now time.Time) error {
			proofs := must[*tokens.Proofs](t)(tokens.NewProofs(tokens.ProofConfig{}))
			_, err := proofs.Verify(text, tokens.Presented{Method: "GET", URL: "https://pay.acme.example/", Token: "token"}, now)
			return err
		},
		"JWT-SVID": func(text string, now time.Time) error {
			_, err := spiffe.VerifyJWT(text, bundle, everybody, now, domain)
			return err
		},
		"ID token": func(text string, _ time.Time) error {
			_, err := rp.IDToken(t.Context(), text)
			return err
		},
		"logout token": func(text string, _ time.Time) error {
			_, err := rp.Logout(t.Context(), text)
			return err
		},
	}
	for reader, read := range readers {
		now := time.Now()
		for kind, text := range f.kinds(now) {
			t.Run(fmt.Sprintf("%s read as %s", kind, reader), func(t *testing.T) {
				if err := read(text, now); (err == nil) != (kind == reader) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}
