package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// MaxSession is the longest that a session may still last when it is taken in,
// compiled in, whatever the feed says (P1).
const MaxSession = grant.MaxTerm

// Session is one login of a person on one host of one app, as the feed tells it.
// It is never changed.
type Session struct {
	ID        grant.SessionID
	Hash      [32]byte // SHA-256 of the secret in the cookie
	Principal identity.Principal
	Person    identity.Person
	Pseudonym string
	App       string
	Host      string // lower case, without port
	Groups    []identity.Group
	ACR       string
	AuthTime  time.Time // zero: the provider did not tell
	Ends      time.Time // exclusive
	Name      string    // as the provider told it, "" where the app is not told
	Email     string    // likewise
}

const (
	maxFact   = 1024 // bytes of a name, an address, a class of login
	maxGroups = 2048 // of one person
)

// newSession reads a session as the feed tells it. An error says why it may not be
// held: anything unknown, not whole, or longer than the compiled cap. A zero now is
// a time that is not known yet; then the cap is looked at when the session is used.
func newSession(r *feed.Resource, now time.Time) (*Session, error) {
	m := r.GetSession()
	s := &Session{Pseudonym: m.GetPseudonym(), App: m.GetApp(), Host: m.GetHost(), ACR: m.GetAcr()}
	if err := s.ID.UnmarshalText([]byte(r.GetId())); err != nil {
		return nil, err
	}
	if len(m.GetHash()) != len(s.Hash) || bytes.Equal(m.GetHash(), make([]byte, len(s.Hash))) {
		return nil, fmt.Errorf("session %s: a hash of %d bytes", r.GetId(), len(m.GetHash()))
	}
	copy(s.Hash[:], m.GetHash())
	var err error
	if s.Principal, err = identity.ParsePrincipal(m.GetPrincipal()); err != nil {
		return nil, err
	}
	if s.Person, err = identity.ParsePerson(m.GetPerson()); err != nil {
		return nil, err
	}
	s.AuthTime, s.Ends = feed.TimeOf(m.GetAuthTimeUs()), feed.TimeOf(m.GetEndsUs())
	if err := s.read(m); err != nil {
		return nil, fmt.Errorf("session %s: %w", s.ID, err)
	}
	return s, s.check(m, now)
}

// read takes over what is a list or a map.
func (s *Session) read(m *feed.Session) error {
	if len(m.GetGroups()) > maxGroups {
		return fmt.Errorf("%d groups", len(m.GetGroups()))
	}
	for _, text := range m.GetGroups() {
		g, err := identity.ParseGroup(text)
		if err != nil {
			return err
		}
		s.Groups = append(s.Groups, g)
	}
	for fact, value := range m.GetFacts() {
		if value == "" || len(value) > maxFact || !utf8.ValidString(value) {
			return fmt.Errorf("the fact %q is not text of 1 to %d bytes", fact, maxFact)
		}
		switch fact {
		case factName:
			s.Name = value
		case factEmail:
			s.Email = value
		default:
			return fmt.Errorf("the fact %q is not known", fact)
		}
	}
	return nil
}

func (s *Session) check(m *feed.Session, now time.Time) error {
	switch {
	case s.ID.IsZero() || s.App == "" || !plainHost(s.Host):
		return fmt.Errorf("session %q is not whole", s.ID)
	case s.Principal.Kind() != identity.KindUser:
		return fmt.Errorf("session %s is not a person's", s.ID)
	case !strings.HasPrefix(s.Pseudonym, "p_") || len(s.Pseudonym) > 128:
		return fmt.Errorf("session %s has no pseudonym", s.ID)
	case len(s.ACR) > maxFact || !utf8.ValidString(s.ACR) || m.GetAuthTimeUs() < 0:
		return fmt.Errorf("session %s does not say how the login was done", s.ID)
	case m.GetEndsUs() <= 0:
		return fmt.Errorf("session %s has no end", s.ID)
	case !now.IsZero() && s.Ends.Sub(now) > MaxSession:
		return fmt.Errorf("session %s would last %s, and %s is the limit", s.ID, s.Ends.Sub(now), MaxSession)
	}
	return nil
}

// plainHost reports whether h is a host as apps list it.
func plainHost(h string) bool {
	return h != "" && h == strings.ToLower(h) && !strings.ContainsAny(h, ":/ ")
}
