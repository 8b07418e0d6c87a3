package spiffe

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// Terminate returns a listener whose connections end with the certificate that
// opened them, at a door that ServerTLS configures. Without it a client whose SVID
// was rotated would go on over a connection that its old one opened, and be refused
// on every call.
func Terminate(l net.Listener) net.Listener { return terminating{l} }

type terminating struct{ net.Listener }

func (l terminating) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &termConn{Conn: c}, nil
}

// termConn is closed at the end of a term, once it has one.
type termConn struct {
	net.Conn

	mu     sync.Mutex
	timer  *time.Timer // nil: no term yet
	closed bool
}

// until sets the term.
func (c *termConn) until(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil && !c.closed {
		c.timer = time.AfterFunc(d, func() { _ = c.Conn.Close() })
	}
}

// Close closes the connection and forgets its term.
func (c *termConn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// terminate makes config give each connection of a Terminate listener the term of
// its peer's proof.
func (c TLSConfig) terminate(config *tls.Config, now func() time.Time) {
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		conn, ok := hello.Conn.(*termConn)
		if !ok {
			return nil, nil //nolint:nilnil // crypto/tls: the configuration as it is
		}
		own := config.Clone()
		own.GetConfigForClient = nil
		own.VerifyConnection = func(cs tls.ConnectionState) error {
			at := now()
			peer, err := c.Verifier.admit(cs, c.Authorize, at)
			if err == nil {
				conn.until(peer.NotAfter.Sub(at))
			}
			return err
		}
		return own, nil
	}
}
