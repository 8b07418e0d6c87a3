package dev

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
)

const (
	defaultTTL = time.Hour
	rootTTL    = 10 * 365 * 24 * time.Hour
	backdate   = 10 * time.Second // for clocks that are a little behind
)

// CAConfig configures a development CA.
type CAConfig struct {
	// TrustDomain is the domain whose SVIDs are minted. Required.
	TrustDomain spiffeid.TrustDomain
	// Dir keeps the root key (0600) and the bundle between runs; "" keeps nothing. The
	// key of JWT-SVIDs is a new one in each run.
	Dir string
	// Now is the time that certificates are dated by; nil means time.Now.
	Now func() time.Time
}

// CA is the certificate authority of one trust domain. Safe for concurrent use.
type CA struct {
	domain spiffeid.TrustDomain
	now    func() time.Time
	dir    string

	mu      sync.Mutex // guards the fields below
	roots   []*x509.Certificate
	issuer  issuer
	jwt     jwtKeys
	changed chan struct{} // closed and replaced when the bundle changes
}

// issuer signs leaves; chain is what goes between a leaf and the root.
type issuer struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte
}

// NewCA makes a CA with a new root, or opens the one kept in c.Dir.
func NewCA(c CAConfig) (*CA, error) {
	if c.TrustDomain.IsZero() {
		return nil, errors.New("development CA: TrustDomain is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	ca := &CA{domain: c.TrustDomain, now: c.Now, dir: c.Dir, changed: make(chan struct{})}
	if c.Dir != "" {
		found, err := ca.load()
		if err != nil {
			return nil, fmt.Errorf("development CA in %s: %w", c.Dir, err)
		}
		if found {
			return ca, ca.RotateJWTKey()
		}
	}
	if err := ca.RotateRoot(); err != nil {
		return nil, err
	}
	return ca, ca.RotateJWTKey()
}

// TrustDomain returns the domain of the CA.
func (ca *CA) TrustDomain() spiffeid.TrustDomain { return ca.domain }

// ID returns the SPIFFE ID of a path such as "/ns/pay/sa/refunder".
func (ca *CA) ID(path string) (spiffeid.ID, error) { return spiffeid.FromPath(ca.domain, path) }

// Roots returns the signing certificates of the trust domain, the newest last.
func (ca *CA) Roots() []*x509.Certificate {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return slices.Clone(ca.roots)
}

// Bundles returns the trust bundle as the spiffe package takes it.
func (ca *CA) Bundles() *spiffe.Bundles {
	return spiffe.NewBundles(map[spiffeid.TrustDomain][]*x509.Certificate{ca.domain: ca.Roots()}).
		WithJWT(map[spiffeid.TrustDomain]spiffe.JWTKeys{ca.domain: ca.JWTKeys()})
}

// RotateRoot signs with a new root from now on. The old ones stay in the bundle.
func (ca *CA) RotateRoot() error {
	now := ca.now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := authority(ca.domain, now.Add(-backdate), now.Add(rootTTL))
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.roots = append(ca.roots, cert)
	ca.issuer = issuer{cert: cert, key: key}
	return ca.announce()
}

// DropOldRoots leaves only the newest root in the bundle. What older ones signed
// is no longer trusted.
func (ca *CA) DropOldRoots() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.roots = ca.roots[len(ca.roots)-1:]
	return ca.announce()
}

// UseIntermediate signs leaves with a new intermediate from now on; leaves carry
// it in their chain.
func (ca *CA) UseIntermediate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := ca.now()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	cert, err := sign(authority(ca.domain, now.Add(-backdate), now.Add(rootTTL/2)), ca.issuer.cert, key.Public(), ca.issuer.key)
	if err != nil {
		return err
	}
	ca.issuer = issuer{cert: cert, key: key, chain: append([][]byte{cert.Raw}, ca.issuer.chain...)}
	return nil
}

// Redact empties the bundle: nothing that the CA signed is trusted any more.
func (ca *CA) Redact() error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.roots, ca.jwt.public = nil, nil
	return ca.announce()
}

// announce needs mu.
func (ca *CA) announce() error {
	close(ca.changed)
	ca.changed = make(chan struct{})
	if ca.dir == "" {
		return nil
	}
	return ca.save()
}

// bundleChanged returns the roots and a channel that closes when they change.
func (ca *CA) bundleChanged() ([]*x509.Certificate, <-chan struct{}) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return slices.Clone(ca.roots), ca.changed
}

func (ca *CA) signer() issuer {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.issuer
}

func authority(td spiffeid.TrustDomain, from, to time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{spiffe.DevelopmentOrganization}, CommonName: td.Name()},
		URIs:                  []*url.URL{td.ID().URL()},
		NotBefore:             from,
		NotAfter:              to,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := signRaw(template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func signRaw(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, pub, key)
}
