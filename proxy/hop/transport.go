package hop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	idleConns   = 64
	idleFor     = 60 * time.Second

	maxAnswerHeader = 256 << 10
)

// newTransport returns a transport that talks to one upstream and nothing else:
// whatever host a request names, it dials the pinned one and verifies TLS
// against the pinned name. HTTP/1.1, no proxy, no redirect, no compression.
func newTransport(upstream *url.URL, roots *x509.CertPool, plain bool) (*http.Transport, error) {
	addr, err := address(upstream, plain)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, raw: c}, nil
	}
	dialTLS := func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		t := tls.Client(c, &tls.Config{
			ServerName: upstream.Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("verify the upstream's certificate: %w", err)
		}
		return &conn{Conn: t, raw: c}, nil
	}
	return &http.Transport{
		DialContext: dial, DialTLSContext: dialTLS,
		DisableCompression: true, ForceAttemptHTTP2: false, MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleFor,
		ResponseHeaderTimeout: 0, // the action's deadline bounds it
	}, nil
}

// address returns host:port of an upstream. Plain http goes to a loopback
// address only, and only in development.
func address(u *url.URL, plain bool) (string, error) {
	port := u.Port()
	switch u.Scheme {
	case "https":
		if port == "" {
			port = "443"
		}
	case "http":
		ip, err := netip.ParseAddr(u.Hostname())
		if err != nil || !ip.IsLoopback() || !plain {
			return "", fmt.Errorf("upstream %s: plain http is only for a loopback address, with --dev", u.Redacted())
		}
		if port == "" {
			port = "80"
		}
	default:
		return "", fmt.Errorf("upstream %s: want https", u.Redacted())
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
