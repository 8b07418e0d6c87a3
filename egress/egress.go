package egress

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
	// MaxAnswer is the longest answer that is read, in bytes.
	MaxAnswer = 256 << 10
	// AnswerTime is how long an address has for one answer, from dialling to its end.
	AnswerTime = 5 * time.Second
)

// ErrTooLong is what reading an answer of more than MaxAnswer ends with.
var ErrTooLong = errors.New("the answer is over 256 KiB")

// ErrAddress is wrapped when something is at an address that is not asked.
var ErrAddress = errors.New("the address is not asked")

// Way is the way out to one party. The zero value leads to the open Internet, and
// trusts the system's roots.
type Way struct {
	Allow    []netip.Prefix // asked although they are not on the open Internet
	Roots    *x509.CertPool // nil: the system's
	Resolver *net.Resolver  // nil: the system's
	// TLS replaces Roots where the other side is not known by its host name.
	TLS *tls.Config
}

// Client returns a client that follows no redirect, knows no proxy, and reads
// bounded answers in bounded time.
func (w Way) Client(limit time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: limit, Resolver: w.Resolver, ControlContext: w.control}
	trust := w.TLS
	if trust == nil {
		trust = &tls.Config{RootCAs: w.Roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: bounded{&http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        trust,
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
func (w Way) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrAddress, address)
	}
	if !open(to.Addr()) && !listed(w.Allow, to.Addr()) {
		return fmt.Errorf("%w: %s is not on the open Internet; if it is meant to be there, list it in allow_addresses", ErrAddress, to.Addr())
	}
	return nil
}

// bounded refuses addresses that CheckAddress refuses, also those that an answer
// names, and answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := CheckAddress(r.URL.Scheme + "://" + r.URL.Host); err != nil {
		return nil, err
	}
	res, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &limited{ReadCloser: res.Body, left: MaxAnswer}
	return res, nil
}

// limited fails, rather than ends, after left bytes.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrTooLong
	}
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	l.left -= n
	if l.left < 0 {
		return 0, ErrTooLong
	}
	return n, err
}
