package spiffe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/egress"
)

func newEndpoint(c FederationConfig, r Relation) (*endpoint, error) {
	td, err := spiffeid.TrustDomainFromString(r.TrustDomain)
	if err != nil {
		return nil, err
	}
	client, err := r.client(c)
	if err != nil {
		return nil, err
	}
	e := &endpoint{c: c, domain: td, status: FederationStatus{TrustDomain: td}}
	e.fetch = func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, r.URL) }
	begin, kept, err := first(c, td, r.Bootstrap)
	if err != nil {
		return nil, err
	}
	e.kept = kept
	if kept != nil {
		// A newer bootstrap file takes the place of what was kept for good: it may be gone
		// at the next start.
		if err := e.keep(begin); err != nil {
			c.OnError(fmt.Errorf("bundle of %s in force, but not kept for a restart: %w", td.Name(), err))
		}
	}
	e.enforce(begin)
	e.status.Authorities = len(begin.certs())
	return e, nil
}

// client returns the way to one endpoint.
func (r Relation) client(c FederationConfig) (*http.Client, error) {
	way, err := r.way(c)
	if err != nil {
		return nil, err
	}
	return way.Client(egress.AnswerTime), nil
}

func (r Relation) way(c FederationConfig) (egress.Way, error) {
	allow, err := egress.ParsePrefixes(r.AllowAddresses)
	if err != nil {
		return egress.Way{}, fmt.Errorf("allow_addresses: %w", err)
	}
	if c.Dev {
		allow = append(allow, egress.Loopback()...)
	}
	if r.Profile == ProfileWeb {
		roots, err := r.roots()
		return egress.Way{Allow: allow, Roots: roots}, err
	}
	id, err := spiffeid.FromString(r.EndpointID)
	if err != nil {
		return egress.Way{}, fmt.Errorf("endpoint_id: %w", err)
	}
	verifier, err := NewVerifier(VerifierConfig{Bundles: c.Sources[0].Bundles, TrustDomains: []spiffeid.TrustDomain{id.TrustDomain()}, Cache: 1})
	if err != nil {
		return egress.Way{}, err
	}
	trust := peerTLS(verifier, Only(id), c.Now)
	trust.InsecureSkipVerify = true // by host name; VerifyConnection verifies by SPIFFE ID
	trust.MinVersion = tls.VersionTLS12
	return egress.Way{Allow: allow, TLS: trust}, nil
}

// fetch gets a bundle over a connection of its own, so that the endpoint is proven
// by the bundles of now.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the bundle endpoint answers %s", res.Status)
	}
	return io.ReadAll(res.Body)
}
