package dev

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// Template says what certificate to mint. With ID alone it makes a proper
// X.509-SVID of one hour; the other fields bend it, also out of the standard.
type Template struct {
	ID  spiffeid.ID
	DNS []string
	// TTL is the term from now; 0 means one hour. NotBefore and NotAfter override it.
	TTL                 time.Duration
	NotBefore, NotAfter time.Time

	URIs        []string // instead of ID, written as they are
	CA          bool
	KeyUsage    x509.KeyUsage // 0 means digitalSignature
	NoKeyUsage  bool
	LaxKeyUsage bool                    // digitalSignature, but not marked critical
	ExtKeyUsage []x509.ExtKeyUsage      // nil means clientAuth and serverAuth
	Key         crypto.Signer           // nil means a new P-256 key
	Signature   x509.SignatureAlgorithm // 0 means the authority's own choice
}

// Mint signs what t says. Leaf is set, unless the certificate is one that
// crypto/x509 writes but does not read, such as one with a NUL in a URI.
func (ca *CA) Mint(t Template) (tls.Certificate, error) {
	key := t.Key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return tls.Certificate{}, err
		}
	}
	from := ca.signer()
	template, err := t.certificate(ca.now())
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := signRaw(template, from.cert, key.Public(), from.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		leaf = nil
	}
	return tls.Certificate{Certificate: append([][]byte{der}, from.chain...), PrivateKey: key, Leaf: leaf}, nil
}

// SVID mints the X.509-SVID of id; 0 means one hour.
func (ca *CA) SVID(id spiffeid.ID, ttl time.Duration, dns ...string) (*x509svid.SVID, error) {
	cert, err := ca.Mint(Template{ID: id, TTL: ttl, DNS: dns})
	if err != nil {
		return nil, err
	}
	chainPEM, keyPEM, err := PEM(cert)
	if err != nil {
		return nil, err
	}
	return x509svid.Parse(chainPEM, keyPEM)
}

// Source mints the SVID of id and returns it, with the CA's bundle, as a source
// that never changes.
func (ca *CA) Source(id spiffeid.ID, ttl time.Duration, dns ...string) (*spiffe.Source, error) {
	svid, err := ca.SVID(id, ttl, dns...)
	if err != nil {
		return nil, err
	}
	return spiffe.Fixed(svid, ca.Bundles()), nil
}

// PEM returns the chain and the key (PKCS #8) of cert.
func PEM(cert tls.Certificate) (chain, key []byte, err error) {
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func (t Template) certificate(now time.Time) (*x509.Certificate, error) {
	ttl := t.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	c := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{spiffe.DevelopmentOrganization}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(ttl),
		IsCA:                  t.CA,
		BasicConstraintsValid: true,
		KeyUsage:              t.KeyUsage,
		ExtKeyUsage:           t.ExtKeyUsage,
		SignatureAlgorithm:    t.Signature,
	}
	if !t.NotBefore.IsZero() {
		c.NotBefore = t.NotBefore
	}
	if !t.NotAfter.IsZero() {
		c.NotAfter = t.NotAfter
	}
	if t.LaxKeyUsage {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: []byte{0x03, 0x02, 0x07, 0x80}})
	} else if c.KeyUsage == 0 && !t.NoKeyUsage {
		c.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if c.ExtKeyUsage == nil {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	san, err := t.altNames()
	if err != nil || san == nil {
		return c, err
	}
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san})
	return c, nil
}

// altNames writes the extension by hand: crypto/x509 would refuse or respell the
// URIs that tests need.
func (t Template) altNames() ([]byte, error) {
	uris := t.URIs
	if uris == nil && !t.ID.IsZero() {
		uris = []string{t.ID.String()}
	}
	var names []asn1.RawValue
	for _, u := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(u)})
	}
	for _, d := range t.DNS {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(d)})
	}
	if names == nil {
		return nil, nil
	}
	return asn1.Marshal(names)
}
