package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/limit"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Peers turns a TLS connection into the workload behind it; *spiffe.Verifier is one.
type Peers interface {
	PeerFromState(cs tls.ConnectionState, now time.Time) (spiffe.Peer, error)
}

// Proofs checks proofs of possession; *tokens.Proofs is one. Its errors wrap
// tokens.ErrUseNonce where only the nonce is not one of now.
type Proofs interface {
	Verify(proof string, of tokens.Presented, now time.Time) (thumbprint [32]byte, err error)
}

// Workload is who a JWT-SVID proves, until when.
type Workload struct {
	Principal identity.Principal
	Ends      time.Time
}

// IDToken is what an ID token of an identity provider proves. It counts once.
type IDToken struct {
	Digest    [32]byte // of what was signed
	Principal identity.Principal
	AuthTime  time.Time // zero: it does not say
	ACR       string
	Ends      time.Time
}

// Config is what a Server is made of. Fields without a default are required.
type Config struct {
	Service *access.Service
	// Issuer is the address of the public door, https://host[:port] without a slash:
	// the issuer of tokens, and what every address of the metadata begins with.
	Issuer string
	// MTLS is the address of the workloads door, https://host[:port]. Empty: the
	// metadata has no aliases.
	MTLS string
	// Kinds are the catalogues of the kinds of app, by name; each has a schema.
	Kinds map[string]*scope.Catalogue
	Peers Peers
	// JWTSVID says who a JWT-SVID proves to an audience, by the bundle of its own
	// trust domain. Nil: none is accepted.
	JWTSVID func(ctx context.Context, token, audience string, now time.Time) (Workload, error)
	// IDToken says whom an ID token proves that a configured identity provider issued
	// to our client minutes ago. Nil: none is accepted.
	IDToken func(ctx context.Context, token string) (IDToken, error)
	// Login has the person at a browser log in, and calls Server.LoggedIn or
	// LoginFailed with kept. idp may be empty. It answers whole. Nil: nobody logs in.
	Login func(w http.ResponseWriter, r *http.Request, idp string, kept []byte)
	// Show draws a refusal for a browser that cannot be sent back. Nil: JSON.
	Show func(w http.ResponseWriter, r *http.Request, e *Error)
	// Proofs checks proofs that must carry Nonce. Both are required.
	Proofs Proofs
	Nonce  func(now time.Time) string
	// Now is the time for certificates, proofs and rate limits; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger // nil: none
}

// Server answers OAuth's endpoints. It is safe for concurrent use; Run belongs to it.
type Server struct {
	c         Config
	service   *access.Service
	verifier  *tokens.Verifier
	addresses *limit.Limiter
	callers   *limit.Limiter
	refused   *refusals
	holders   *holders
	schemas   map[string][]byte
}

// New checks c and returns a Server.
func New(c Config) (*Server, error) {
	switch {
	case c.Service == nil:
		return nil, errors.New("oauth: no service")
	case c.Peers == nil:
		return nil, errors.New("oauth: no verifier of workloads")
	case c.Proofs == nil || c.Nonce == nil:
		return nil, errors.New("oauth: no verifier of proofs")
	case len(c.Kinds) == 0:
		return nil, errors.New("oauth: no kinds of app")
	}
	if err := address(c.Issuer); err != nil {
		return nil, fmt.Errorf("oauth: issuer: %w", err)
	}
	if c.MTLS != "" {
		if err := address(c.MTLS); err != nil {
			return nil, fmt.Errorf("oauth: the workloads door: %w", err)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		c: c, service: c.Service, schemas: map[string][]byte{},
		addresses: limit.New(c.Now, addressBurst, addressEvery), callers: limit.New(c.Now, callerBurst, callerEvery),
		refused: newRefusals(c.Now), holders: newHolders(maxHeld),
	}
	for kind, catalogue := range c.Kinds {
		s.schemas[kind] = Schema(kind, catalogue)
	}
	var err error
	if s.verifier, err = tokens.NewVerifier(tokens.VerifierConfig{Issuer: c.Issuer, Keys: s.keys}); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	return s, nil
}

// address refuses what is not https://host[:port].
func address(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || text != "https://"+u.Host || strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("%q is not an address such as https://mayfly.acme.example", text)
	}
	return nil
}

// keysTime is how long the database has to say which keys verify.
const keysTime = 5 * time.Second

// keys returns the keys that verify our tokens now; nil, under which none verifies,
// if they cannot be read.
func (s *Server) keys() *tokens.KeySet {
	ctx, cancel := context.WithTimeout(context.Background(), keysTime)
	defer cancel()
	set, err := s.service.TokenKeys(ctx)
	if err != nil {
		s.c.Log.ErrorContext(ctx, "no keys to verify tokens under", "error", err)
		return nil
	}
	return set
}
