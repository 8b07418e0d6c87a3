package spiffe

import (
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Authorizer says whether a proven peer may speak at a door: nil is yes.
type Authorizer func(Peer) error

// Only lets in the workloads with exactly these IDs; none means nobody.
func Only(ids ...spiffeid.ID) Authorizer {
	ids = slices.Clone(ids)
	return func(p Peer) error {
		if slices.Contains(ids, p.ID) {
			return nil
		}
		return refuse(ReasonNotThisWorkload, p.ID.String(), "want one of %v", ids)
	}
}

// AnyWorkload lets in every workload of the verifier's trust domains.
func AnyWorkload() Authorizer { return func(Peer) error { return nil } }

// TLSConfig configures one side of mutual TLS. Every field without a default is
// required.
type TLSConfig struct {
	Source    *Source   // our own SVID; a rotated one serves the next handshake
	Verifier  *Verifier // who the peer is
	Authorize Authorizer
	// Now is the time by which a peer's certificate is judged; nil means time.Now.
	Now func() time.Time
	// NextProtos are the ALPN protocols, as in tls.Config.
	NextProtos []string
}

// ServerTLS returns the configuration of a door that demands a client
// certificate: TLS 1.3, no session tickets. Over a listener of Terminate its
// connections end with the certificate that opened them.
func ServerTLS(c TLSConfig) (*tls.Config, error) {
	out, err := c.common()
	if err != nil {
		return nil, err
	}
	out.ClientAuth = tls.RequireAnyClientCert // VerifyConnection verifies
	out.SessionTicketsDisabled = true
	out.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Source.certificate() }
	c.terminate(out, c.now())
	return out, nil
}

// ClientTLS returns the configuration of a client. The server is held to the same
// rules; its host name means nothing. The SVID is sent whatever authorities the
// server names.
func ClientTLS(c TLSConfig) (*tls.Config, error) {
	out, err := c.common()
	if err != nil {
		return nil, err
	}
	out.InsecureSkipVerify = true // by host name; VerifyConnection verifies by SPIFFE ID
	out.ClientSessionCache = nil
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Source.certificate() }
	return out, nil
}

func (c TLSConfig) common() (*tls.Config, error) {
	if c.Source == nil || c.Verifier == nil || c.Authorize == nil {
		return nil, errors.New("spiffe TLS: Source, Verifier and Authorize are required")
	}
	out := peerTLS(c.Verifier, c.Authorize, c.now())
	out.NextProtos = slices.Clone(c.NextProtos)
	return out, nil
}

func (c TLSConfig) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// peerTLS holds the other side to the rules.
func peerTLS(v *Verifier, authorize Authorizer, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Unlike VerifyPeerCertificate this also runs on a resumed session.
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := v.admit(cs, authorize, now())
			return err
		},
	}
}

// admit proves the peer of a handshake and asks whether it may speak here.
func (v *Verifier) admit(cs tls.ConnectionState, authorize Authorizer, at time.Time) (Peer, error) {
	peer, err := v.PeerFromState(cs, at)
	if err != nil {
		return Peer{}, err
	}
	return peer, authorize(peer)
}

func (s *Source) certificate() (*tls.Certificate, error) {
	svid, err := s.SVID()
	if err != nil {
		return nil, err
	}
	out := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, c := range svid.Certificates {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, nil
}
