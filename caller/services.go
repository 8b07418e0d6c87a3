package caller

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// ServicesConfig says how a workload reaches a gateway. All fields without a
// default are required.
type ServicesConfig struct {
	Gateway string         // host:port of its listener for workloads
	Host    string         // the app's host: TLS server name and authority
	IDs     []spiffeid.ID  // who the gateway may be
	Source  *spiffe.Source // the workload's SVID; it must run
	Now     func() time.Time
}

// Services carries requests to a gateway's services port with an SVID. A new SVID
// serves the next request, over a new connection; requests under way end on the one
// that they began on: a connection is only good while the SVID it was made with is.
type Services struct {
	config ServicesConfig
	tls    *tls.Config

	mu   sync.Mutex // guards both below
	svid *x509svid.SVID
	line *line
}

// line is one connection pool, made with one SVID.
type line struct {
	transport *http.Transport
	using     int // requests under way; guarded by Services.mu
	retired   bool
}

// NewServices checks c. Nothing is sent.
func NewServices(c ServicesConfig) (*Services, error) {
	if _, _, err := net.SplitHostPort(c.Gateway); err != nil {
		return nil, fmt.Errorf("gateway %q: want host:port", c.Gateway)
	}
	if c.Host == "" || len(c.IDs) == 0 || c.Source == nil {
		return nil, errors.New("caller: a way to the gateway needs Host, IDs and Source")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var domains []spiffeid.TrustDomain
	for _, id := range c.IDs {
		domains = append(domains, id.TrustDomain())
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: c.Source.Bundles, TrustDomains: domains})
	if err != nil {
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{
		Source: c.Source, Verifier: verifier, Authorize: spiffe.Only(c.IDs...), Now: c.Now, NextProtos: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return nil, err
	}
	config.ServerName = c.Host
	return &Services{config: c, tls: config}, nil
}

// RoundTrip sends r to the gateway, whatever host it names. Its errors are
// *grant.Denial where something can be done.
func (s *Services) RoundTrip(r *http.Request) (*http.Response, error) {
	l, err := s.enter()
	if err != nil {
		return nil, err
	}
	resp, err := l.transport.RoundTrip(r)
	if err != nil {
		s.leave(l)
		return nil, explain(s.config.Gateway, err)
	}
	resp.Body = &leaving{ReadCloser: resp.Body, leave: func() { s.leave(l) }}
	return resp, nil
}

// enter returns the line of the SVID in force.
func (s *Services) enter() (*line, error) {
	svid, err := s.config.Source.SVID()
	if err != nil {
		return nil, noSVID("there is no SVID").Because(err)
	}
	if end := svid.Certificates[0].NotAfter; !s.config.Now().Before(end) {
		return nil, noSVID("the SVID ended at %s, and no new one came", end.UTC().Format(time.RFC3339))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if svid != s.svid {
		if s.line != nil {
			s.line.retired = true
			s.line.transport.CloseIdleConnections()
		}
		s.svid, s.line = svid, &line{transport: transportTo(s.config.Gateway, s.tls.Clone())}
	}
	s.line.using++
	return s.line, nil
}

// leave ends a request's use of its line. The last one on a retired line closes it.
func (s *Services) leave(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.using--
	if l.retired {
		l.transport.CloseIdleConnections()
	}
}

// Close lets idle connections go.
func (s *Services) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != nil {
		s.line.transport.CloseIdleConnections()
	}
}

func noSVID(format string, args ...any) *grant.Denial {
	d := grant.Deny(grant.NoIdentity, format, args...)
	d.Next = "check that the Workload API runs and knows this workload"
	return d
}

// leaving is a body whose end is noticed once.
type leaving struct {
	io.ReadCloser
	once  sync.Once
	leave func()
}

// Close ends the body.
func (b *leaving) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.leave)
	return err
}
