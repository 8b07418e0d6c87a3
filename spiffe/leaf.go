package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
)

const (
	tagURI    = 6 // RFC 5280 §4.2.1.6, uniformResourceIdentifier
	maxIDSize = 2048
)

// leafID reads the SPIFFE ID of a leaf: exactly one URI SAN, spelled canonically
// (X.509-SVID §2). The raw extension is read, because crypto/x509 keeps a parsed
// URL, which spells "spiffe://a/b#" and "SPIFFE://a/b" like the ID spiffe://a/b.
func leafID(leaf *x509.Certificate) (spiffeid.ID, *Error) {
	uris, err := rawURIs(leaf)
	switch {
	case err != nil:
		return spiffeid.ID{}, refuse(ReasonMalformed, "", "read subject alternative names: %w", err)
	case len(uris) == 0:
		return spiffeid.ID{}, refuse(ReasonNoURI, "", "want exactly one URI")
	case len(uris) > 1:
		return spiffeid.ID{}, refuse(ReasonSeveralURIs, "", "want exactly one URI, got %d", len(uris))
	case len(uris[0]) > maxIDSize:
		return spiffeid.ID{}, refuse(ReasonNotSPIFFE, "", "URI of %d bytes", len(uris[0]))
	}
	id, err := spiffeid.FromString(uris[0])
	if err != nil {
		return spiffeid.ID{}, refuse(ReasonNotSPIFFE, "", "%q: %w", uris[0], err)
	}
	if id.Path() == "" {
		return spiffeid.ID{}, refuse(ReasonNoPath, id.String(), "the ID names a trust domain, not a workload")
	}
	return id, nil
}

func rawURIs(leaf *x509.Certificate) ([]string, error) {
	var uris []string
	for _, ext := range leaf.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil {
			return nil, err
		} else if len(rest) > 0 {
			return nil, asn1.SyntaxError{Msg: "trailing data"}
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == tagURI {
				uris = append(uris, string(n.Bytes))
			}
		}
	}
	return uris, nil
}

// minRSA is the smallest RSA key that counts, in bits (NIST SP 800-131A).
const minRSA = 2048

// checkKey takes the keys that Envoy takes from callers too: ECDSA on P-256 and
// P-384, and RSA. One key is then as good at every door.
func checkKey(leaf *x509.Certificate, id string) *Error {
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
		return refuse(ReasonKey, id, "an ECDSA key on %s: want P-256 or P-384", key.Params().Name)
	case *rsa.PublicKey:
		if key.N.BitLen() >= minRSA {
			return nil
		}
		return refuse(ReasonKey, id, "an RSA key of %d bits: want at least %d", key.N.BitLen(), minRSA)
	default:
		return refuse(ReasonKey, id, "a key of kind %s: want ECDSA or RSA", leaf.PublicKeyAlgorithm)
	}
}

// checkUse holds a leaf to X.509-SVID §4: it signs handshakes, nothing else.
func checkUse(leaf *x509.Certificate, id string) *Error {
	switch {
	case leaf.IsCA:
		return refuse(ReasonCA, id, "a signing certificate cannot be a workload")
	case !criticalKeyUsage(leaf):
		return refuse(ReasonKeyUsage, id, "key usage is absent or not critical")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(ReasonKeyUsage, id, "digitalSignature is not set")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(ReasonKeyUsage, id, "keyCertSign or cRLSign is set")
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return refuse(ReasonExtKeyUsage, id, "extended key usage without both clientAuth and serverAuth")
	}
	return nil
}

func criticalKeyUsage(leaf *x509.Certificate) bool {
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(oidKeyUsage) {
			return ext.Critical
		}
	}
	return false
}

// checkTerm reports whether now lies in [from, to). X.509 counts the instant to
// as valid; we do not.
func checkTerm(id string, from, to, now time.Time) *Error {
	switch {
	case now.Before(from):
		return refuse(ReasonNotYetValid, id, "valid from %s, it is %s", stamp(from), stamp(now))
	case !now.Before(to):
		return refuse(ReasonExpired, id, "valid until %s, it is %s", stamp(to), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
