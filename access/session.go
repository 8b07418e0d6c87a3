package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// SessionKind says at which door a session speaks. A session of one kind is
// nothing at the other doors. The zero value speaks nowhere.
type SessionKind string

// The kinds of session.
const (
	SessionAPI     SessionKind = "api"     // of the command: the secret is in a 0600 file
	SessionConsole SessionKind = "console" // of a browser on mayflyd's own host
	SessionApp     SessionKind = "app"     // of a browser on one host of one app
)

// Session is one login of a person. Only the SHA-256 of its secret is stored.
type Session struct {
	ID        grant.SessionID
	Kind      SessionKind
	Hash      [32]byte
	App       string          // of SessionApp
	Host      string          // of SessionApp: lower case, without port
	Parent    grant.SessionID // of SessionApp: the console's, with which it ends
	Provider  string          // the provider's id of its own session (sid), "" if it told none
	Principal identity.Principal
	Pseudonym string // of SessionApp: as the record has Principal
	Name      string // as the provider shows the person; personal, erasable
	Email     string // verified only; personal, erasable
	Groups    []identity.Group
	GroupsAt  time.Time // when the groups were told by their source
	ACR       string
	// ProofKey is the thumbprint (RFC 7638) of the key that whoever speaks with the
	// session proves to hold (RFC 9449): of SessionAPI always, of others never.
	ProofKey  [32]byte
	AuthTime  time.Time
	CreatedAt time.Time
	EndsAt    time.Time
	EndedAt   time.Time // zero: not ended early
}

// Live reports whether the session counts at now.
func (s Session) Live(now time.Time) bool {
	return !s.CreatedAt.IsZero() && s.EndedAt.IsZero() && now.Before(s.EndsAt)
}
