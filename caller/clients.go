package caller

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

const (
	// maxAgain is the largest body, in bytes, that is sent again when a gateway first
	// wants a nonce. It is the largest that a decision is made on.
	maxAgain = 1 << 20
	// tokenMargin is how long before its end a token is replaced.
	tokenMargin = 30 * time.Second
)

// ClientsConfig says how a person's program reaches a gateway. All fields without a
// default are required.
type ClientsConfig struct {
	Gateway string         // host:port of its listener for clients, under which they know it
	Host    string         // the app's host
	Roots   *x509.CertPool // of the host's certificate; nil: the system's
	// Token returns an access token for the app, and when it ends. It is called again
	// before that.
	Token func(context.Context) (text string, ends time.Time, err error)
	// Prove makes a DPoP proof by the key that the token is bound to; tokens.Prover
	// has it.
	Prove func(method, url, token, nonce string, now time.Time) (string, error)
	Now   func() time.Time // nil: time.Now
}

// Clients carries requests to a gateway's clients port, each with an access token and
// a fresh proof of its key (RFC 9449). The key never leaves this process. It is safe
// for concurrent use.
type Clients struct {
	config    ClientsConfig
	authority string
	transport *http.Transport

	mu    sync.Mutex // guards the fields below
	nonce string     // the newest that the gateway gave
	token string
	ends  time.Time

	asking sync.Mutex // one asks for a token, the others wait for it
}

// NewClients checks c. Nothing is sent.
func NewClients(c ClientsConfig) (*Clients, error) {
	_, port, err := net.SplitHostPort(c.Gateway)
	if err != nil {
		return nil, fmt.Errorf("gateway %q: want host:port", c.Gateway)
	}
	if c.Host == "" || c.Token == nil || c.Prove == nil {
		return nil, errors.New("caller: a person's way to the gateway needs Host, Token and Prove")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	out := &Clients{config: c, authority: c.Host}
	if port != "443" {
		out.authority = net.JoinHostPort(c.Host, port)
	}
	out.transport = transportTo(c.Gateway, &tls.Config{RootCAs: c.Roots, ServerName: c.Host, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}})
	return out, nil
}

// RoundTrip sends r with token and proof; once more if the gateway wants a nonce that
// it gave only with its answer. Whatever stood in Authorization is replaced.
func (c *Clients) RoundTrip(r *http.Request) (*http.Response, error) {
	again, err := repeatable(r)
	if err != nil {
		return nil, err
	}
	for tried := false; ; tried = true {
		token, err := c.current(r.Context())
		if err != nil {
			return nil, err
		}
		resp, given, err := c.send(r, again, token)
		if err != nil {
			return nil, explain(c.config.Gateway, err)
		}
		if resp.StatusCode != http.StatusUnauthorized || tried || given == "" || again == nil {
			c.forget(resp.StatusCode, given, token)
			return resp, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAgain)) // so that the connection is used again
		_ = resp.Body.Close()
	}
}

// send sends r once. given is the nonce of the answer, if it is another one.
func (c *Clients) send(r *http.Request, body func() io.ReadCloser, token string) (resp *http.Response, given string, err error) {
	c.mu.Lock()
	nonce := c.nonce
	c.mu.Unlock()
	out := r.Clone(r.Context())
	out.Trailer = r.Trailer // one map: see newProxy
	out.Host, out.URL.Host = c.authority, c.authority
	if body != nil {
		out.Body = body()
	}
	at := url.URL{Scheme: "https", Host: c.authority, Path: r.URL.Path, RawPath: r.URL.RawPath}
	proof, err := c.config.Prove(r.Method, at.String(), token, nonce, c.config.Now())
	if err != nil {
		return nil, "", err
	}
	out.Header.Set("Authorization", "DPoP "+token)
	out.Header.Set("DPoP", proof)
	if resp, err = c.transport.RoundTrip(out); err != nil {
		return nil, "", err
	}
	if given = resp.Header.Get("DPoP-Nonce"); given == "" || given == nonce || len(given) > 512 {
		return resp, "", nil
	}
	c.mu.Lock()
	c.nonce = given
	c.mu.Unlock()
	return resp, given, nil
}

// forget has the next request ask for a token anew where this one was refused.
func (c *Clients) forget(status int, given, token string) {
	if status != http.StatusUnauthorized || given != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// current returns a token that has some time left.
func (c *Clients) current(ctx context.Context) (string, error) {
	held := func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.token == "" || !c.config.Now().Before(c.ends.Add(-tokenMargin)) {
			return ""
		}
		return c.token
	}
	if token := held(); token != "" {
		return token, nil
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	if token := held(); token != "" {
		return token, nil
	}
	token, ends, err := c.config.Token(ctx)
	if err != nil {
		d := grant.Deny(grant.BadToken, "the token service gives no token: %v", err)
		d.Next = "mayfly login; mayfly grants shows what is in force"
		return "", d.Because(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.ends = token, ends
	return token, nil
}

// repeatable returns how to send the body of r again, which for one that is small it
// reads for that; nil for one that can be sent only once.
func repeatable(r *http.Request) (func() io.ReadCloser, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return func() io.ReadCloser { return http.NoBody }, nil
	case r.ContentLength < 0 || r.ContentLength > maxAgain:
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAgain))
	if err != nil {
		return nil, fmt.Errorf("the program's body: %w", err)
	}
	_ = r.Body.Close()
	return func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }, nil
}

// Close lets idle connections go.
func (c *Clients) Close() { c.transport.CloseIdleConnections() }
