package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// idleCall is how long a connection to mayflyd is kept between two calls of a
// command that goes on: each SVID is shown soon after it came.
const idleCall = 2 * time.Second

// link is who speaks to mayflyd and to gateways, for as long as a program runs.
type link struct {
	client *api.Client
	source *spiffe.Source // of a workload, kept new
	person *session       // of a person
	close  func()
}

// link connects for a command that goes on, unlike connect, whose SVID is not
// renewed.
func (a *app) link(ctx context.Context) (*link, error) {
	server, err := a.address()
	if err != nil {
		return nil, err
	}
	if !a.asWorkload() {
		return a.personLink(server)
	}
	want, err := a.serverID()
	if err != nil {
		return nil, err
	}
	config, err := a.workloadAPI()
	if err != nil {
		return nil, err
	}
	source, err := spiffe.NewWorkloadSource(config)
	if err != nil {
		return nil, usage{err.Error(), exampleSocket}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); _ = source.Run(running) }()
	out := &link{source: source, close: func() { stop(); <-done }}
	if err := a.begin(ctx, out); err != nil {
		out.close()
		return nil, err
	}
	if out.client, err = a.workloadClient(server, want, source, idleCall); err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

// personLink is that of whoever logged in.
func (a *app) personLink(server string) (*link, error) {
	s, err := a.loadSession(server)
	if err != nil {
		return nil, err
	}
	client, err := a.person(server, s.Secret, s.Key)
	if err != nil {
		return nil, err
	}
	return &link{client: client, person: &s, close: func() {}}, nil
}

// token asks the token service for a token for one grant, bound to the session's key
// (RFC 8693, RFC 9449).
func (l *link) token(now func() time.Time, r api.Reach) func(context.Context) (string, time.Time, error) {
	return func(ctx context.Context) (string, time.Time, error) {
		details, err := json.Marshal([]map[string]string{{"type": "urn:mayfly:" + r.Kind, "grant": r.Grant}})
		if err != nil {
			return "", time.Time{}, err
		}
		asked := now()
		t, err := l.client.Token(ctx, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {api.ClientID},
			"subject_token": {l.person.Secret.text}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			"resource": {"https://" + r.Hosts[0]}, "authorization_details": {string(details)},
		})
		return t.AccessToken, asked.Add(time.Duration(t.ExpiresIn) * time.Second), err
	}
}

// begin waits for the first SVID.
func (a *app) begin(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, svidTime)
	defer cancel()
	if err := l.source.Wait(ctx); err != nil {
		return noSVID(a.c.Getenv("SPIFFE_ENDPOINT_SOCKET"), err)
	}
	return nil
}
