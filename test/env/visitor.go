package env

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// Visitor is a person's browser without a screen: it keeps cookies, follows
// redirects, navigates like a browser does, and runs no scripts. Each has cookies and
// a loopback address of its own, which limits are counted by. It is used by one
// goroutine.
type Visitor struct {
	e    *Env
	HTTP *http.Client // follows redirects
	once *http.Client // does not
}

// Page is what a visitor was shown.
type Page struct {
	Status int
	URL    *url.URL // where the redirects ended
	Header http.Header
	Text   string
}

// NewVisitor opens a browser whose way to people's apps leads to a gateway.
func (e *Env) NewVisitor(g *Gateway) (*Visitor, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	d := e.ownDialer()
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: e.Roots(), MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, "."+TrustDomain) {
				address = g.People
			}
			return d.DialContext(ctx, network, address)
		},
	}
	e.atClose(t.CloseIdleConnections)
	v := &Visitor{e: e, HTTP: &http.Client{Jar: jar, Transport: navigating{t}, Timeout: 30 * time.Second}}
	once := *v.HTTP
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v.once = &once
	return v, nil
}

// ownDialer dials from a loopback address that nobody else has.
func (e *Env) ownDialer() *net.Dialer {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.visitors++
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(e.visitors>>8), byte(e.visitors))}}
}

// navigating gives a request the headers of a browser's navigation, those that it
// does not have.
type navigating struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (n navigating) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	site := "none"
	if r.Method != http.MethodGet {
		site = "same-origin"
	}
	for name, value := range map[string]string{
		"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": site,
	} {
		if _, said := r.Header[name]; !said {
			r.Header.Set(name, value)
		}
	}
	return n.next.RoundTrip(r)
}

// App returns the address of a path on the host of an app.
func (e *Env) App(host, path string) string {
	return "https://" + net.JoinHostPort(host, e.people) + path
}

// Open goes to an address, and on to where it leads.
func (v *Visitor) Open(ctx context.Context, address string) (Page, error) {
	return v.send(ctx, v.HTTP, http.MethodGet, address, nil, nil)
}

// Look goes to an address, and no further. Headers are added, or taken off if their
// value is empty.
func (v *Visitor) Look(ctx context.Context, method, address string, headers http.Header, form url.Values) (Page, error) {
	return v.send(ctx, v.once, method, address, headers, form)
}

// Submit posts a form, and goes on to where that leads.
func (v *Visitor) Submit(ctx context.Context, address string, form url.Values) (Page, error) {
	return v.send(ctx, v.HTTP, http.MethodPost, address, nil, form)
}

// Login opens an address, answers the provider's login page on the way as one of its
// users, and goes on to where that leads.
func (v *Visitor) Login(ctx context.Context, address, who string) (Page, error) {
	next, err := dev.Login(ctx, v.HTTP, address, who)
	if err != nil {
		return Page{}, err
	}
	return v.Open(ctx, next)
}

// Cookies returns the cookies that go to an address, by name.
func (v *Visitor) Cookies(address string) map[string]string {
	out := map[string]string{}
	if u, err := url.Parse(address); err == nil {
		for _, c := range v.HTTP.Jar.Cookies(u) {
			out[c.Name] = c.Value
		}
	}
	return out
}

func (v *Visitor) send(ctx context.Context, c *http.Client, method, address string, headers http.Header, form url.Values) (Page, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return Page{}, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range headers {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	res, err := c.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return Page{}, fmt.Errorf("%s %s: %w", method, address, err)
	}
	return Page{Status: res.StatusCode, URL: res.Request.URL, Header: res.Header, Text: string(bytes.TrimSpace(text))}, nil
}
