package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const (
	clientID = "mayflyd"
	callback = "https://mayfly.acme.example/oidc/callback"
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

	mu    sync.Mutex
	nonce string
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
		for name, v := range p.discovery {
			doc[name] = v
		}
		answer(w, doc)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		pub, _ := key.PublicKey.ECDH()
		xy := pub.Bytes()[1:]
		answer(w, map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "kid": "1", "x": base64.RawURLEncoding.EncodeToString(xy[:32]), "y": base64.RawURLEncoding.EncodeToString(xy[32:]),
		}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if p.token != nil {
			p.token(w, r)
			return
		}
		id, err := p.idToken()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": id})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
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
	token := jwt.NewWithClaims(p.method, c)
	token.Header["kid"] = "1"
	return token.SignedString(p.signer)
}

func (p *provider) rp(t *testing.T) *oidc.RP {
	t.Helper()
	rp, err := oidc.New(oidc.Config{Name: "idp", Issuer: p.URL, ClientID: clientID, RedirectURL: callback, AllowAddresses: oidc.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	return rp
}

// login goes through a whole login; bend changes the provider's answer.
func (p *provider) login(t *testing.T, bend func(url.Values)) (oidc.Facts, error) {
	t.Helper()
	rp := p.rp(t)
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

func TestLogin(t *testing.T) {
	p := newProvider(t)
	f, err := p.login(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Principal.String() != "user:idp:3f1c" || f.Name != "Alice" || f.Email != "alice@acme.example" || f.ACR != "2" || f.AuthTime.IsZero() ||
		len(f.Groups) != 1 || f.Groups[0].String() != "group:idp/support" {
		t.Errorf("%+v", f)
	}
}

func TestIDTokensThatProveNothing(t *testing.T) {
	set := func(name string, v any) func(*provider) {
		return func(p *provider) { p.claims = func(c jwt.MapClaims) { c[name] = v } }
	}
	drop := func(name string) func(*provider) {
		return func(p *provider) { p.claims = func(c jwt.MapClaims) { delete(c, name) } }
	}
	for name, bend := range map[string]func(*provider){
		"for another client":        set("aud", "other"),
		"for another client too":    set("aud", []string{clientID, "other"}),
		"for nobody":                drop("aud"),
		"made for another client":   set("azp", "other"),
		"another nonce":             set("nonce", "other"),
		"no nonce":                  drop("nonce"),
		"of another issuer":         set("iss", "https://evil.example"),
		"over":                      set("exp", time.Now().Add(-time.Minute).Unix()),
		"without an end":            drop("exp"),
		"without a subject":         drop("sub"),
		"an empty subject":          set("sub", ""),
		"a subject with a newline":  set("sub", "a\nb"),
		"another access token":      set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"groups in one text":        set("groups", "support security"),
		"groups with commas":        set("groups", "support,security"),
		"groups that are an object": set("groups", map[string]any{"support": true}),
		"a group that is null":      set("groups", []any{"support", nil}),
		"groups that lie elsewhere": func(p *provider) {
			p.claims = func(c jwt.MapClaims) {
				delete(c, "groups")
				c["_claim_names"] = map[string]any{"groups": "src1"}
				c["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": "https://graph.acme.example/groups"}}
			}
		},
		"a name that is a number":   set("name", 5),
		"a sid that is a number":    set("sid", 5),
		"a sid with a newline":      set("sid", "a\nb"),
		"a long sid":                set("sid", strings.Repeat("a", 256)),
		"auth_time in a text":       set("auth_time", "5"),
		"an event":                  set("events", map[string]any{}),
		"groups that are numbers":   set("groups", []int{1}),
		"too many groups":           set("groups", make([]string, 1001)),
		"logged in in the future":   set("auth_time", time.Now().Add(time.Hour).Unix()),
		"unsigned":                  func(p *provider) { p.method, p.signer = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType },
		"signed with the client id": func(p *provider) { p.method, p.signer = jwt.SigningMethodHS256, []byte(clientID) },
		"signed by another key":     func(p *provider) { p.signer = otherKey(t) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			bend(p)
			if f, err := p.login(t, nil); !errors.Is(err, oidc.ErrProof) {
				t.Errorf("%v, %v", f, err)
			}
		})
	}
}

func otherKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAnswersOfAnotherLogin(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(url.Values)
		want error
	}{
		"another state":    {func(q url.Values) { q.Set("state", "other") }, oidc.ErrProof},
		"no state":         {func(q url.Values) { q.Del("state") }, oidc.ErrProof},
		"state twice":      {func(q url.Values) { q.Add("state", "the-state") }, oidc.ErrProof},
		"another issuer":   {func(q url.Values) { q.Set("iss", "https://evil.example") }, oidc.ErrProof},
		"an empty issuer":  {func(q url.Values) { q.Set("iss", "") }, oidc.ErrProof},
		"no code":          {func(q url.Values) { q.Del("code") }, oidc.ErrProof},
		"refused":          {func(q url.Values) { q.Set("error", "access_denied") }, oidc.ErrRefused},
		"refused by other": {func(q url.Values) { q.Set("error", "access_denied"); q.Set("state", "other") }, oidc.ErrProof},
	} {
		if _, err := newProvider(t).login(t, c.bend); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := newProvider(t)
	p.discovery = map[string]any{"authorization_response_iss_parameter_supported": true}
	if _, err := p.login(t, nil); !errors.Is(err, oidc.ErrProof) {
		t.Errorf("a provider that sends iss did not: %v", err)
	}
	if _, err := p.login(t, func(q url.Values) { q.Set("iss", p.URL) }); err != nil {
		t.Errorf("with iss: %v", err)
	}
}

// Only what the provider vouches for counts as an e-mail.
func TestEmailOnlyIfVerified(t *testing.T) {
	for _, v := range []any{false, "true", 1, nil} {
		p := newProvider(t)
		p.claims = func(c jwt.MapClaims) { c["email_verified"] = v }
		if f, err := p.login(t, nil); err != nil || f.Email != "" {
			t.Errorf("email_verified %v: %q, %v", v, f.Email, err)
		}
	}
}

func TestNamesAreMadePrintable(t *testing.T) {
	p := newProvider(t)
	p.claims = func(c jwt.MapClaims) {
		c["name"] = "Al\x1b[31mice\u202e\n" + strings.Repeat("x", 1000)
		c["groups"] = []string{"support", "", "a\nb", strings.Repeat("g", 5000)}
	}
	f, err := p.login(t, nil)
	if err != nil || !strings.HasPrefix(f.Name, "Al[31micexx") || len(f.Name) != 200 || len(f.Groups) != 1 {
		t.Errorf("%q, %v, %v", f.Name, f.Groups, err)
	}
}

func TestProvidersThatCannotBeUsed(t *testing.T) {
	for name, bend := range map[string]func(*provider){
		"discovery of another issuer": func(p *provider) { p.discovery = map[string]any{"issuer": "https://evil.example"} },
		"token endpoint in the clear": func(p *provider) { p.discovery = map[string]any{"token_endpoint": "http://idp.acme.example/token"} },
		"keys in the clear":           func(p *provider) { p.discovery = map[string]any{"jwks_uri": "http://idp.acme.example/keys"} },
		"no PKCE":                     func(p *provider) { p.discovery = map[string]any{"code_challenge_methods_supported": []string{"plain"}} },
		"an answer without end": func(p *provider) {
			p.token = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"access_token":"`)
				for range 200 {
					fmt.Fprint(w, strings.Repeat("a", 10_000))
				}
			}
		},
		"a redirect to elsewhere": func(p *provider) {
			p.token = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/token", http.StatusTemporaryRedirect)
			}
		},
		"broken": func(p *provider) {
			p.token = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		},
	} {
		p := newProvider(t)
		bend(p)
		if _, err := p.login(t, nil); err == nil {
			t.Errorf("%s: logged in", name)
		} else if !errors.Is(err, oidc.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A provider that is down at the start is asked again later, but not by everybody.
func TestProviderComesUpLater(t *testing.T) {
	idp := devtest.StartIdP(t, dev.IdPConfig{Users: dev.People(nil), Clients: []dev.Client{{ID: clientID, Secret: "s", Redirects: []string{callback}}}})
	var mu sync.Mutex
	now := time.Now()
	rp, err := oidc.New(oidc.Config{
		Name: "idp", Issuer: idp.Issuer(), ClientID: clientID, ClientSecret: oidc.NewSecret("s\n"), RedirectURL: callback, AllowAddresses: oidc.Loopback(),
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := func() error { _, _, err := rp.Begin(t.Context(), "the-state"); return err }
	idp.SetDown(true)
	if err := begin(); !errors.Is(err, oidc.ErrUnavailable) {
		t.Fatal(err)
	}
	idp.SetDown(false)
	if err := begin(); !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("asked again at once: %v", err)
	}
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	if err := begin(); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := oidc.Config{Name: "idp", Issuer: "https://login.acme.example", ClientID: clientID, RedirectURL: callback}
	if _, err := oidc.New(good); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*oidc.Config){
		"no name":              func(c *oidc.Config) { c.Name = "" },
		"a name with a colon":  func(c *oidc.Config) { c.Name = "a:b" },
		"no issuer":            func(c *oidc.Config) { c.Issuer = "" },
		"issuer in the clear":  func(c *oidc.Config) { c.Issuer = "http://login.acme.example" },
		"issuer with a person": func(c *oidc.Config) { c.Issuer = "https://a@login.acme.example" },
		"no client":            func(c *oidc.Config) { c.ClientID = "" },
		"callback in clear":    func(c *oidc.Config) { c.RedirectURL = "http://mayfly.acme.example/oidc/callback" },
	} {
		c := good
		bend(&c)
		if _, err := oidc.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := oidc.NewSecret("hunter2")
	b, err := json.Marshal(struct{ S oidc.Secret }{s})
	if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, b); err != nil || strings.Contains(text, "hunter2") {
		t.Errorf("%s, %v", text, err)
	}
}
