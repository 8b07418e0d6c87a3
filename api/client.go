package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// MaxBody is the largest body of a request, in bytes.
	MaxBody = 64 << 10
	// maxAnswer is the largest answer that a Client reads whole, in bytes.
	maxAnswer = 32 << 20

	jsonType    = "application/json"
	problemType = "application/problem+json"
)

// KeyHeader carries the key under which a repeated call is one call, for 24 h.
const KeyHeader = "Idempotency-Key"

// ClientConfig says which server is spoken to, and by whom.
type ClientConfig struct {
	// Server is the address of the server, such as https://mayfly.acme.example:8443.
	// Required.
	Server string
	// HTTP sends the requests; it carries roots and, on the workloads door, the
	// certificate. Required. It should follow no redirects.
	HTTP *http.Client
	// Session is the secret of a person's session; empty where a certificate speaks.
	Session string
	// Prover holds the key that Session is bound to, or that a token will be bound to.
	// Nil where a certificate speaks.
	Prover Prover
	// Now is the time of proofs; nil is time.Now.
	Now func() time.Time
}

// Client speaks to /api/v1. Its errors are *Problem where the server gave one.
// It is safe for concurrent use.
type Client struct {
	base    *url.URL
	http    *http.Client
	session string
	prover  Prover
	nonces  *nonces
	now     func() time.Time
}

// NewClient checks c and returns a client. Nothing is sent.
func NewClient(c ClientConfig) (*Client, error) {
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("server %q is not an address such as https://mayfly.acme.example:8443", c.Server)
	}
	if c.HTTP == nil {
		return nil, errors.New("api client: no HTTP client")
	}
	if c.Session != "" && c.Prover == nil {
		return nil, errors.New("api client: a session without its key")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Client{now: c.Now, base: &url.URL{Scheme: u.Scheme, Host: u.Host}, http: c.HTTP, session: c.Session, prover: c.Prover, nonces: &nonces{}}, nil
}

// Server returns the address of the server.
func (c *Client) Server() string { return c.base.String() }

// NewKey returns a fresh idempotency key.
func NewKey() string { return rand.Text() }

// call is one request under way.
type call struct {
	method, path string // path is escaped
	query        url.Values
	body         any    // nil: none
	key          string // idempotency key, "" for none
}

// do sends a call and reads its answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, in call, out any) error {
	res, err := c.send(ctx, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%s %s: %w", in.method, in.path, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("%s %s: the answer is over %d MiB", in.method, in.path, maxAnswer>>20)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that was expected: %w", in.method, in.path, err)
	}
	return nil
}

// send returns the answer of a call that succeeded; its body is the caller's to close.
func (c *Client) send(ctx context.Context, in call) (*http.Response, error) {
	send := func(ctx context.Context) (*http.Request, error) { return c.request(ctx, in) }
	res, err := c.prove(ctx, send, c.session)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", in.method, in.path, err)
	}
	if res.StatusCode >= http.StatusOK && res.StatusCode < http.StatusMultipleChoices {
		return res, nil
	}
	defer res.Body.Close()
	return nil, problemOf(res)
}

func (c *Client) request(ctx context.Context, in call) (*http.Request, error) {
	u, err := c.base.Parse(in.path)
	if err != nil {
		return nil, err
	}
	u.RawQuery = in.query.Encode()
	var body io.Reader
	if in.body != nil {
		b, err := json.Marshal(in.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, in.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if in.body != nil {
		r.Header.Set("Content-Type", jsonType)
	}
	if in.key != "" {
		r.Header.Set(KeyHeader, in.key)
	}
	if c.session != "" {
		r.Header.Set("Authorization", "DPoP "+c.session)
	}
	return r, nil
}

// problemOf reads the problem document of an answer, or makes one of its status.
func problemOf(res *http.Response) error {
	p := &Problem{}
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBody))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != problemType || json.Unmarshal(body, p) != nil || p.Code == "" {
		return &Problem{Title: "Not an answer of Mayfly", Status: res.StatusCode, Code: "no_problem",
			Detail: fmt.Sprintf("%s answered %s without saying why: is it the right address?", res.Request.URL.Host, res.Status)}
	}
	p.Status = res.StatusCode
	return p
}
