package dev

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
)

// Bad is a certificate that must not prove a workload, and why.
type Bad struct {
	Name   string
	Reason spiffe.Reason
	Cert   tls.Certificate
}

// Bad mints, around the good ID id, one of each certificate that must be refused.
// Envoy accepts some of them (two URIs, ours first), so both sides are tested.
func (ca *CA) Bad(id spiffeid.ID) ([]Bad, error) {
	stranger, err := NewCA(CAConfig{TrustDomain: ca.domain, Now: ca.now})
	if err != nil {
		return nil, err
	}
	elsewhere, err := spiffeid.TrustDomainFromString("other.example")
	if err != nil {
		return nil, err
	}
	foreign, err := NewCA(CAConfig{TrustDomain: elsewhere, Now: ca.now})
	if err != nil {
		return nil, err
	}
	there, err := foreign.ID(id.Path())
	if err != nil {
		return nil, err
	}
	keys, err := newOddKeys()
	if err != nil {
		return nil, err
	}
	now, good, td := ca.now(), id.String(), ca.domain.Name()
	var out []Bad
	for _, c := range []struct {
		name   string
		reason spiffe.Reason
		from   *CA
		t      Template
	}{
		{"two URIs, ours first", spiffe.ReasonSeveralURIs, ca, Template{URIs: []string{good, there.String()}}},
		{"two URIs, ours last", spiffe.ReasonSeveralURIs, ca, Template{URIs: []string{there.String(), good}}},
		{"the same URI twice", spiffe.ReasonSeveralURIs, ca, Template{URIs: []string{good, good}}},
		{"DNS name only", spiffe.ReasonNoURI, ca, Template{DNS: []string{"app.acme.example"}}},
		{"no name", spiffe.ReasonNoURI, ca, Template{}},
		{"https URI", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"https://" + td + id.Path()}}},
		{"upper-case trust domain", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://ACME.EXAMPLE" + id.Path()}}},
		{"upper-case scheme", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"SPIFFE://" + td + id.Path()}}},
		{"empty fragment", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{good + "#"}}},
		{"percent in path", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{good + "%2e"}}},
		{"dot segment", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://" + td + "/.." + id.Path()}}},
		{"trailing slash", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{good + "/"}}},
		{"empty segment", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://" + td + "/" + id.Path()}}},
		{"path of a slash", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://" + td + "/"}}},
		{"query", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{good + "?a=b"}}},
		{"port", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://" + td + ":443" + id.Path()}}},
		{"user", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{"spiffe://a@" + td + id.Path()}}},
		{"ID of 2,049 bytes", spiffe.ReasonNotSPIFFE, ca, Template{URIs: []string{longID(good, 2049)}}},
		{"NUL in the path", spiffe.ReasonMalformed, ca, Template{URIs: []string{good + "\x00.evil"}}},
		{"NUL in the trust domain", spiffe.ReasonMalformed, ca, Template{URIs: []string{"spiffe://" + td + "\x00.evil" + id.Path()}}},
		{"trust domain alone", spiffe.ReasonNoPath, ca, Template{URIs: []string{"spiffe://" + td}}},
		{"foreign domain, own authority", spiffe.ReasonForeignDomain, foreign, Template{ID: there}},
		{"foreign domain, our authority", spiffe.ReasonForeignDomain, ca, Template{ID: there}},
		{"domain that starts like ours", spiffe.ReasonForeignDomain, ca, Template{URIs: []string{"spiffe://" + td + ".evil" + id.Path()}}},
		{"our ID, foreign authority", spiffe.ReasonUntrusted, foreign, Template{ID: id}},
		{"our ID, an authority that only looks like ours", spiffe.ReasonUntrusted, stranger, Template{ID: id}},
		{"expired", spiffe.ReasonExpired, ca, Template{ID: id, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Minute)}},
		{"not yet valid", spiffe.ReasonNotYetValid, ca, Template{ID: id, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}},
		{"signing certificate", spiffe.ReasonCA, ca, Template{ID: id, CA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}},
		{"may sign certificates", spiffe.ReasonKeyUsage, ca, Template{ID: id, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}},
		{"may sign revocation lists", spiffe.ReasonKeyUsage, ca, Template{ID: id, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign}},
		{"no digitalSignature", spiffe.ReasonKeyUsage, ca, Template{ID: id, KeyUsage: x509.KeyUsageKeyAgreement}},
		{"no key usage", spiffe.ReasonKeyUsage, ca, Template{ID: id, NoKeyUsage: true}},
		{"key usage not critical", spiffe.ReasonKeyUsage, ca, Template{ID: id, LaxKeyUsage: true}},
		{"server only", spiffe.ReasonExtKeyUsage, ca, Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
		{"client only", spiffe.ReasonExtKeyUsage, ca, Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
		{"any extended use", spiffe.ReasonExtKeyUsage, ca, Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}},
		{"code signing only", spiffe.ReasonExtKeyUsage, ca, Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}},
		{"RSA key of 1,024 bits", spiffe.ReasonKey, ca, Template{ID: id, Key: keys.rsa1024}},
		{"P-521 key", spiffe.ReasonKey, ca, Template{ID: id, Key: keys.p521}},
		{"Ed25519 key", spiffe.ReasonKey, ca, Template{ID: id, Key: keys.ed25519}},
		{"signed with SHA-1", spiffe.ReasonUntrusted, ca, Template{ID: id, Signature: x509.ECDSAWithSHA1}},
	} {
		cert, err := c.from.Mint(c.t)
		if err != nil {
			return nil, fmt.Errorf("mint %q: %w", c.name, err)
		}
		out = append(out, Bad{c.name, c.reason, cert})
	}
	return out, nil
}
