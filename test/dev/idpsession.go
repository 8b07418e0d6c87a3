package dev

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// session is one login of one user at one client. Its refresh tokens are one
// family: each is good once, and one that comes twice ends them all.
type session struct {
	client, scope      string
	user, subject, acr string
	at                 time.Time // when the person logged in
}

// renew spends a refresh token (RFC 6749 §6) and gives the next one of its family.
// words says why not.
func (p *IdP) renew(client Client, q url.Values) (answer map[string]any, words string) {
	now, token := p.now(), q.Get("refresh_token")
	p.mu.Lock()
	defer p.mu.Unlock()
	if sid, again := p.rotated.get(token, now); again { // RFC 9700 §4.14.2: it was stolen, or its successor was
		p.revoke(sid)
	}
	sid, ok := p.refresh.get(token, now)
	s, live := p.sessions.get(sid, now)
	user, known := p.user(s.user)
	switch {
	case !ok || !live:
		return nil, "the refresh token is unknown, used or too old"
	case s.client != client.ID:
		return nil, "the refresh token is another client's"
	case !known:
		p.revoke(sid)
		return nil, "the user is no longer here"
	case q.Has("scope") && q.Get("scope") != s.scope:
		return nil, "scope differs from what was granted"
	}
	delete(p.refresh, token)
	if err := p.rotated.put(token, sid, now, sessionTTL); err != nil {
		return nil, err.Error()
	}
	answer, err := p.answer(client, sid, s, user, "")
	if err != nil {
		return nil, err.Error()
	}
	return answer, ""
}

// revoke ends the refresh tokens of a session. It needs mu.
func (p *IdP) revoke(sid string) {
	for token, kept := range p.refresh {
		if kept.value == sid {
			delete(p.refresh, token)
		}
	}
}

// notice is one logout token on its way.
type notice struct{ client, address, token string }

// Logout ends the sessions of a user, also of one who was removed, and tells each client that has one, by a
// logout token for each (OpenID Connect Back-Channel Logout 1.0 §2.5). The error
// names clients that did not answer 200 or 204.
func (p *IdP) Logout(ctx context.Context, user string) error {
	notices, err := p.endSessions(user)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var errs []error
	for _, n := range notices {
		errs = append(errs, n.send(ctx, client))
	}
	return errors.Join(errs...)
}

func (p *IdP) endSessions(user string) ([]notice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var out []notice
	for sid := range p.sessions {
		s, live := p.sessions.get(sid, now)
		if s.user != user || !live {
			continue
		}
		delete(p.sessions, sid)
		p.revoke(sid)
		client, _ := p.client(s.client)
		if client.BackchannelLogout == "" {
			continue
		}
		token, err := p.logoutToken(client, s.subject, sid)
		if err != nil {
			return nil, err
		}
		out = append(out, notice{client.ID, client.BackchannelLogout, token})
	}
	return out, nil
}

// logoutToken needs mu.
func (p *IdP) logoutToken(client Client, subject, sid string) (string, error) {
	now := p.now()
	return p.sign(client.Alg, "logout+jwt", map[string]any{
		"iss": p.issuer, "aud": client.ID, "sub": subject, "sid": sid, "jti": unguessable(),
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
}

func (n notice) send(ctx context.Context, client *http.Client) error {
	form := url.Values{"logout_token": {n.token}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.address, bytes.NewReader([]byte(form)))
	if err != nil {
		return fmt.Errorf("tell %s: %w", n.client, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("tell %s: %w", n.client, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("tell %s: it answered %s", n.client, res.Status)
	}
	return nil
}
