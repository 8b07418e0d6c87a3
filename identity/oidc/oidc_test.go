package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

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
		"out of order":     {func(q url.Values) { q.Set("error", "temporarily_unavailable") }, oidc.ErrUnavailable},
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
		"a provider inside":           func(p *provider) { p.config = func(c *oidc.Config) { c.AllowAddresses = nil } },
		"userinfo in the clear":       func(p *provider) { p.discovery = map[string]any{"userinfo_endpoint": "http://idp.acme.example/me"} },
		"keys that are a file":        func(p *provider) { p.discovery = map[string]any{"jwks_uri": "file:///etc/passwd"} },
		"keys of the cloud's":         func(p *provider) { p.discovery = map[string]any{"jwks_uri": "https://169.254.169.254/keys"} },
		"a token endpoint inside":     func(p *provider) { p.discovery = map[string]any{"token_endpoint": "https://[fd00:ec2::254]/token"} },
		"no token endpoint":           func(p *provider) { p.discovery = map[string]any{"token_endpoint": ""} },
		"a discovery without end":     func(p *provider) { p.discovery = map[string]any{"x": strings.Repeat("x", 256<<10)} },
		"secrets by another way": func(p *provider) {
			p.discovery = map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}
			p.config = func(c *oidc.Config) { c.ClientSecret = oidc.NewSecret("s") }
		},
		"no userinfo where it is to be asked": func(p *provider) { p.config = func(c *oidc.Config) { c.UserInfo = true } },
		"busy": func(p *provider) {
			p.token = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
		},
		"no PKCE": func(p *provider) { p.discovery = map[string]any{"code_challenge_methods_supported": []string{"plain"}} },
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
		Name: "idp", Issuer: idp.Issuer(), ClientID: clientID, ClientSecret: oidc.NewSecret("s\n"), RedirectURL: callback, AllowAddresses: egress.Loopback(),
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
		"people by e-mail":     func(c *oidc.Config) { c.SubjectClaim = "email" },
		"a claim in two lines": func(c *oidc.Config) { c.GroupsClaim = "a\nb" },
		"a long claim":         func(c *oidc.Config) { c.NameClaim = strings.Repeat("a", 201) },
		"two scopes in one":    func(c *oidc.Config) { c.Scopes = []string{"a b"} },
		"every address":        func(c *oidc.Config) { c.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"no address":           func(c *oidc.Config) { c.AllowAddresses = []netip.Prefix{{}} },
		"an address in disguise": func(c *oidc.Config) {
			c.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}
		},
		"callback in clear": func(c *oidc.Config) { c.RedirectURL = "http://mayfly.acme.example/oidc/callback" },
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
