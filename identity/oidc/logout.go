package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

const (
	// logoutType is the typ of a logout token, beside JWT and none at all.
	logoutType = "logout+jwt"
	// logoutEvent is the one event of a logout token.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutAge is how old a logout token may be, maxLogoutSkew how far ahead.
	maxLogoutAge  = 5 * time.Minute
	maxLogoutSkew = time.Minute
	maxSeen       = 8192
)

// LogoutFacts say whose sessions the provider ended. At least one of Subject and
// SID is told: a SID means that session alone, a Subject without SID all of them.
type LogoutFacts struct {
	// Subject is as in user:<idp>:<Subject>, "" if it is not told. Where another
	// claim than sub names accounts and the logout token does not carry it, only
	// SID is left.
	Subject string
	SID     string // as in Facts of this provider; another provider's may be equal

	id string // jti
}

// Logout verifies a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6) and
// says whom it is about. A token counts once; Undo makes it count again, for a
// caller that could not end the sessions. Its errors wrap ErrProof or
// ErrUnavailable.
func (r *RP) Logout(ctx context.Context, logoutToken string) (LogoutFacts, error) {
	f, err := r.discovery.get(ctx)
	if err != nil {
		return LogoutFacts{}, err
	}
	_, c, err := r.signed(ctx, f, logoutToken, logoutType)
	if err != nil {
		return LogoutFacts{}, err
	}
	out, err := r.readLogout(c)
	if err != nil {
		return LogoutFacts{}, fmt.Errorf("%w: logout token: %w", ErrProof, err)
	}
	return out, nil
}

// Undo forgets that the logout token behind f was seen: its sessions could not be
// ended, and the provider may try again.
func (r *RP) Undo(f LogoutFacts) { r.seen.forget(f.id) }

func (r *RP) readLogout(c claims) (LogoutFacts, error) {
	made, err := r.logoutTime(c)
	if err != nil {
		return LogoutFacts{}, err
	}
	if err := checkEvent(c); err != nil {
		return LogoutFacts{}, err
	}
	if _, ok := c["nonce"]; ok { // §2.4: so that no ID token passes for one
		return LogoutFacts{}, errors.New("it has a nonce")
	}
	var out LogoutFacts
	if out.Subject, err = r.logoutSubject(c); err != nil {
		return LogoutFacts{}, err
	}
	if out.SID, err = sessionID(c); err != nil {
		return LogoutFacts{}, err
	}
	if out.Subject == "" && out.SID == "" {
		return LogoutFacts{}, errors.New("it does not say whose session ended")
	}
	out.id, err = c.text("jti")
	if err != nil || out.id == "" || len(out.id) > maxSID {
		return LogoutFacts{}, errors.New("it has no jti, or an odd one")
	}
	if !r.seen.first(out.id, r.c.Now(), made.Add(maxLogoutAge)) {
		return LogoutFacts{}, errors.New("it was seen before")
	}
	return out, nil
}

// logoutTime returns when the token was made, if that is now.
func (r *RP) logoutTime(c claims) (time.Time, error) {
	now := r.c.Now()
	made, err := c.seconds("iat")
	if err != nil || made.IsZero() {
		return time.Time{}, errors.New("it does not say when it was made")
	}
	ends, err := c.seconds("exp")
	if err != nil {
		return time.Time{}, err
	}
	starts, err := c.seconds("nbf")
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case made.After(now.Add(maxLogoutSkew)) || starts.After(now.Add(maxLogoutSkew)):
		return time.Time{}, errors.New("it is of the future")
	case !now.Before(made.Add(maxLogoutAge)) || !ends.IsZero() && !now.Before(ends):
		return time.Time{}, errors.New("it is too old")
	}
	return made, nil
}

// checkEvent wants the one event, with an object that may say more (§2.4).
func checkEvent(c claims) error {
	var events, about claims
	if json.Unmarshal(c["events"], &events) != nil || len(events) != 1 {
		return errors.New("it is not about a logout alone")
	}
	if json.Unmarshal(events[logoutEvent], &about) != nil || about == nil {
		return errors.New("it is not about a logout")
	}
	return nil
}

// logoutSubject returns the account's subject, "" if the token does not tell it.
func (r *RP) logoutSubject(c claims) (string, error) {
	if sub, err := c.text("sub"); err != nil {
		return "", err
	} else if _, ok := c["sub"]; ok && sub == "" {
		return "", errors.New("its subject is nobody")
	}
	subject, err := c.text(r.c.SubjectClaim)
	if err != nil || subject == "" {
		return "", err
	}
	_, err = identity.User(r.c.Name, subject)
	return subject, err
}

// seen remembers ids until they cannot come again. When it is full, it forgets
// the oldest: a logout that comes twice harms less than one that does not count.
type seen struct {
	mu    sync.Mutex
	until map[string]time.Time
	order []string // oldest first
}

// first reports whether id comes for the first time, and remembers it.
func (s *seen) first(id string, now, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	s.order = slices.DeleteFunc(s.order, func(old string) bool {
		over := !now.Before(s.until[old])
		if over {
			delete(s.until, old)
		}
		return over
	})
	if _, ok := s.until[id]; ok {
		return false
	}
	if len(s.order) >= maxSeen {
		delete(s.until, s.order[0])
		s.order = slices.Delete(s.order, 0, 1)
	}
	s.until[id], s.order = until, append(s.order, id)
	return true
}

func (s *seen) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.until, id)
	s.order = slices.DeleteFunc(s.order, func(old string) bool { return old == id })
}
