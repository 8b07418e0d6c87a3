package access

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/metrics"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/trace"
)

// Config is what a Service is made of.
type Config struct {
	Store  Store
	Signer *audit.Signer // of checkpoints
	Minter *grant.Minter
	// Policy is how policies are loaded: the catalogues of the kinds of app, and
	// what else this process checks. Its Commit is not used.
	Policy policy.Options
	// Wake is called after each commit that changed what instances hold; it must
	// not block. Nil: nobody is woken.
	Wake func()
	// Published is called with each newly signed checkpoint, after the commit
	// that it covers, in the order of their sizes. Nil: nobody is told.
	Published func(signed []byte)
	// Console is the https URL of the public door, where people log in and ask. No
	// trailing slash. Required once an app takes people.
	Console string
	// PeoplePort is the port under which people reach the hosts of apps. Zero: 443.
	PeoplePort uint16
	// SessionLife is how long a login lasts, at most MaxSession. Zero: MaxSession.
	SessionLife time.Duration
	// Seal keeps refresh tokens of identity providers and the private parts of token
	// keys. Nil: none is kept, nobody is checked again, and no token is signed.
	Seal Sealer
	// Tokens is how keys of the token service are made and changed.
	Tokens TokenKeyConfig
	// Identities asks identity providers again; see Recheck. Nil: nobody is checked
	// again. It needs Seal.
	Identities Identities
	// IdentityMaxAge is how long the word of an identity provider counts for a
	// person with live access, at most MaxIdentityAge. Zero: DefaultIdentityAge.
	IdentityMaxAge time.Duration
	// DenialWait is how long FromDenial waits for a denial to arrive, at most
	// 3 s. Zero: 3 s.
	DenialWait time.Duration
	// Unsettled has every commit of policy enter into force at once, whatever it says
	// of settle: development.
	Unsettled bool
	// Bundles tells of the foreign bundles that this process holds. Nil: of none.
	Bundles func() []Bundle
	// Traces shows each request's way to whoever runs traces. Nil: nobody sees it.
	Traces *trace.Tracer
	// Revoked tells how long early ends take to hold everywhere. Nil: nobody is told.
	Revoked *metrics.Revocations
	Log     *slog.Logger // nil: none
}

// Service carries out the verbs. It is safe for concurrent use.
type Service struct {
	store       Store
	signer      *audit.Signer
	minter      *grant.Minter
	options     policy.Options
	wake        func()
	published   func([]byte)
	console     string
	peoplePort  uint16
	sessionLife time.Duration
	seal        Sealer
	tokenKeys   TokenKeyConfig
	signing     signingKeys
	identities  Identities
	identityAge time.Duration
	denialWait  time.Duration
	unsettled   bool
	ownBundles  func() []Bundle
	traces      *trace.Tracer
	revoked     *metrics.Revocations
	log         *slog.Logger

	policies policyCache
	replayed policyCache // of old decisions: see policyOf
	spools   spoolBook
	bundles  bundleBook
	digests  digestBook
	keeps    checkpointBook
	callers  apiCallers
	asking   asking
	swept    atomic.Int64  // when the first sweep for idle grants was, in µs; 0: not yet
	arriving arrivals      // segments that wait to be stored
	line     chan struct{} // held by the one change of updateInLine
	verbs    atomic.Int32  // that wait for the writer
	readers  chan struct{} // held by those that read a segment
	ingested bell          // rings when a segment was stored
	watches  watches

	signMu sync.Mutex // guards signed and the order of published
	signed signedCheckpoint
}

// New checks a Config and returns the Service.
func New(c Config) (*Service, error) {
	if k, ok := c.Seal.(SealKey); ok && k.IsZero() {
		c.Seal = nil
	}
	if err := c.Tokens.complete(); err != nil {
		return nil, err
	}
	switch {
	case c.Store == nil:
		return nil, errors.New("access: no store")
	case c.Signer == nil:
		return nil, errors.New("access: no signer of checkpoints")
	case c.Minter == nil:
		return nil, errors.New("access: no minter of ids")
	case c.Policy.Catalogue == nil:
		return nil, errors.New("access: no catalogues")
	case c.SessionLife < 0 || c.SessionLife > MaxSession:
		return nil, errors.New("access: a session lasts at most 8h")
	case c.Identities != nil && c.Seal == nil:
		return nil, errors.New("access: no key to seal refresh tokens with")
	case c.IdentityMaxAge < 0 || c.IdentityMaxAge > MaxIdentityAge:
		return nil, errors.New("access: the word of an identity provider counts for at most 1h")
	case c.DenialWait < 0 || c.DenialWait > maxDenialWait:
		return nil, errors.New("access: a denial is waited for at most 3s")
	}
	s := &Service{
		store: c.Store, signer: c.Signer, minter: c.Minter, options: c.Policy,
		wake: c.Wake, published: c.Published, console: c.Console, peoplePort: c.PeoplePort, sessionLife: c.SessionLife, traces: c.Traces, revoked: c.Revoked, log: c.Log,
		line: make(chan struct{}, 1), readers: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), seal: c.Seal, tokenKeys: c.Tokens, identities: c.Identities, identityAge: c.IdentityMaxAge, unsettled: c.Unsettled,
	}
	if s.peoplePort == 0 {
		s.peoplePort = 443
	}
	if s.wake == nil {
		s.wake = func() {}
	}
	if s.published == nil {
		s.published = func([]byte) {}
	}
	if s.denialWait = c.DenialWait; s.denialWait == 0 {
		s.denialWait = maxDenialWait
	}
	if s.identityAge == 0 {
		s.identityAge = DefaultIdentityAge
	}
	if s.sessionLife == 0 {
		s.sessionLife = MaxSession
	}
	if s.ownBundles = c.Bundles; s.ownBundles == nil {
		s.ownBundles = func() []Bundle { return nil }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}
