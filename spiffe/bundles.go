package spiffe

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// DevelopmentOrganization is the organisation in the subject of every root of
// the development CA. See Bundles.Development.
const DevelopmentOrganization = "Mayfly development, not for production"

// Bundles is one immutable state of the trust bundles: the signing certificates
// of each trust domain, and the keys of its JWT-SVIDs, kept apart. A nil or empty
// Bundles trusts nobody.
type Bundles struct {
	domains map[spiffeid.TrustDomain]authorities
	jwt     map[spiffeid.TrustDomain]JWTKeys
	// hints are the signing certificates between our own SVIDs and their roots. A
	// peer's leaf that comes without its chain (Envoy's ext_authz sends only the
	// leaf) usually hangs on the same ones. They are candidates, not trusted.
	hints []*x509.Certificate
}

type authorities struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// NewBundles returns the bundles of some trust domains. A domain with no
// certificate is one whose bundle was withdrawn: nothing in it is trusted.
func NewBundles(certs map[spiffeid.TrustDomain][]*x509.Certificate) *Bundles {
	return newBundles(certs, nil)
}

func newBundles(certs map[spiffeid.TrustDomain][]*x509.Certificate, hints []*x509.Certificate) *Bundles {
	b := &Bundles{domains: make(map[spiffeid.TrustDomain]authorities, len(certs)), hints: slices.Clone(hints)}
	for td, list := range certs {
		b.domains[td] = authorities{slices.Clone(list), poolOf(list)}
	}
	return b
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

// TrustDomains returns the trust domains that have a bundle, sorted by name.
func (b *Bundles) TrustDomains() []spiffeid.TrustDomain {
	if b == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(b.domains), func(x, y spiffeid.TrustDomain) int { return strings.Compare(x.Name(), y.Name()) })
}

// Authorities returns the signing certificates of td, none if it has no bundle.
func (b *Bundles) Authorities(td spiffeid.TrustDomain) []*x509.Certificate {
	if b == nil {
		return nil
	}
	return slices.Clone(b.domains[td].certs)
}

// PEM returns the bundle of td as CERTIFICATE blocks, empty if it has none.
func (b *Bundles) PEM(td spiffeid.TrustDomain) []byte {
	var out bytes.Buffer
	for _, c := range b.Authorities(td) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.Bytes()
}

// Equal reports whether b and o trust the same certificates and keys for the same domains.
func (b *Bundles) Equal(o *Bundles) bool {
	if b == nil || o == nil {
		return b == o
	}
	same := func(x, y *x509.Certificate) bool { return x.Equal(y) }
	return slices.EqualFunc(b.hints, o.hints, same) && maps.EqualFunc(b.jwt, o.jwt, JWTKeys.equal) &&
		maps.EqualFunc(b.domains, o.domains, func(x, y authorities) bool { return slices.EqualFunc(x.certs, y.certs, same) })
}

// Development reports whether td is rooted in a development CA, or signs JWT-SVIDs
// with a key of one. Product binaries
// refuse such a domain unless they run with --dev.
func (b *Bundles) Development(td spiffeid.TrustDomain) bool {
	for _, c := range b.Authorities(td) {
		if slices.Contains(c.Subject.Organization, DevelopmentOrganization) {
			return true
		}
	}
	return b != nil && b.jwt[td].development()
}

// JWT returns the keys of JWT-SVIDs of each trust domain. The keys are shared.
func (b *Bundles) JWT() map[spiffeid.TrustDomain]JWTKeys {
	if b == nil {
		return nil
	}
	return maps.Clone(b.jwt)
}

// WithJWT returns b with these keys of JWT-SVIDs in place of its own.
func (b *Bundles) WithJWT(keys map[spiffeid.TrustDomain]JWTKeys) *Bundles {
	out := &Bundles{jwt: maps.Clone(keys)}
	if b != nil {
		out.domains, out.hints = b.domains, b.hints
	}
	return out
}

// GetJWTBundleForTrustDomain returns the keys that JWT-SVIDs of td verify under, and
// an error if there are none. It is what VerifyJWT takes.
func (b *Bundles) GetJWTBundleForTrustDomain(td spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	if b == nil || len(b.jwt[td]) == 0 {
		return nil, fmt.Errorf("trust domain %s has no keys of JWT-SVIDs", td.Name())
	}
	return jwtbundle.FromJWTAuthorities(td, b.jwt[td]), nil
}

// candidates returns the intermediates for verifying a peer's chain.
func (b *Bundles) candidates(chain []*x509.Certificate) *x509.CertPool {
	pool := poolOf(chain)
	for _, c := range b.hints {
		pool.AddCert(c)
	}
	return pool
}
