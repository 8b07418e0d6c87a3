package dev

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	codeTTL    = 60 * time.Second
	pageTTL    = 10 * time.Minute
	tokenTTL   = 5 * time.Minute
	sessionTTL = 24 * time.Hour // of sessions and their refresh tokens
	maxStored  = 4096           // pages, codes, tokens, sessions: each
)

// Client is a relying party of the IdP.
type Client struct {
	ID     string
	Secret string // "" for a public client; PKCE is asked of all
	// Redirects are matched exactly, except that on 127.0.0.1 and [::1] any port
	// will do (RFC 8252 §7.3).
	Redirects []string
	Alg       string // of its ID and logout tokens: "ES256" (default) or "RS256"
	// BackchannelLogout is where Logout sends its logout tokens; "": nowhere.
	BackchannelLogout string
}

// IdPConfig configures an IdP.
type IdPConfig struct {
	Addr    string   // loopback address and port; "" means 127.0.0.1:0
	Users   []User   // required
	Clients []Client // required
	// GroupsInUserinfo tells groups at the userinfo endpoint only.
	GroupsInUserinfo bool
	Roots            *x509.CertPool // that clients' logout addresses are checked with; nil: the system's
	Now              func() time.Time
}

// IdP is an OpenID provider that asks who you are and believes it. It knows the
// code flow with PKCE S256, discovery, JWKS, userinfo, refresh tokens that rotate,
// and back-channel logout. Safe for concurrent use.
type IdP struct {
	addr     string
	clients  []Client
	userinfo bool // groups are told there only
	roots    *x509.CertPool
	now      func() time.Time
	held     net.Listener
	issuer   string
	down     atomic.Bool

	mu       sync.Mutex // guards the fields below
	users    []User
	keys     keyring
	pages    vault[authRequest] // login pages that are shown
	codes    vault[login]
	spent    vault[bought]  // by code
	access   vault[string]  // access token -> user name
	sessions vault[session] // by sid
	refresh  vault[string]  // refresh token -> sid
	rotated  vault[string]  // refresh token that was used -> sid
	slow     chan struct{}  // closed when answers go out again; nil: they do
}

// NewIdP checks c and makes the keys.
func NewIdP(c IdPConfig) (*IdP, error) {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if err := checkLoopback(c.Addr); err != nil {
		return nil, err
	}
	if len(c.Users) == 0 || len(c.Clients) == 0 {
		return nil, errors.New("development IdP: Users and Clients are required")
	}
	for _, cl := range c.Clients {
		if cl.ID == "" || len(cl.Redirects) == 0 || !slices.Contains([]string{"", "ES256", "RS256"}, cl.Alg) {
			return nil, fmt.Errorf("development IdP: client %q needs an id, redirects, and ES256 or RS256", cl.ID)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &IdP{
		addr: c.Addr, clients: slices.Clone(c.Clients), userinfo: c.GroupsInUserinfo, roots: c.Roots, now: c.Now,
		pages: vault[authRequest]{}, codes: vault[login]{}, spent: vault[bought]{}, access: vault[string]{},
		sessions: vault[session]{}, refresh: vault[string]{}, rotated: vault[string]{},
	}
	for _, u := range c.Users {
		if err := p.SetUser(u); err != nil {
			return nil, err
		}
	}
	return p, p.RotateKeys()
}

// Listen opens the port; after it Issuer is known.
func (p *IdP) Listen() error {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("development IdP: %w", err)
	}
	p.held, p.issuer = l, "http://"+l.Addr().String()
	return nil
}

// Issuer returns http://127.0.0.1:PORT, "" before Listen.
func (p *IdP) Issuer() string { return p.issuer }

// SetDown makes the provider hang up on everybody, or answer again.
func (p *IdP) SetDown(down bool) { p.down.Store(down) }

// SetSlow makes the provider take every question and answer none, until it is
// called again with false, or the asker gives up.
func (p *IdP) SetSlow(slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slow != nil {
		close(p.slow)
		p.slow = nil
	}
	if slow {
		p.slow = make(chan struct{})
	}
}

// wait holds an answer back while the provider is slow.
func (p *IdP) wait(ctx context.Context) {
	p.mu.Lock()
	slow := p.slow
	p.mu.Unlock()
	if slow == nil {
		return
	}
	select {
	case <-slow:
	case <-ctx.Done():
	}
}

// Serve answers on the port that Listen opened until ctx ends.
func (p *IdP) Serve(ctx context.Context) error {
	if p.held == nil {
		return errors.New("development IdP: Serve before Listen")
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(p.held) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		server.Close()
		<-done
		return nil
	}
}

// ServeHTTP answers one request.
func (p *IdP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.down.Load() {
		panic(http.ErrAbortHandler) // hangs up without an answer
	}
	p.wait(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method + " " + r.URL.Path {
	case "GET /.well-known/openid-configuration":
		writeJSON(w, http.StatusOK, p.metadata())
	case "GET /keys":
		writeJSON(w, http.StatusOK, p.publicKeys())
	case "GET /authorize", "POST /authorize":
		p.authorize(w, r)
	case "POST /login":
		p.login(w, r)
	case "POST /token":
		p.token(w, r)
	case "GET /userinfo", "POST /userinfo":
		p.tellUser(w, r)
	default:
		http.NotFound(w, r)
	}
}

// metadata is the discovery document (OpenID Connect Discovery §3, RFC 9207
// §3, Back-Channel Logout §2.1).
func (p *IdP) metadata() map[string]any {
	return map[string]any{
		"issuer":                                         p.issuer,
		"authorization_endpoint":                         p.issuer + "/authorize",
		"token_endpoint":                                 p.issuer + "/token",
		"userinfo_endpoint":                              p.issuer + "/userinfo",
		"jwks_uri":                                       p.issuer + "/keys",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"ES256", "RS256"},
		"token_endpoint_auth_methods_supported":          []string{"none", "client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "profile", "email", "groups", "offline_access"},
		"claims_supported":                               []string{"sub", "name", "email", "email_verified", "groups", "auth_time", "acr", "sid"},
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"authorization_response_iss_parameter_supported": true,
	}
}

func (p *IdP) client(id string) (Client, bool) {
	for _, c := range p.clients {
		if c.ID == id {
			return c, true
		}
	}
	return Client{}, false
}

// vault keeps values under unguessable keys until a time.
type vault[V any] map[string]kept[V]

type kept[V any] struct {
	value V
	until time.Time
}

// put forgets everything that has ended, and refuses when it is full.
func (v vault[V]) put(key string, value V, now time.Time, ttl time.Duration) error {
	for k, old := range v {
		if !now.Before(old.until) {
			delete(v, k)
		}
	}
	if len(v) >= maxStored {
		return errors.New("too many at once")
	}
	v[key] = kept[V]{value, now.Add(ttl)}
	return nil
}

func (v vault[V]) get(key string, now time.Time) (V, bool) {
	k, ok := v[key]
	if !ok || !now.Before(k.until) {
		return *new(V), false
	}
	return k.value, true
}

// take is get, once.
func (v vault[V]) take(key string, now time.Time) (V, bool) {
	value, ok := v.get(key, now)
	delete(v, key)
	return value, ok
}

func unguessable() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func checkLoopback(addr string) error {
	host, err := netip.ParseAddrPort(addr)
	if err != nil || !host.Addr().IsLoopback() {
		return fmt.Errorf("address %q: want a loopback IP address and port, such as 127.0.0.1:8080", addr)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}
