package access

import (
	"context"
	"errors"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// ErrNotFound is what every single-row read returns, wrapped, when there is no
// such row.
var ErrNotFound = errors.New("not found")

// ErrExists is what an insert returns, wrapped, when a unique key is taken.
var ErrExists = errors.New("already there")

// Store keeps everything that mayflyd knows. It is safe for concurrent use.
type Store interface {
	// Update runs f in one write transaction that holds the head row's lock from
	// its beginning: updates are in one order, which is the record's and the
	// feed's. If f returns an error, or ctx ends, nothing has changed. When Update
	// returns nil the change is durable.
	Update(ctx context.Context, f func(Tx) error) error
	// View runs f once, in one read transaction: one consistent state. What f told others
	// meanwhile cannot be taken back.
	View(ctx context.Context, f func(Tx) error) error
}

// Tx is one transaction. It is used by one goroutine and not after f returned.
// Reads return ErrNotFound; lists are empty, never nil errors.
type Tx interface {
	// Now is the transaction's clock (contracts §1): read once, never behind any
	// earlier transaction's.
	Now() time.Time
	// Passed is how much time has certainly passed since some fixed instant, read with
	// Now. It grows by BOOTTIME while a mayflyd runs, and by nothing else: unlike Now it
	// does not jump where a wall clock is moved, and may stand still while none runs.
	Passed() time.Duration
	// Log is the control log's storage; audit.Log appends to it.
	Log() audit.Storage
	Head() HeadStore
	Changes() ChangeStore
	Policies() PolicyStore
	Requests() RequestStore
	Approvals() ApprovalStore
	Grants() GrantStore
	Bundles() BundleStore
	Sessions() SessionStore
	Persons() PersonStore
	Identities() IdentityStore
	Locks() LockStore
	Instances() InstanceStore
	Revocations() RevocationStore
	Spools() SpoolStore
	Reservations() ReservationStore
	Keys() KeyStore
	Outbox() OutboxStore
	Quarantines() QuarantineStore
	Workloads() WorkloadStore
	Observed() ObservedStore
	Tokens() TokenStore
	TokenKeys() TokenKeyStore
	Proofs() ProofStore
}

// HeadStore keeps the feed's position: the last one that changed what instances hold.
type HeadStore interface {
	Feed(ctx context.Context) (feed.Position, error) // epoch 1, revision 0 in a new database
	SetFeed(ctx context.Context, at feed.Position) error
}

// StoredChange is a row of the feed: one revision's change for one app, encoded.
type StoredChange struct {
	At   feed.Position
	App  string
	Body []byte // feed.Delta, marshalled
}

// ChangeStore keeps what each revision changed, for streams that follow.
type ChangeStore interface {
	Append(ctx context.Context, c StoredChange) error
	// Between lists the changes after one position up to and with another, in order.
	Between(ctx context.Context, after, upto feed.Position) ([]StoredChange, error)
	// Oldest returns the position from which on all changes are kept.
	Oldest(ctx context.Context) (feed.Position, error)
	// Prune forgets changes up to and with a position.
	Prune(ctx context.Context, upto feed.Position) error
}

// RequestFilter narrows a list of requests. Zero fields do not narrow. Lists are
// newest first, after the cursor, which is the last id of the page before.
type RequestFilter struct {
	Requester identity.Principal
	State     RequestState
	App       string
	Before    grant.RequestID
	Limit     int // 0: 100
}

// RequestStore keeps requests.
type RequestStore interface {
	Insert(ctx context.Context, r Request, offer []byte) error
	Get(ctx context.Context, id grant.RequestID) (Request, error)
	Offer(ctx context.Context, id grant.OfferID) ([]byte, error)
	// Update replaces the row of r.ID, whole.
	Update(ctx context.Context, r Request) error
	List(ctx context.Context, f RequestFilter) ([]Request, error)
	CountPending(ctx context.Context, requester identity.Principal) (int, error)
	// UnderPolicy counts the requests for an entitlement that were made under the policy
	// of a digest, from one instant on and before another, and lists the newest of them. A
	// zero time is no bound.
	UnderPolicy(ctx context.Context, entitlement, digest string, from, before time.Time, limit int) (n int, newest []grant.RequestID, err error)
	// Overdue lists pending requests whose DecideBy is at or before now.
	Overdue(ctx context.Context, now time.Time, limit int) ([]Request, error)
}

// ApprovalStore keeps approvals and refusals.
type ApprovalStore interface {
	Insert(ctx context.Context, a Approval) error // ErrExists: this person spoke on this revision
	List(ctx context.Context, id grant.RequestID) ([]Approval, error)
}

// GrantFilter narrows a list of grants; see RequestFilter.
type GrantFilter struct {
	Principal   identity.Principal
	App         string
	Entitlement string
	LiveAt      time.Time // only those neither marked, swept nor ended then
	Fed         bool      // only those neither marked nor swept: what instances hold
	Before      grant.GrantID
	Limit       int
}

// FedGrant is a grant with what the feed adds to it.
type FedGrant struct {
	grant.Grant
	Params    map[string]string
	Catalogue string // digest of the operations that it was expanded against
}

// GrantStore keeps grants. Params belong to the grant's row for the feed.
type GrantStore interface {
	Insert(ctx context.Context, g grant.Grant, params map[string]string, catalogue string) error // the database itself refuses one without an end (P1)
	Get(ctx context.Context, id grant.GrantID) (grant.Grant, error)
	// Fed reads a grant with what the feed adds to it.
	Fed(ctx context.Context, id grant.GrantID) (g grant.Grant, params map[string]string, catalogue string, err error)
	List(ctx context.Context, f GrantFilter) ([]grant.Grant, error)
	// OfRequest lists the grants that came of a request, by id: several of a bundle.
	OfRequest(ctx context.Context, id grant.RequestID) ([]grant.Grant, error)
	// ListFed is List with what the feed adds to each.
	ListFed(ctx context.Context, f GrantFilter) ([]FedGrant, error)
	MarkRevoked(ctx context.Context, id grant.GrantID, at time.Time, why grant.Reason) error
	MarkFinished(ctx context.Context, id grant.GrantID, at time.Time) error
	// Unswept lists grants that have ended at now and whose end is not on record yet.
	Unswept(ctx context.Context, now time.Time, limit int) ([]grant.Grant, error)
	MarkSwept(ctx context.Context, id grant.GrantID) error
	// Used notes that a grant was used at an instant. An earlier one changes nothing.
	Used(ctx context.Context, id grant.GrantID, at time.Time) error
	// UsedAll is Used of many at once; those that are not there are left out.
	UsedAll(ctx context.Context, uses map[grant.GrantID]time.Time) error
	// Idle lists live grants that were not used for their IdleAfter, as of now, and
	// neither was any other live grant of their request.
	Idle(ctx context.Context, now time.Time, limit int) ([]grant.Grant, error)
	// LastUse returns when a grant was last used; its NotBefore if it never was.
	LastUse(ctx context.Context, id grant.GrantID) (time.Time, error)
}

// BeginningBundle is a bundle that was granted and is not known to be in force in each
// of its apps yet.
type BeginningBundle struct {
	Request grant.RequestID
	Due     time.Duration // of Tx.Passed: by then it is, or all of it ends
}

// BundleStore keeps the bundles that are beginning.
type BundleStore interface {
	Begin(ctx context.Context, id grant.RequestID, due time.Duration) error
	Beginning(ctx context.Context) ([]BeginningBundle, error) // by request
	Begun(ctx context.Context, id grant.RequestID) error      // forgets it; no error if it is not there
}

// SessionFilter narrows a list of sessions; see RequestFilter.
type SessionFilter struct {
	Principal identity.Principal
	Parent    grant.SessionID
	Provider  string // sid
	App       string
	LiveAt    time.Time // only those neither ended nor over then
	Fed       bool      // only those on hosts of apps that are neither ended nor swept: what instances hold
	Before    grant.SessionID
	Limit     int
}

// SessionStore keeps sessions of every kind and the logins that are under way.
type SessionStore interface {
	Insert(ctx context.Context, s Session) error // ErrExists: the hash is taken
	ByHash(ctx context.Context, hash [32]byte) (Session, error)
	ByID(ctx context.Context, id grant.SessionID) (Session, error)
	List(ctx context.Context, f SessionFilter) ([]Session, error)
	// SetGroups replaces the groups of a session, and when they were told.
	SetGroups(ctx context.Context, id grant.SessionID, groups []identity.Group, at time.Time) error
	// End ends a session once; a second call leaves the first end as it is.
	End(ctx context.Context, id grant.SessionID, at time.Time) error
	// Unswept lists sessions on hosts of apps that are over at now, were not ended
	// before, and whose end is not on record yet.
	Unswept(ctx context.Context, now time.Time, limit int) ([]Session, error)
	MarkSwept(ctx context.Context, id grant.SessionID) error
	// PutLogin keeps a login that is under way until it is taken or until it ends.
	PutLogin(ctx context.Context, key string, body []byte, ends time.Time) error
	// TakeLogin returns it once: the second call, and one after its end, is ErrNotFound.
	TakeLogin(ctx context.Context, key string, now time.Time) ([]byte, error)
}

// PersonStore keeps the key that makes a principal's pseudonym, and the personal
// texts that may be erased with it.
type PersonStore interface {
	// Key returns the key of p, made by fresh when there is none. In a View it is
	// ErrNotFound instead.
	Key(ctx context.Context, p identity.Principal, fresh func() []byte) ([]byte, error)
	// ByPseudonym returns whose pseudonym it is.
	ByPseudonym(ctx context.Context, pseudonym string) (identity.Principal, error)
	// SetPseudonym keeps the name that Key gave rise to.
	SetPseudonym(ctx context.Context, p identity.Principal, pseudonym string) error
	// Profile returns the newest name and verified e-mail; both may be empty.
	Profile(ctx context.Context, p identity.Principal) (name, email string, err error)
	SetProfile(ctx context.Context, p identity.Principal, name, email string) error
	// WithEmail lists the accounts that share a verified e-mail.
	WithEmail(ctx context.Context, email string) ([]identity.Principal, error)
	// Erase forgets the key, the identity and the texts of p. Pseudonyms in the
	// record stay, and so do locks, without their reasons.
	Erase(ctx context.Context, p identity.Principal) error
}

// InstanceStore keeps running sidecars.
type InstanceStore interface {
	Join(ctx context.Context, i Instance) error // again: replaces all but the receipts
	Get(ctx context.Context, id feed.Instance) (Instance, error)
	List(ctx context.Context) ([]Instance, error) // not gone, by id
	// Unseen lists those of them that neither joined nor had a Pong after a time.
	Unseen(ctx context.Context, after time.Time) ([]Instance, error)
	// Fronting lists those of them that front an app and have had a Pong, each with
	// what its lease is counted by only: ID, Apps, LastPong, PongPassed, StaleAfter.
	Fronting(ctx context.Context, app string) ([]Instance, error)
	// SetLastPong notes that their Pings were answered then, by Now and by Passed.
	SetLastPong(ctx context.Context, ids []feed.Instance, at time.Time, passed time.Duration) error
	// SetAcked stores receipts, each if it is the highest of its instance. They come
	// from a thousand instances at once: one of each.
	SetAcked(ctx context.Context, receipts []feed.Receipt, at time.Time) error
	SetNack(ctx context.Context, id feed.Instance, text string, at time.Time) error
	MarkGone(ctx context.Context, id feed.Instance, at time.Time) error
	// SetStrayed notes since when what an instance holds of apps is not what it was
	// told; zero: it is again.
	SetStrayed(ctx context.Context, id feed.Instance, since time.Time, apps []string) error
	// Strayed lists those of which that is noted.
	Strayed(ctx context.Context) ([]feed.Instance, error)
}

// RevocationStore keeps what revoke --wait waits for.
type RevocationStore interface {
	Insert(ctx context.Context, r Revocation) error
	Get(ctx context.Context, id grant.GrantID) (Revocation, error)
	Open(ctx context.Context) ([]Revocation, error)
	// Acked notes each instance's acknowledgement in every open revocation at or
	// below its receipt's position. One that comes once UntilPassed has passed does
	// not count: the wait was closed then, whatever follows (contracts §2).
	Acked(ctx context.Context, receipts []feed.Receipt, at time.Time, passed time.Duration) error
	// Settled lists the open ones in which nobody is awaited any more:
	// every wait is acknowledged, or its UntilPassed has passed.
	Settled(ctx context.Context, passed time.Duration) ([]Revocation, error)
	Close(ctx context.Context, id grant.GrantID, at time.Time) error
}

// StoredSegment is one accepted segment of a spool.
type StoredSegment struct {
	Spool       string
	Sidecar     string // SPIFFE ID of the instance that shipped it
	First, Last uint64
	Packed      []byte // the frames as they are kept: see Frames
	Root        [32]byte
	ChainHead   [32]byte
	Leaf        int64 // index of its anchor in the control log
}

// Named is an id and the frame that names it.
type Named struct {
	ID   string
	Leaf int64  // that anchors the frame's segment
	Seq  uint64 // of the frame, ≥ 1
}

// SpoolStore keeps segments and where each spool stands.
type SpoolStore interface {
	// Head returns the next seq and the chain head: 1 and zero for a new spool.
	// owner is the sidecar that shipped first, "" for a new one.
	Head(ctx context.Context, spool string) (next uint64, chain [32]byte, owner string, err error)
	Append(ctx context.Context, s StoredSegment) error
	// Spools lists the ids of all spools, sorted.
	Spools(ctx context.Context) ([]string, error)
	// Segments lists a spool's segments from a seq on, in order.
	Segments(ctx context.Context, spool string, from uint64, limit int) ([]StoredSegment, error)
	// Index notes that a leaf of the control log names an id (req_, grt_ …).
	Index(ctx context.Context, id string, leaf int64) error
	// IndexAll notes which frames of stored segments name an id (act_, den_, grt_ …). Of
	// a segment only the first such frame is noted: the others are found by reading on.
	IndexAll(ctx context.Context, named []Named) error
	// Find returns the places of an id in the order in which they came onto the record: by
	// the leaf, or the leaf of the segment; then by seq.
	Find(ctx context.Context, id string) ([]Place, error)
}

// Place is where a record stands: a leaf of the control log (Spool empty), or a
// frame of a spool.
type Place struct {
	Spool string
	Seq   uint64
}

// Reservation is the control plane's acknowledgement of one intent.
type Reservation struct {
	Action   grant.ActionID
	Grant    grant.GrantID
	Instance feed.Instance
	Result   int32 // feed.ReserveResponse_Result
	Reason   string
	Leaf     int64
	At       time.Time
}

// ReservationStore keeps them by action.
type ReservationStore interface {
	Get(ctx context.Context, id grant.ActionID) (Reservation, error)
	Insert(ctx context.Context, r Reservation) error
}

// KeyStore keeps answers to repeated calls: Idempotency-Key per (principal, route).
type KeyStore interface {
	Get(ctx context.Context, p identity.Principal, route, key string, now time.Time) (body []byte, err error)
	Put(ctx context.Context, p identity.Principal, route, key string, body []byte, ends time.Time) error
}

// Event is something that people or parts are told of after the transaction.
type Event struct {
	Seq  int64
	Kind string // request.pending, request.decided, grant.ended …
	ID   string // what it is about
	At   time.Time
}

// OutboxStore keeps events until they are delivered.
type OutboxStore interface {
	Put(ctx context.Context, e Event) error
	// After lists events after a seq, in order.
	After(ctx context.Context, seq int64, limit int) ([]Event, error)
}

// QuarantineStore keeps the gateways that are told nothing.
type QuarantineStore interface {
	Put(ctx context.Context, q Quarantine) error // again: the first beginning stays
	// Lift forgets one; ErrNotFound if it was in none.
	Lift(ctx context.Context, sidecar identity.Principal) error
	List(ctx context.Context) ([]Quarantine, error) // by sidecar
}

// WorkloadStore keeps what was seen of workloads.
type WorkloadStore interface {
	// Seen adds to what was seen: counts are summed, the first and the last time kept,
	// and what was called of the newest call. New names are taken up to a bound.
	Seen(ctx context.Context, u WorkloadUse) error
	// List lists them by principal, after one; "" is from the beginning.
	List(ctx context.Context, after string, limit int) ([]WorkloadUse, error)
}
