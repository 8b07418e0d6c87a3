package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity/oidc"
	"github.com/mayflyproxy/mayfly/limit"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Provider logs persons in; *oidc.RP is one.
type Provider interface {
	// Name is the <idp> of its accounts, and part of its addresses here.
	Name() string
	// Begin returns where the browser goes, and what Finish needs later.
	Begin(ctx context.Context, state string) (authURL string, keep []byte, err error)
	// Finish says who logged in. Its errors wrap those of package oidc.
	Finish(ctx context.Context, keep []byte, query url.Values) (oidc.Facts, error)
	// Logout says whose sessions a logout token ends. Its errors wrap those of
	// package oidc.
	Logout(ctx context.Context, logoutToken string) (oidc.LogoutFacts, error)
	// Undo forgets that a token was seen: what it says could not be carried out, and
	// the provider may try again.
	Undo(oidc.LogoutFacts)
}

// Pages draws what a browser is shown; *console.Console is one. Each answers
// whole, with its own Content-Security-Policy.
type Pages interface {
	// Choose asks with which provider a person logs in; next is the link to one.
	Choose(w http.ResponseWriter, r *http.Request, names []string, next func(name string) string)
	// Confirm asks whether the command may act as the person who has logged in. Its
	// form goes to /login/confirm with the token, and answer=continue or cancel.
	Confirm(w http.ResponseWriter, r *http.Request, ask api.CommandLogin)
	// LoggedOut says that the login has ended, and leads to a new one.
	LoggedOut(w http.ResponseWriter, r *http.Request)
	// Problem shows a problem, with its status.
	Problem(w http.ResponseWriter, r *http.Request, p *api.Problem)
}

// Authorization is what a login for an authorization code goes on with; the
// *oauth.Server is one. Each answers whole.
type Authorization interface {
	// Asks says what the person is to be asked before LoggedIn: its Address and Code.
	Asks(kept []byte) (api.CommandLogin, error)
	// LoggedIn sends the browser on with what the login proved; kept is what
	// Server.Login was given.
	LoggedIn(w http.ResponseWriter, r *http.Request, kept []byte, l access.Login)
	// LoginFailed sends the browser on with the reason why there is none.
	LoginFailed(w http.ResponseWriter, r *http.Request, kept []byte, p *api.Problem)
}

// Proofs checks that whoever speaks with a session holds its key (RFC 9449);
// *tokens.Proofs is one.
type Proofs interface {
	// Verify returns the thumbprint of the key. Its errors wrap tokens.ErrUseNonce
	// where only the nonce is not one of now.
	Verify(proof string, of tokens.Presented, now time.Time) (thumbprint [32]byte, err error)
}

// Peers turns a TLS connection into the workload behind it; *spiffe.Verifier is one.
type Peers interface {
	PeerFromState(cs tls.ConnectionState, now time.Time) (spiffe.Peer, error)
}

// EnvoyStatus is how far the Envoy of one instance has come.
type EnvoyStatus struct {
	Connected bool
	Nack      string   // newest refusal of a configuration, or why it was not sent; empty: none
	Uncovered []string // hosts of its apps that people cannot reach there
}

// Config is what a Server is made of. Fields without a default are required.
type Config struct {
	Service *access.Service
	Store   access.Store // of Service; read for tiles and exports only
	// Providers are those that people log in with, each name once. At least one.
	Providers []Provider
	Peers     Peers
	// Authorization goes on with logins for an authorization code. Nil: there are none.
	Authorization Authorization
	// Proofs checks proofs of possession. Required.
	Proofs Proofs
	// Nonce is what proofs must carry at a time. Nil: proofs need none.
	Nonce func(now time.Time) string
	// URL is the address of the public door as people reach it, https://host[:port].
	URL string
	// Pages draws for browsers; nil: they are answered like programs.
	Pages Pages
	// RecordKey is the verifier key of the record's checkpoints.
	RecordKey string
	// EnvoyStatus tells of Envoys by instance; nil: nothing is known of them.
	EnvoyStatus func() map[string]EnvoyStatus
	// TempDir holds exports under way; empty is the system's.
	TempDir string
	// PolicyHook is for a forge that tells of new commits. Nil: none may.
	PolicyHook *PolicyHook
	// Dev says in whoami that unsigned policy is accepted.
	Dev bool
	// Now is the time for certificates and rate limits; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger // nil: none
}

// Server answers the API. It is safe for concurrent use.
type Server struct {
	c       Config
	service *access.Service
	record  record
	origin  string         // of URL, as browsers write it
	logins  *limit.Limiter // of login pages and codes, by peer address
	logouts *limit.Limiter // of what is no logout token, by peer address
	hooks   *limit.Limiter // of calls of the policy hook, by peer address
	exports chan struct{}
	plans   chan struct{}
}

// maxExports is how many exports may run at a time: each holds a copy on disk.
const maxExports = 2

// New checks c and returns a Server.
func New(c Config) (*Server, error) {
	switch {
	case c.Service == nil:
		return nil, errors.New("server: no service")
	case c.Store == nil:
		return nil, errors.New("server: no store")
	case len(c.Providers) == 0:
		return nil, errors.New("server: no identity provider")
	case c.Peers == nil:
		return nil, errors.New("server: no verifier of workloads")
	case c.Proofs == nil:
		return nil, errors.New("server: no verifier of proofs")
	}
	if c.PolicyHook != nil && (len(c.PolicyHook.Secret) < minHookSecret || c.PolicyHook.Pushed == nil) {
		return nil, fmt.Errorf("server: the secret of the policy hook has under %d bytes, or nobody is told", minHookSecret)
	}
	names := map[string]bool{}
	for _, p := range c.Providers {
		if names[p.Name()] {
			return nil, fmt.Errorf("server: two identity providers are called %s", p.Name())
		}
		names[p.Name()] = true
	}
	origin, ok := originOf(c.URL)
	if !ok {
		return nil, fmt.Errorf("server: %q is not an address such as https://mayfly.acme.example", c.URL)
	}
	verifier, err := audit.NewVerifier(c.RecordKey)
	if err != nil {
		return nil, fmt.Errorf("server: the record's key: %w", err)
	}
	if c.EnvoyStatus == nil {
		c.EnvoyStatus = func() map[string]EnvoyStatus { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		c: c, service: c.Service, record: record{store: c.Store, service: c.Service, verifier: verifier},
		origin: origin, logins: limit.New(c.Now, limitBurst, limitEvery), logouts: limit.New(c.Now, limitBurst, limitEvery),
		hooks: limit.New(c.Now, limitBurst, limitEvery), exports: make(chan struct{}, maxExports),
		plans: make(chan struct{}, maxPlans),
	}, nil
}

// Public returns the handler of the public door: TLS that asks for no certificate.
// It answers the paths that it Owns.
func (s *Server) Public() http.Handler { return s.public().handler() }

func (s *Server) public() *mux {
	m := newMux(s.c.Log, s.c.Pages)
	m.handle("GET /login", s.login)
	m.handle("POST "+confirmPath, s.confirm)
	m.handle("POST /logout", s.consoleLogout)
	m.handle("GET /oidc/{idp}/callback", s.oidcCallback)
	m.handle("POST /oidc/{idp}/logout", s.providerLogout)
	m.handle("POST "+policyHookPath, s.policyHook)
	m.handle("GET /checkpoint", s.checkpoint)
	m.handle("GET /tile/", s.person(s.tile))
	s.routes(m, s.person)
	m.handle("POST /api/v1/logout", s.person(s.logout))
	return m
}

// Workloads returns the handler of the workloads door: TLS that demands an SVID
// of a configured trust domain (spiffe.ServerTLS).
func (s *Server) Workloads() http.Handler { return s.workloads().handler() }

func (s *Server) workloads() *mux {
	m := newMux(s.c.Log, nil)
	s.routes(m, s.workload)
	return m
}

// routes adds the API, for callers that prove proves.
func (s *Server) routes(m *mux, prove func(action) handler) {
	m.handle("GET /api/v1/openapi.json", s.document)
	for pattern, f := range map[string]action{
		"POST /api/v1/requests":               s.postRequest,
		"GET /api/v1/requests":                s.listRequests,
		"GET /api/v1/requests/{id}":           s.showRequest,
		"POST /api/v1/requests/{id}/approve":  s.approve,
		"POST /api/v1/requests/{id}/deny":     s.deny,
		"POST /api/v1/requests/{id}/withdraw": s.withdraw,
		"GET /api/v1/grants":                  s.listGrants,
		"GET /api/v1/grants/{id}":             s.showGrant,
		"POST /api/v1/grants/{id}/revoke":     s.revoke,
		"POST /api/v1/grants/{id}/finish":     s.finish,
		"GET /api/v1/grants/{id}/receipts":    s.receipts,
		"GET /api/v1/grants/{id}/reach":       s.reach,
		"GET /api/v1/denials/{id}":            s.fromDenial,
		"GET /api/v1/nodes":                   s.nodes,
		"GET /api/v1/workloads":               s.listWorkloads,
		"GET /api/v1/observe/report":          s.observeReport,
		"POST /api/v1/nodes/quarantine":       s.quarantine,
		"POST /api/v1/nodes/release":          s.release,
		"GET /api/v1/keys":                    s.keys,
		"POST /api/v1/keys/rotate":            s.rotateKeys,
		"POST /api/v1/keys/remove":            s.removeKey,
		"POST /api/v1/locks":                  s.lock,
		"POST /api/v1/locks/lift":             s.unlock,
		"GET /api/v1/locks":                   s.locks,
		"GET /api/v1/policy":                  s.policyStatus,
		"POST /api/v1/policy/hold":            s.holdPolicy,
		"POST /api/v1/policy/plan":            s.planPolicy,
		"POST /api/v1/policy/replay":          s.replayPolicy,
		"GET /api/v1/policy/log":              s.logPolicy,
		"GET /api/v1/trace/{id}":              s.trace,
		"GET /api/v1/explain/{id}":            s.explain,
		"GET /api/v1/entitlements":            s.entitlements,
		"GET /api/v1/whoami":                  s.whoami,
		"GET /api/v1/audit/export":            s.export,
	} {
		m.handle(pattern, prove(f))
	}
}
