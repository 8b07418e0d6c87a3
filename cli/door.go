package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	tokenSlack = 10 * time.Second // before its end a token is replaced
	maxReplay  = 1 << 20          // bytes of a body that are kept to be sent once more
	dialTime   = 5 * time.Second
)

// clientsDoor carries a person's requests to one app through a gateway's door for
// clients: with an access token that mayflyd gives for the session, and a proof of the
// session's key for each request (RFC 9449). Whoever reads them on the way, or in a log,
// has nothing. It is safe for concurrent use.
type clientsDoor struct {
	client  *api.Client // speaks to mayflyd with the session
	session session
	reach   api.Reach
	base    *url.URL // https://host[:port] of the app, as its clients write it
	send    http.RoundTripper
	now     func() time.Time

	mu    sync.Mutex // guards the fields below
	token string
	ends  time.Time
	nonce string
}

// clientsDoor returns the way to an app for the person who logged in. gateway is
// host:port of the door.
func (a *app) clientsDoor(client *api.Client, s session, r api.Reach, gateway string) (*clientsDoor, error) {
	if len(r.Hosts) == 0 {
		return nil, fmt.Errorf("%s is at no host", r.App)
	}
	host := r.Hosts[0]
	if gateway == "" {
		gateway = net.JoinHostPort(host, "443")
	}
	_, port, err := net.SplitHostPort(gateway)
	if err != nil {
		return nil, usage{fmt.Sprintf("--gateway %q is not host:port", gateway), "--gateway gateway.acme.example:9443"}
	}
	roots, err := a.roots()
	if err != nil {
		return nil, err
	}
	base := &url.URL{Scheme: "https", Host: host}
	if port != "443" {
		base.Host = net.JoinHostPort(host, port)
	}
	return &clientsDoor{
		client: client, session: s, reach: r, base: base, now: a.c.Now,
		send: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13}, TLSHandshakeTimeout: dialTime,
			ForceAttemptHTTP2: true, DisableCompression: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, gateway)
			},
		},
	}, nil
}

// RoundTrip sends r to the app, whatever host it names.
func (d *clientsDoor) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := keepBody(r)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		res, asked, err := d.once(r, body)
		if err != nil || again || !asked || body == nil {
			return res, err
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxReplay)) // so that the connection is used again
		_ = res.Body.Close()
	}
}

// once sends r, and reports whether the gateway wants its new nonce in the proof.
func (d *clientsDoor) once(r *http.Request, body func() io.ReadCloser) (*http.Response, bool, error) {
	token, nonce, err := d.current(r.Context())
	if err != nil {
		return nil, false, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = d.base.Scheme, d.base.Host, d.base.Host
	if body != nil {
		out.Body = body()
	}
	at := url.URL{Scheme: d.base.Scheme, Host: d.base.Host, Path: out.URL.Path, RawPath: out.URL.RawPath}
	proof, err := d.session.Key.Prove(out.Method, at.String(), token, nonce, d.now())
	if err != nil {
		return nil, false, err
	}
	out.Header.Set("Authorization", "DPoP "+token)
	out.Header.Set("DPoP", proof)
	res, err := d.send.RoundTrip(out)
	if err != nil {
		return nil, false, err
	}
	given := res.Header.Get("DPoP-Nonce")
	if given == "" || given == nonce {
		return res, false, nil
	}
	d.mu.Lock()
	d.nonce = given
	d.mu.Unlock()
	return res, res.StatusCode == http.StatusUnauthorized && strings.Contains(res.Header.Get("WWW-Authenticate"), "use_dpop_nonce"), nil
}

// keepBody returns what makes a request's body anew: for none, and for one that is
// short enough. A longer one goes once, as it is; nil then.
func keepBody(r *http.Request) (func() io.ReadCloser, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() io.ReadCloser { return http.NoBody }, nil
	}
	held, err := io.ReadAll(io.LimitReader(r.Body, maxReplay+1))
	if err != nil {
		return nil, err
	}
	if len(held) > maxReplay {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(held), r.Body), r.Body}
		return nil, nil
	}
	return func() io.ReadCloser { return io.NopCloser(bytes.NewReader(held)) }, nil
}

// current returns the token in use and the newest nonce of the gateway; a token that is
// about to end is exchanged for a new one.
func (d *clientsDoor) current(ctx context.Context) (token, nonce string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token == "" || !d.now().Before(d.ends.Add(-tokenSlack)) {
		made, err := d.exchange(ctx)
		if err != nil {
			return "", "", err
		}
		d.token, d.ends = made.AccessToken, d.now().Add(time.Duration(made.ExpiresIn)*time.Second)
	}
	return d.token, d.nonce, nil
}

// exchange gets a token for the grant. Its refusals are *grant.Denial.
func (d *clientsDoor) exchange(ctx context.Context) (api.Token, error) {
	details, err := json.Marshal([]map[string]string{{"type": "urn:mayfly:" + d.reach.Kind, "grant": d.reach.Grant}})
	if err != nil {
		return api.Token{}, err
	}
	made, err := d.client.Token(ctx, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {api.ClientID}, "resource": {"https://" + d.reach.Hosts[0]},
		"subject_token": {d.session.Secret.text}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"authorization_details": {string(details)},
	})
	var refusal *api.OAuthError
	if !errors.As(err, &refusal) {
		return made, err
	}
	reason := grant.NoGrant
	switch refusal.Code {
	case "invalid_request", "invalid_grant":
		reason = grant.SessionEnded
	case "invalid_target", "invalid_authorization_details":
		reason = grant.Ended
	case "temporarily_unavailable", "server_error":
		reason = grant.UpstreamUnavailable
	}
	return api.Token{}, grant.Deny(reason, "no token for %s: %s", d.reach.App, refusal.Description).Because(err)
}

// liveReach finds one's own live grant on an app, the one that ends last, and says where
// it is used.
func (a *app) liveReach(ctx context.Context, client *api.Client, name string) (api.Reach, error) {
	all, err := pages(func(cursor string) (api.Page[api.Grant], error) {
		return client.Grants(ctx, api.GrantsQuery{App: name, Cursor: cursor})
	})
	if err != nil {
		return api.Reach{}, err
	}
	best := api.Grant{}
	for _, g := range all {
		if g.State == "active" && g.NotAfter > best.NotAfter { // as texts: they are of one form
			best = g
		}
	}
	if best.ID == "" {
		a.note("mayfly: you have no access to %s now", name)
		a.hint("mayfly entitlements, then mayfly request")
		return api.Reach{}, exit{exitDenied}
	}
	return client.Reach(ctx, best.ID)
}

// toApp is the way of whoever logged in to an app that they have access to.
func (a *app) toApp(ctx context.Context, name, gateway string) (*clientsDoor, error) {
	if a.asWorkload() {
		return nil, usage{"a workload speaks to gateways with its SVID", "mayfly exec --svid"}
	}
	server, err := a.address()
	if err != nil {
		return nil, err
	}
	s, err := a.loadSession(server)
	if err != nil {
		return nil, err
	}
	client, err := a.person(server, s.Secret, s.Key)
	if err != nil {
		return nil, err
	}
	reach, err := a.liveReach(ctx, client, name)
	if err != nil {
		return nil, err
	}
	if gateway == "" {
		gateway = a.c.Getenv("MAYFLY_GATEWAY")
	}
	return a.clientsDoor(client, s, reach, gateway)
}
