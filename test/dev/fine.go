package dev

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Fine is a certificate that proves its workload, though it is not the usual one.
type Fine struct {
	Name string
	Cert tls.Certificate
}

// Fine mints, around the good ID id, certificates that the standard allows.
func (ca *CA) Fine(id spiffeid.ID) ([]Fine, error) {
	keys, err := newOddKeys()
	if err != nil {
		return nil, err
	}
	var out []Fine
	for _, c := range []struct {
		name string
		t    Template
	}{
		{"as issued", Template{ID: id}},
		{"URI and DNS name", Template{ID: id, DNS: []string{"refunder.acme.example"}}},
		{"URI and a DNS name with a NUL", Template{ID: id, DNS: []string{"refunder.acme.example\x00.evil"}}},
		{"ID of 2,048 bytes", Template{URIs: []string{longID(id.String(), 2048)}}},
		{"no extended use", Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{}}},
		{"client, server and e-mail", Template{ID: id, ExtKeyUsage: []x509.ExtKeyUsage{
			x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageEmailProtection,
		}}},
		{"P-384 key", Template{ID: id, Key: keys.p384}},
		{"RSA key of 2,048 bits", Template{ID: id, Key: keys.rsa2048}},
	} {
		cert, err := ca.Mint(c.t)
		if err != nil {
			return nil, fmt.Errorf("mint %q: %w", c.name, err)
		}
		out = append(out, Fine{c.name, cert})
	}
	return out, nil
}

// longID makes an ID of size bytes out of a shorter one.
func longID(id string, size int) string { return id + "/" + strings.Repeat("a", size-len(id)-1) }

type oddKeys struct{ p384, p521, ed25519, rsa1024, rsa2048 crypto.Signer }

func newOddKeys() (k oddKeys, err error) {
	var errs [5]error
	k.p384, errs[0] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, errs[1] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, k.ed25519, errs[2] = ed25519.GenerateKey(rand.Reader)
	k.rsa1024, errs[3] = rsa.GenerateKey(rand.Reader, 1024)
	k.rsa2048, errs[4] = rsa.GenerateKey(rand.Reader, 2048)
	return k, errors.Join(errs[:]...)
}
