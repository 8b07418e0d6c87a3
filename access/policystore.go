package access

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// StoredPolicy is a policy that was in force.
type StoredPolicy struct {
	Digest  string // of the files, contracts §6
	Commit  string
	Signer  string // person, "" unsigned (development)
	Files   map[string][]byte
	Applied time.Time
	// Manifest is what Digest is the SHA-256 of (policy.Manifest): it says which file was
	// changed. Empty for a policy from before it was kept.
	Manifest []byte
}

// PolicyEntry is one entry of a policy into force.
type PolicyEntry struct {
	Digest  string
	Commit  string
	Signers []string // persons; empty: unsigned (development)
	// Authors are all who signed anything of what was new in it: their names, and their
	// accounts by the policy before and by this one. A commit that leaves its author
	// out of people: does not make a stranger of them.
	Authors []string
	At      time.Time
	Passed  time.Duration // At by Tx.Passed; 0: it was not noted yet
	How     PolicyHow
}

// PolicyHow is the way in which a policy entered into force.
type PolicyHow string

// The ways.
const (
	HowCommit   PolicyHow = "commit"   // as the next commit
	HowHeld     PolicyHow = "held"     // two persons went back to it for a time
	HowReleased PolicyHow = "released" // the hold before it ended
)

// SettlingCommit is a commit from which somebody gains, and which waits for that.
type SettlingCommit struct {
	Commit  string
	Digest  string
	Signers []string
	Seen    time.Time
	Due     time.Duration // by Tx.Passed
}

// PolicyHold keeps policy at a commit for a time, once a second person has confirmed it.
type PolicyHold struct {
	Commit      string
	Digest      string
	Length      time.Duration
	ProposedBy  identity.Principal
	Under       grant.GrantID // of whoever proposed it: in force still when it is confirmed
	ProposedAt  time.Time
	Until       time.Duration      // by Tx.Passed: of the proposal, then of the hold
	ConfirmedBy identity.Principal // zero: it is proposed
	ConfirmedAt time.Time
	BackCommit  string // what was in force when it began, and is again when it ends
	BackDigest  string
}

// PolicyWatch is what was seen of the repository last.
type PolicyWatch struct {
	At      time.Time // when it was read last; zero: never
	Tip     string    // the commit then
	Failed  time.Time // since when it could not be read; zero: it could
	Refused RefusedCommit
}

// RefusedCommit is a tip that may not enter into force. The zero value is none.
type RefusedCommit struct {
	Commit string    `json:"commit,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Words  string    `json:"words,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// FileVersion is how one file stood in a policy when that entered into force. A policy
// that entered twice has two of them.
type FileVersion struct {
	Digest  string // of the policy
	Commit  string
	Signers []string // persons; empty: unsigned (development)
	At      time.Time
	How     PolicyHow
	Body    []byte // nil: it had no such file
}

// PolicyStore keeps every policy that was ever in force, by digest, and which one is.
type PolicyStore interface {
	Current(ctx context.Context) (StoredPolicy, error) // ErrNotFound: none yet
	// Head returns the digest in force without the files, for a cache.
	Head(ctx context.Context) (digest, commit string, err error)
	ByDigest(ctx context.Context, digest string) (StoredPolicy, error)
	// Keep stores the files of p, if they are not there, without putting it in force.
	Keep(ctx context.Context, p StoredPolicy) error
	// Versions lists how a file stood at every entry of a policy into force, oldest first.
	Versions(ctx context.Context, path string) ([]FileVersion, error)
	// Apply stores p (again, if it is there) and puts it in force.
	Apply(ctx context.Context, p StoredPolicy) error
	// Enter notes an entry into force: Entries and Versions have it then.
	Enter(ctx context.Context, e PolicyEntry) error
	// Entries lists those after an instant, oldest first.
	Entries(ctx context.Context, after time.Time) ([]PolicyEntry, error)
	// EntriesSince lists those after an instant of Tx.Passed, oldest first, and those of
	// before that was noted, after a time.
	EntriesSince(ctx context.Context, passed time.Duration, after time.Time) ([]PolicyEntry, error)
	// AddDropped notes a policy after which an app, a host or a secret was there no
	// more; Dropped lists the digests of those, sorted.
	AddDropped(ctx context.Context, digest string) error
	Dropped(ctx context.Context) ([]string, error)
	// Settling lists the commits that wait, in the order in which they were seen.
	Settling(ctx context.Context) ([]SettlingCommit, error)
	AddSettling(ctx context.Context, c SettlingCommit) error
	DropSettling(ctx context.Context, commit string) error
	// Hold returns the hold that is confirmed, or the one that is proposed.
	// ErrNotFound: there is none.
	Hold(ctx context.Context, confirmed bool) (PolicyHold, error)
	SetHold(ctx context.Context, h PolicyHold) error // replaces that of its kind
	DropHold(ctx context.Context, confirmed bool) error
	Watch(ctx context.Context) (PolicyWatch, error) // the zero value in a new database
	SetWatch(ctx context.Context, w PolicyWatch) error
}
