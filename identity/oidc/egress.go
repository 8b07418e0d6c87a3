package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	// maxAnswer is the longest answer that is read from a provider, in bytes.
	maxAnswer = 256 << 10
	// answerTime is how long a provider has for one answer, from dialling to its end.
	answerTime = 5 * time.Second
)

var errAnswerTooLong = errors.New("the provider's answer is over 256 KiB")

// errAddress is wrapped when a provider is at an address that is not asked.
var errAddress = errors.New("the provider's address is not asked")

// egress is the way out to one provider.
type egress struct {
	allow    []netip.Prefix // asked although they are not on the open Internet
	roots    *x509.CertPool // nil: the system's
	resolver *net.Resolver  // nil: the system's
}

// client returns a client that follows no redirect, knows no proxy, and reads
// bounded answers in bounded time.
func (e egress) client(limit time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: limit, Resolver: e.resolver, ControlContext: e.control}
	return &http.Client{
		Transport: bounded{&http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: e.roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		Timeout:       limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// control looks at the address that is about to be connected to. Names were
// resolved before it, so a name that answers differently the second time gains
// nothing.
func (e egress) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errAddress, address)
	}
	if !open(to.Addr()) && !listed(e.allow, to.Addr()) {
		return fmt.Errorf("%w: %s is not on the open Internet; if the provider is meant to be there, list it in allow_addresses", errAddress, to.Addr())
	}
	return nil
}

// bounded refuses addresses that checkAddress refuses, also those that the
// provider's discovery names, and answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkAddress(r.URL.Scheme + "://" + r.URL.Host); err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	res, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &limited{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// limited fails, rather than ends, after left bytes.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errAnswerTooLong
	}
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	l.left -= n
	if l.left < 0 {
		return 0, errAnswerTooLong
	}
	return n, err
}
