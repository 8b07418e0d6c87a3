package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/identity"
)

// MaxSession is the longest that a login to the API may last.
const MaxSession = 8 * time.Hour

// SessionSecret is what the command keeps in its 0600 file: 256 random bits. It
// prints, marshals and logs as "redacted"; only its SHA-256 is stored.
type SessionSecret struct{ text string }

// ParseSessionSecret takes the text as it came over the wire; whether a session
// belongs to it is for Service.Session to say.
func ParseSessionSecret(s string) SessionSecret { return SessionSecret{s} }

// Reveal returns the secret text, for the answer to its owner only.
func (s SessionSecret) Reveal() string { return s.text }

// String hides the secret.
func (s SessionSecret) String() string { return "redacted" }

// GoString hides the secret.
func (s SessionSecret) GoString() string { return "redacted" }

// MarshalText hides the secret.
func (s SessionSecret) MarshalText() ([]byte, error) { return []byte("redacted"), nil }

// LogValue hides the secret.
func (s SessionSecret) LogValue() slog.Value { return slog.StringValue("redacted") }

func (s SessionSecret) hash() [32]byte { return sha256.Sum256([]byte(s.text)) }

// Login is what the identity provider proved about a person.
type Login struct {
	Kind      SessionKind // SessionAPI or SessionConsole
	Principal identity.Principal
	Name      string
	Email     string // only if the provider says that it is verified
	Groups    []identity.Group
	GroupsAt  time.Time // zero: now, the provider told them with this login
	ACR       string
	AuthTime  time.Time
	Provider  string   // the provider's id of its own session (sid), "" if it told none
	Refresh   []byte   // the provider's refresh token, nil if it issued none
	ProofKey  [32]byte // the thumbprint of the key that a SessionAPI is bound to; zero for others
}

// loginBody is the body of the leaf login.
type loginBody struct {
	Session   string     `json:"session"`
	Principal string     `json:"principal"` // pseudonym
	ACR       string     `json:"acr,omitempty"`
	AuthTime  audit.Time `json:"auth_time,omitzero"`
	Ends      audit.Time `json:"ends"`
}

// check refuses what no session is opened for.
func (l Login) check() error {
	if l.Principal.Kind() != identity.KindUser {
		return fault(CodeNotAPerson, "", "only a person has a session")
	}
	if l.Kind != SessionAPI && l.Kind != SessionConsole {
		return fmt.Errorf("a login opens no session of kind %q", l.Kind)
	}
	if bound := l.ProofKey != [32]byte{}; bound != (l.Kind == SessionAPI) {
		return fmt.Errorf("a session of kind %q, and bound to a key: %t", l.Kind, bound)
	}
	return nil
}

func newSecret() SessionSecret {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	return SessionSecret{base64.RawURLEncoding.EncodeToString(raw[:])}
}

// NewSession records a login and returns the session with its secret, which is
// told once and never stored.
func (s *Service) NewSession(ctx context.Context, l Login) (SessionSecret, Session, error) {
	if err := l.check(); err != nil {
		return SessionSecret{}, Session{}, err
	}
	secret := newSecret()
	var out Session
	err := s.update(ctx, func(w *work) (err error) {
		out, err = w.newSession(ctx, l, secret)
		return err
	})
	if err != nil {
		return SessionSecret{}, Session{}, err
	}
	return secret, out, nil
}

// newSession opens the session of a login and records it.
func (w *work) newSession(ctx context.Context, l Login, secret SessionSecret) (Session, error) {
	out := w.session(l, secret)
	if err := w.renewProfile(ctx, l); err != nil {
		return Session{}, err
	}
	if err := w.mayLogIn(ctx, l.Principal); err != nil { // after the profile: its address may tell who it is
		return Session{}, err
	}
	if err := w.remembers(ctx, l); err != nil {
		return Session{}, fmt.Errorf("identity: %w", err)
	}
	name, err := w.pseudonym(ctx, l.Principal)
	if err != nil {
		return Session{}, err
	}
	if err := w.tx.Sessions().Insert(ctx, out); err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	body := loginBody{Session: out.ID.String(), Principal: name, ACR: l.ACR, Ends: audit.At(out.EndsAt)}
	if !l.AuthTime.IsZero() {
		body.AuthTime = audit.At(l.AuthTime)
	}
	_, err = w.leaf(ctx, audit.TypeLogin, name, body, out.ID.String())
	return out, err
}

func (w *work) session(l Login, secret SessionSecret) Session {
	groupsAt := l.GroupsAt
	if groupsAt.IsZero() || groupsAt.After(w.now) {
		groupsAt = w.now
	}
	return Session{
		ID: w.minter.NewSessionID(w.now), Kind: l.Kind, Provider: l.Provider, Hash: secret.hash(), Principal: l.Principal,
		Name: l.Name, Email: mailbox(l.Email), Groups: l.Groups, GroupsAt: groupsAt,
		ACR: l.ACR, AuthTime: l.AuthTime, ProofKey: l.ProofKey, CreatedAt: w.now, EndsAt: w.now.Add(w.sessionLife),
	}
}

// Session returns the live session of a kind that a secret belongs to; no_session
// otherwise. If its groups are too old to decide, their provider is asked for
// them first, where there is a refresh token.
func (s *Service) Session(ctx context.Context, kind SessionKind, secret SessionSecret) (Session, error) {
	out, now, err := s.session(ctx, kind, secret)
	if err != nil || s.identities == nil || CallerOf(out).fresh(now) {
		return out, err
	}
	if err := s.refreshed(ctx, out, now); err != nil {
		s.log.WarnContext(ctx, "groups not refreshed", "error", err)
	}
	out, _, err = s.session(ctx, kind, secret)
	return out, err
}

func (s *Service) session(ctx context.Context, kind SessionKind, secret SessionSecret) (Session, time.Time, error) {
	var out Session
	var now time.Time
	err := s.store.View(ctx, func(tx Tx) error {
		now = tx.Now()
		got, err := tx.Sessions().ByHash(ctx, secret.hash())
		if errors.Is(err, ErrNotFound) || err == nil && (got.Kind != kind || !got.Live(now)) {
			return fault(CodeNoSession, "mayfly login", "there is no session, or it has ended")
		}
		out = got
		return err
	})
	if err != nil {
		return Session{}, now, err
	}
	return out, now, nil
}

// maxLogin is how long a login may be under way.
const maxLogin = 10 * time.Minute

// PutLogin keeps a login that is under way, by a key that only its browser or
// command knows, for at most ten minutes.
func (s *Service) PutLogin(ctx context.Context, key string, body []byte, life time.Duration) error {
	return s.update(ctx, func(w *work) error {
		return w.tx.Sessions().PutLogin(ctx, hashKey(key), body, w.now.Add(min(life, maxLogin)))
	})
}

// TakeLogin returns a login that is under way, once; no_session otherwise.
func (s *Service) TakeLogin(ctx context.Context, key string) ([]byte, error) {
	var out []byte
	err := s.update(ctx, func(w *work) error {
		body, err := w.tx.Sessions().TakeLogin(ctx, hashKey(key), w.now)
		if errors.Is(err, ErrNotFound) {
			return fault(CodeNoSession, "mayfly login", "this login is not under way any more")
		}
		out = body
		return err
	})
	return out, err
}

// hashKey keeps the key of a login under way out of the database.
func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// useUp remembers, until ends and for ten minutes at most, what proves something by
// being shown and so counts once: at any mayflyd, and after a restart too.
func (w *work) useUp(ctx context.Context, key string, ends time.Time) error {
	err := w.tx.Sessions().PutLogin(ctx, hashKey(oncePrefix+key), nil, earlier(ends, w.now.Add(maxLogin)))
	if errors.Is(err, ErrExists) {
		return fault(CodeInvalid, "", "what proves the subject counts once, and was shown before")
	}
	return err
}

const oncePrefix = "once:" // keeps such keys apart from logins under way
