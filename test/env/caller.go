package env

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
)

// Caller is a workload's HTTP client: whatever host it names, it talks to one
// gateway, with its SVID, over connections that it keeps.
type Caller struct {
	*http.Client
	transport *http.Transport
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	stop      context.CancelFunc
}

// Caller returns a client of the workload whose Workload API socket has that
// name, such as refunder, through a gateway.
func (e *Env) Caller(ctx context.Context, name string, g *Gateway) (*Caller, error) {
	return e.CallerOver(ctx, name, g, "http/1.1")
}

// CallerOver is Caller with another protocol than HTTP/1.1: h2.
func (e *Env) CallerOver(ctx context.Context, name string, g *Gateway, protocol string) (*Caller, error) {
	source, err := spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: dev.Address(e.path(name + ".sock"))})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { _ = source.Run(run) }()
	if err := source.Wait(ctx); err != nil {
		stop()
		return nil, err
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: source.Bundles, TrustDomains: []spiffeid.TrustDomain{e.CA.TrustDomain()}})
	if err != nil {
		stop()
		return nil, err
	}
	listener, err := spiffeid.FromString(ListenerID)
	if err != nil {
		stop()
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: source, Verifier: verifier, Authorize: spiffe.Only(listener), NextProtos: []string{protocol}})
	if err != nil {
		stop()
		return nil, err
	}
	return newCaller(config, g, stop), nil
}

// CallerShowing returns a client that shows whatever certificate it is given.
func (e *Env) CallerShowing(g *Gateway, cert tls.Certificate) (*Caller, error) {
	own, err := spiffeid.FromString(RefunderID)
	if err != nil {
		return nil, err
	}
	source, err := e.CA.Source(own, time.Hour)
	if err != nil {
		return nil, err
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: source.Bundles, TrustDomains: []spiffeid.TrustDomain{e.CA.TrustDomain()}})
	if err != nil {
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: source, Verifier: verifier, Authorize: spiffe.AnyWorkload(), NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return newCaller(config, g, func() {}), nil
}

func newCaller(config *tls.Config, g *Gateway, stop context.CancelFunc) *Caller {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		own := config.Clone()
		own.ServerName = host
		return (&tls.Dialer{Config: own}).DialContext(ctx, network, g.Address)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 512, DialTLSContext: dial, ForceAttemptHTTP2: slices.Contains(config.NextProtos, "h2")}
	return &Caller{Client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, transport: transport, dial: dial, stop: stop}
}

// Dial opens a connection to the gateway for a host: for what net/http does not speak.
func (c *Caller) Dial(ctx context.Context, host string) (net.Conn, error) {
	return c.dial(ctx, "tcp", net.JoinHostPort(host, "443"))
}

// Close lets connections and SVID go.
func (c *Caller) Close() {
	c.transport.CloseIdleConnections()
	c.stop()
}

// TokenFor has mayflyd's token service give a token for a resource to whoever shows a
// certificate at the door for workloads.
func (e *Env) TokenFor(ctx context.Context, cert tls.Certificate, resource string) (string, error) {
	roots := x509.NewCertPool()
	for _, c := range e.CA.Roots() {
		roots.AddCert(c)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		InsecureSkipVerify: true, // by name; the chain is checked below, and mayflyd's SPIFFE ID with it
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if id, idErr := spiffeid.FromURI(s.PeerCertificates[0].URIs[0]); err == nil && (idErr != nil || id.String() != ControlID) {
				err = errors.New("not mayflyd")
			}
			return err
		},
	}}}
	defer client.CloseIdleConnections()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.workloads+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		Words string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return "", err
	}
	if out.Token == "" {
		return "", fmt.Errorf("%s: %s: %s", resp.Status, out.Error, out.Words)
	}
	return out.Token, nil
}
