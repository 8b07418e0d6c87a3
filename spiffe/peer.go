package spiffe

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/identity"
)

const (
	maxPEM       = 32 << 10
	maxChain     = 8
	defaultCache = 4096
)

// Peer is a workload that proved itself with its certificate.
type Peer struct {
	Principal identity.Principal
	ID        spiffeid.ID
	// NotBefore and NotAfter bound the proof: the narrowest term on the chain.
	NotBefore, NotAfter time.Time
	// SHA256 is over the leaf's DER: what a token is bound to (RFC 8705 §3.1) and
	// what the record keeps.
	SHA256 [sha256.Size]byte
}

// VerifierConfig configures a Verifier.
type VerifierConfig struct {
	// Bundles returns the trust bundles in force. Required; cheap, called on every
	// check. Source.Bundles is one.
	Bundles func() *Bundles
	// TrustDomains are the domains whose workloads are accepted. Required. A bundle
	// of another domain is never used.
	TrustDomains []spiffeid.TrustDomain
	// Cache is how many verified chains are remembered; 0 means 4096.
	Cache int
}

// Verifier turns peer certificates into peers. It remembers the chains that it
// verified, under the bundles that it verified them with; the term is checked on
// every call. Safe for concurrent use.
type Verifier struct {
	bundles func() *Bundles
	domains []spiffeid.TrustDomain
	size    int
	seen    atomic.Pointer[verified]
}

// verified is what holds under one state of the bundles.
type verified struct {
	bundles *Bundles
	peers   *lru.Cache[[sha256.Size]byte, Peer]
}

// NewVerifier checks c.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if c.Bundles == nil {
		return nil, errors.New("spiffe verifier: Bundles is required")
	}
	if len(c.TrustDomains) == 0 || slices.ContainsFunc(c.TrustDomains, spiffeid.TrustDomain.IsZero) {
		return nil, errors.New("spiffe verifier: TrustDomains is required")
	}
	if c.Cache < 0 {
		return nil, fmt.Errorf("spiffe verifier: cache of %d", c.Cache)
	}
	if c.Cache == 0 {
		c.Cache = defaultCache
	}
	return &Verifier{bundles: c.Bundles, domains: slices.Clone(c.TrustDomains), size: c.Cache}, nil
}

// Verify returns the peer that chain (leaf first, then intermediates) proves at
// now. Every error is an *Error.
func (v *Verifier) Verify(chain []*x509.Certificate, now time.Time) (Peer, error) {
	raw := make([][]byte, len(chain))
	for i, c := range chain {
		raw[i] = c.Raw
	}
	return v.remember(raw, func() ([]*x509.Certificate, error) { return chain, nil }, now)
}

// VerifyPEM is Verify for CERTIFICATE blocks, leaf first.
func (v *Verifier) VerifyPEM(text []byte, now time.Time) (Peer, error) {
	raw, err := decodePEM(text)
	if err != nil {
		return Peer{}, refuse(ReasonMalformed, "", "%w", err)
	}
	return v.remember(raw, func() ([]*x509.Certificate, error) { return parseChain(raw) }, now)
}

// VerifyEscapedPEM is VerifyPEM for the text in which Envoy hands on the peer's
// certificate (CheckRequest attributes.source.certificate): URL-encoded PEM.
func (v *Verifier) VerifyEscapedPEM(text string, now time.Time) (Peer, error) {
	if len(text) > 3*maxPEM {
		return Peer{}, refuse(ReasonMalformed, "", "certificate of %d bytes", len(text))
	}
	plain, err := url.PathUnescape(text)
	if err != nil {
		return Peer{}, refuse(ReasonMalformed, "", "%w", err)
	}
	return v.VerifyPEM([]byte(plain), now)
}

// PeerFromState returns the peer of a TLS connection at now. A connection
// outlives its certificate, so servers ask on every request.
func (v *Verifier) PeerFromState(cs tls.ConnectionState, now time.Time) (Peer, error) {
	return v.Verify(cs.PeerCertificates, now)
}

func (v *Verifier) remember(raw [][]byte, parse func() ([]*x509.Certificate, error), now time.Time) (Peer, error) {
	if len(raw) == 0 {
		return Peer{}, refuse(ReasonNone, "", "the peer sent no certificate")
	}
	if len(raw) > maxChain {
		return Peer{}, refuse(ReasonMalformed, "", "chain of %d certificates", len(raw))
	}
	state := v.state()
	leaf, key := sums(raw)
	peer, ok := state.peers.Get(key)
	if !ok {
		chain, err := parse()
		if err != nil {
			return Peer{}, refuse(ReasonMalformed, "", "%w", err)
		}
		var refused *Error
		if peer, refused = verify(chain, state.bundles, v.domains, now); refused != nil {
			return Peer{}, refused
		}
		peer.SHA256 = leaf
		state.peers.Add(key, peer)
	}
	if err := checkTerm(peer.ID.String(), peer.NotBefore, peer.NotAfter, now); err != nil {
		return Peer{}, err
	}
	return peer, nil
}

// state returns what was verified under the bundles in force, empty after a change.
func (v *Verifier) state() *verified {
	now := v.bundles()
	if s := v.seen.Load(); s != nil && s.bundles == now {
		return s
	}
	peers, err := lru.New[[sha256.Size]byte, Peer](v.size)
	if err != nil {
		panic(err) // only for a size below 1, which NewVerifier excludes
	}
	s := &verified{bundles: now, peers: peers}
	v.seen.Store(s)
	return s
}

// sums returns the leaf's hash and the key of the whole chain.
func sums(raw [][]byte) (leaf, key [sha256.Size]byte) {
	leaf = sha256.Sum256(raw[0])
	if len(raw) == 1 {
		return leaf, leaf
	}
	all := make([]byte, 0, len(raw)*sha256.Size)
	for _, der := range raw {
		sum := sha256.Sum256(der)
		all = append(all, sum[:]...)
	}
	return leaf, sha256.Sum256(all)
}

// PeerPrincipal returns the principal that chain proves at now: X.509-SVID rules
// on the leaf, then verification against the bundle of the ID's own trust domain,
// which must be one of domains. Every error is an *Error. It remembers nothing;
// see Verifier for many checks.
func PeerPrincipal(chain []*x509.Certificate, bundles *Bundles, now time.Time, domains ...spiffeid.TrustDomain) (identity.Principal, error) {
	p, err := verify(chain, bundles, domains, now)
	if err != nil {
		return identity.Principal{}, err
	}
	return p.Principal, nil
}

func verify(chain []*x509.Certificate, bundles *Bundles, domains []spiffeid.TrustDomain, now time.Time) (Peer, *Error) {
	if len(chain) == 0 {
		return Peer{}, refuse(ReasonNone, "", "the peer sent no certificate")
	}
	leaf := chain[0]
	id, refused := leafID(leaf)
	if refused != nil {
		return Peer{}, refused
	}
	name := id.String()
	if !slices.Contains(domains, id.TrustDomain()) {
		return Peer{}, refuse(ReasonForeignDomain, name, "trust domain %s is not accepted here", id.TrustDomain())
	}
	if err := checkUse(leaf, name); err != nil {
		return Peer{}, err
	}
	if err := checkKey(leaf, name); err != nil {
		return Peer{}, err
	}
	if err := checkTerm(name, leaf.NotBefore, leaf.NotAfter, now); err != nil {
		return Peer{}, err
	}
	from, to, refused := verifyChain(chain, bundles, id, now)
	if refused != nil {
		return Peer{}, refused
	}
	principal, err := identity.Workload(id)
	if err != nil {
		return Peer{}, refuse(ReasonNoPath, name, "%w", err)
	}
	return Peer{Principal: principal, ID: id, NotBefore: from, NotAfter: to, SHA256: sha256.Sum256(leaf.Raw)}, nil
}

func verifyChain(chain []*x509.Certificate, bundles *Bundles, id spiffeid.ID, now time.Time) (from, to time.Time, refused *Error) {
	td := id.TrustDomain()
	if bundles == nil || len(bundles.domains[td].certs) == 0 {
		return from, to, refuse(ReasonNoBundle, id.String(), "no bundle for trust domain %s", td)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         bundles.domains[td].pool,
		Intermediates: bundles.candidates(chain[1:]),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // checkUse looks at the leaf's own
	})
	if err != nil {
		return from, to, refuse(ReasonUntrusted, id.String(), "%w", err)
	}
	for _, path := range paths {
		if f, t := term(path); t.After(to) {
			from, to = f, t
		}
	}
	return from, to, nil
}

// term returns the time in which every certificate of path is valid.
func term(path []*x509.Certificate) (from, to time.Time) {
	from, to = path[0].NotBefore, path[0].NotAfter
	for _, c := range path[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	return from, to
}

func decodePEM(text []byte) ([][]byte, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("certificate of %d bytes", len(text))
	}
	var out [][]byte
	for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" || !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("want PEM blocks of type CERTIFICATE only")
		}
		out, text = append(out, block.Bytes), rest
	}
	return out, nil
}

func parseChain(raw [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(raw))
	for i, der := range raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain[i] = c
	}
	return chain, nil
}
