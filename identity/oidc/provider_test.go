package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity/oidc"
)

const (
	clientID = "mayflyd"
	callback = "https://mayfly.acme.example/oidc/idp/callback"
)

// provider is one that answers whatever a test wants, also what none may.
type provider struct {
	*httptest.Server
	key       *ecdsa.PrivateKey
	discovery map[string]any // changes what discovery says
	claims    func(jwt.MapClaims)
	method    jwt.SigningMethod
	signer    crypto.PrivateKey
	token     http.HandlerFunc // instead of the token endpoint
	more      map[string]any   // beside the ID token in its answers
	noID      bool             // no ID token when refreshing
	userinfo  http.HandlerFunc // nil: there is none
	config    func(*oidc.Config)
	withdrawn bool // its key is shown no more

	mu    sync.Mutex
	nonce string
	asked url.Values // of the token endpoint, the last time
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, method: jwt.SigningMethodES256, signer: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		doc := map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256", "none"},
		}
		if p.userinfo != nil {
			doc["userinfo_endpoint"] = p.URL + "/userinfo"
		}
		for name, v := range p.discovery {
			doc[name] = v
		}
		answer(w, doc)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		if p.withdrawn {
			answer(w, map[string]any{"keys": []any{}})
			return
		}
		pub, _ := key.PublicKey.ECDH()
		xy := pub.Bytes()[1:]
		answer(w, map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "x": base64.RawURLEncoding.EncodeToString(xy[:32]), "y": base64.RawURLEncoding.EncodeToString(xy[32:]),
		}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		p.ask(r)
		if p.token != nil {
			p.token(w, r)
			return
		}
		out := map[string]any{"access_token": "a", "token_type": "Bearer"}
		for name, v := range p.more {
			out[name] = v
		}
		if p.noID && r.PostFormValue("grant_type") == "refresh_token" {
			answer(w, out)
			return
		}
		id, err := p.idToken()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out["id_token"] = id
		answer(w, out)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer a" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		p.userinfo(w, r)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *provider) ask(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = r.ParseForm()
	p.asked = r.PostForm
}

// tell makes userinfo answer with these members, beside the subject.
func (p *provider) tell(members map[string]any) {
	p.userinfo = func(w http.ResponseWriter, _ *http.Request) {
		out := map[string]any{"sub": "3f1c"}
		for name, v := range members {
			out[name] = v
		}
		answer(w, out)
	}
}

func (p *provider) idToken() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	c := jwt.MapClaims{
		"iss": p.URL, "aud": clientID, "sub": "3f1c", "nonce": p.nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"name": "Alice", "email": "Alice@acme.example", "email_verified": true, "groups": []string{"support"}, "acr": "2", "auth_time": now.Unix(),
	}
	if p.claims != nil {
		p.claims(c)
	}
	return p.sign("JWT", c)
}

func (p *provider) sign(typ string, c jwt.MapClaims) (string, error) {
	token := jwt.NewWithClaims(p.method, c)
	token.Header["kid"] = "1"
	if token.Header["typ"] = typ; typ == "" {
		delete(token.Header, "typ")
	}
	return token.SignedString(p.signer)
}

func (p *provider) rp(t *testing.T) *oidc.RP {
	t.Helper()
	c := oidc.Config{Name: "idp", Issuer: p.URL, ClientID: clientID, RedirectURL: callback, AllowAddresses: egress.Loopback()}
	if p.config != nil {
		p.config(&c)
	}
	rp, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

// login goes through a whole login; bend changes the provider's answer.
func (p *provider) login(t *testing.T, bend func(url.Values)) (oidc.Facts, error) {
	t.Helper()
	return p.loginAt(t, p.rp(t), bend)
}

func (p *provider) loginAt(t *testing.T, rp *oidc.RP, bend func(url.Values)) (oidc.Facts, error) {
	t.Helper()
	to, keep, err := rp.Begin(t.Context(), "the-state")
	if err != nil {
		return oidc.Facts{}, err
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("state") != "the-state" {
		t.Fatalf("asked with %s", u.RawQuery)
	}
	if strings.Contains(string(keep), q.Get("code_challenge")) || strings.Contains(to, verifierIn(t, keep)) {
		t.Fatal("the verifier goes through the browser")
	}
	p.mu.Lock()
	p.nonce = q.Get("nonce")
	p.mu.Unlock()
	back := url.Values{"code": {"c"}, "state": {"the-state"}}
	if bend != nil {
		bend(back)
	}
	return rp.Finish(t.Context(), keep, back)
}

func verifierIn(t *testing.T, keep []byte) string {
	t.Helper()
	var s struct{ Verifier string }
	if err := json.Unmarshal(keep, &s); err != nil || s.Verifier == "" {
		t.Fatalf("nothing is kept: %v", err)
	}
	return s.Verifier
}
