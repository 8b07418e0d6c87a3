package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// Instance is one running process of a registered sidecar, as mayflyd knows it.
type Instance struct {
	ID          feed.Instance
	Apps        []string
	Environment string
	Version     string
	Catalogues  map[string]string
	JoinedAt    time.Time
	LastPong    time.Time     // of the last transaction that answered its Ping; zero: none yet
	PongPassed  time.Duration // Tx.Passed at LastPong
	StaleAfter  time.Duration // largest of its apps
	Acked       feed.Position
	LastAllowed time.Time // of the receipt with Acked
	LastAction  string
	Bounded     time.Time
	Nack        string // newest refusal, empty: none
	NackAt      time.Time
	GoneAt      time.Time // unseen for 24 h, zero otherwise
	StrayedAt   time.Time // in quarantine since: what it holds is not what it was told; zero: it is
	Strayed     []string  // of these apps; * are sessions and keys
}

// Revocation is one grant's end that receipts are awaited for.
type Revocation struct {
	Grant   string // grt_… id
	At      feed.Position
	Started time.Time
	Waits   []Wait
	Closed  time.Time // when the last one was acked or closed; zero: waiting
	// With are the other grants of its bundle, which ended with it. It is not stored.
	With []grant.GrantID

	app string // whose change At is the revision of, until it is stored
}

// Wait is one instance that a revocation waits for. It ends when the instance
// acknowledges, or once UntilPassed has passed, whatever happens: by then its lease has
// run out. That is Until, unless a wall clock is moved meanwhile.
type Wait struct {
	Instance    feed.Instance
	LastPong    time.Time
	Until       time.Time // StaleAfter + 1 s after LastPong
	UntilPassed time.Duration
	AckedAt     time.Time // zero: not acked
	LastAllowed time.Time
	LastAction  string
	Bounded     time.Time
	StreamsCut  uint32 // requests under way that were cut by this end, or by another that the same receipt tells of
}

// Done says how the wait ended, at a reading of Tx.Passed: "acked", "closed", or ""
// while it lasts.
func (w Wait) Done(passed time.Duration) string {
	switch {
	case !w.AckedAt.IsZero():
		return "acked"
	case passed >= w.UntilPassed:
		return "closed"
	default:
		return ""
	}
}
