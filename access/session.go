package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// Session is one login of a person to the API. Only the SHA-256 of its secret is
// stored.
type Session struct {
	ID        grant.SessionID
	Hash      [32]byte
	Principal identity.Principal
	Name      string // as the provider shows the person; personal, erasable
	Email     string // verified only; personal, erasable
	Groups    []identity.Group
	GroupsAt  time.Time // when the groups were told by their source
	ACR       string
	AuthTime  time.Time
	CreatedAt time.Time
	EndsAt    time.Time
	EndedAt   time.Time // zero: not ended early
}

// Live reports whether the session counts at now.
func (s Session) Live(now time.Time) bool {
	return !s.CreatedAt.IsZero() && s.EndedAt.IsZero() && now.Before(s.EndsAt)
}
