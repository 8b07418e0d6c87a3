package dev

import (
	"crypto/tls"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// BundleDocument returns the CA's bundle in SPIFFE's format. Sequence 0 and hint 0
// are left out.
func (ca *CA) BundleDocument(sequence uint64, hint time.Duration) ([]byte, error) {
	b := spiffebundle.FromX509Authorities(ca.domain, ca.Roots())
	b.SetJWTAuthorities(ca.JWTKeys())
	if sequence > 0 {
		b.SetSequenceNumber(sequence)
	}
	if hint > 0 {
		b.SetRefreshHint(hint)
	}
	return b.Marshal()
}

// BundleEndpoint serves what it was told last, as a bundle endpoint does. Safe for
// concurrent use.
type BundleEndpoint struct {
	mu     sync.Mutex
	body   []byte
	status int
	asked  int
}

// Tell makes the endpoint answer that from now on.
func (e *BundleEndpoint) Tell(status int, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status, e.body = status, body
}

// Asked is how often the endpoint was asked.
func (e *BundleEndpoint) Asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// ServeHTTP implements http.Handler.
func (e *BundleEndpoint) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_, _ = w.Write(e.body)
}

// EndpointTLS returns what an endpoint of profile https_spiffe proves itself with: an
// SVID of id, made anew for each handshake. It asks for no certificate.
func (ca *CA) EndpointTLS(id spiffeid.ID) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cert, err := ca.Mint(Template{ID: id})
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, err
	}}
}
