package feed

import (
	"context"
	"math"
	"time"
)

// Position is a place in the order of changes. The zero value is before all.
type Position struct {
	Epoch    int64
	Revision int64
}

// Newest is after every position that there can be.
func Newest() Position { return Position{math.MaxInt64, math.MaxInt64} }

// Before reports whether p is before q.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Revision < q.Revision
}

// Everyone is the app of a change that concerns every instance (contracts §2: the
// pseudo-app of what belongs to no app). No app has this name.
const Everyone = "*"

// Change is what one verb changed, as the verb's transaction stored it. Encoded
// once, it is shared by all streams.
type Change struct {
	At Position
	// App says whom it concerns: instances that do not front it skip the change.
	// Everyone: every instance, whatever it fronts. Empty: which apps an instance fronts may have changed (nodes: in policy), so
	// every instance joins again, and gets a snapshot if it fronts others now.
	App       string
	Resources []*Resource
	Removals  []*Removal
}

// Beat is one instance's sign of life, waiting for its Pong.
type Beat struct {
	Instance Instance
	Ping     *Ping
}

// Pulse is what the transaction that stored a batch of beats saw.
type Pulse struct {
	Head       Position // head.feed
	Time       time.Time
	Checkpoint []byte // signed note
	// Silent are the instances that get no Pong: their leases run out.
	Silent map[Instance]bool
	// Resync are the instances whose streams end, so that they take a snapshot, and why.
	Resync map[Instance]string
	// Leaves are the proofs that Pings asked for, in the tree of Checkpoint.
	Leaves map[Instance][]*LeafProof
	// Consistency shows, by size, that the tree of Checkpoint begins with the ones
	// that Pings named; none for a size that it does not begin with.
	Consistency map[int64][][]byte
}

// Receipt is an instance's word that a position is applied.
type Receipt struct {
	Instance    Instance
	At          Position
	LastAllowed time.Time // zero: none
	LastAction  string
	StreamsCut  uint32
	Bounded     time.Time // zero: none
}

// Refusal is an instance's word that it does not hold a resource.
type Refusal struct {
	Instance Instance
	Nack     *Nack
}

// Source is what a Server tells from. Its methods are called concurrently and
// return when their context ends. A Source that cannot answer returns an error;
// the server then tells nothing, and every lease runs out. An error made by
// google.golang.org/grpc/status reaches the instance as it is; any other becomes
// Unavailable and its text stays here.
type Source interface {
	// Join admits an instance that the peer may speak for, records its start, and
	// returns the names of the apps that it fronts. An instance that policy does
	// not list is an error.
	Join(ctx context.Context, i Instance, s *Subscribe) (apps []string, err error)
	// Leave says that the instance's stream is gone. Its lease is not touched.
	Leave(ctx context.Context, i Instance)
	// Snapshot reads all that an instance with these apps holds, in one transaction, and
	// calls part with its position and some of it, once or more. What was told so counts
	// only if Snapshot returns nil. part does not block; its error ends the reading and
	// is Snapshot's. No apps: the position alone.
	Snapshot(ctx context.Context, apps []string, part func(at Position, some []*Resource) error) error
	// Changes reads the changes after one position up to and with another, in
	// order: a change that commits later never has a lower position. If some of
	// them are no longer kept, ok is false and the caller takes a snapshot. upto
	// may be Newest; else a state that is not there yet is an error.
	Changes(ctx context.Context, after, upto Position) (changes []Change, ok bool, err error)
	// Beat stores last_pong for each instance and reads head and clock, in one
	// write transaction (contracts §2). The pulse counts only if err is nil.
	Beat(ctx context.Context, beats []Beat) (Pulse, error)
	// Acknowledge stores the highest receipt of each instance.
	Acknowledge(ctx context.Context, receipts []Receipt) error
	// Refused records a NACK.
	Refused(ctx context.Context, r Refusal) error
	// Ingest stores one segment, durably, or says what it wants instead.
	Ingest(ctx context.Context, i Instance, r *IngestRequest) (*IngestResponse, error)
	// Reserve acknowledges one intent, durably.
	Reserve(ctx context.Context, i Instance, r *ReserveRequest) (*ReserveResponse, error)
	SessionSource
	TokenSource
}

// Sink is what a Client fills: the sidecar's table, lease and clock. Its methods
// are called by one goroutine at a time. A Sink asks Unsupported about every
// resource, holds none that it refuses, nor an older one under the same kind and
// id, and returns its Nack; the Client does not keep a session with one that
// does not.
type Sink interface {
	// Position is the highest position that was ever applied, and Holding is
	// false until a complete snapshot is in.
	Position() (at Position, holding bool)
	// Fill begins a snapshot of a position. One below Position is an error. No other is
	// being filled, and what changes the Sink is not called, until it is swapped in or
	// given up, by being forgotten.
	Fill(at Position) (Filling, error)
	// Apply takes one delta in; see Filling.Swap. A delta at or below Position is an error.
	Apply(ctx context.Context, d *Delta) (Receipt, []*Nack, error)
	// Advance notes that nothing of this instance changed up to a position.
	Advance(at Position) error
	// Extends reports, as nil, that the checkpoint of a Pong continues the record as
	// the Sink has seen it. named is the checkpoint of the Ping that it answers. After
	// an error the Pong counts for nothing.
	Extends(named []byte, p *Pong) error
	// Ponged renews the lease: the Ping was sent at that reading of the boot
	// clock, and everything up to the Pong's head is applied.
	Ponged(sent time.Duration, p *Pong) error
	// Describe fills in what a Ping tells of the instance: spools, the checkpoint that
	// it keeps.
	Describe(p *Ping)
}

// Filling is a snapshot on its way into a Sink, which it does not change before Swap.
type Filling interface {
	// Add reads a part. It keeps what it is given.
	Add(part []*Resource)
	// Swap takes all parts in, whole, in the place of what is held. It returns when
	// nothing decided under the older state is on its way any more, with the receipt's
	// figures and the resources that it refuses. It is called once.
	Swap(ctx context.Context) (Receipt, []*Nack, error)
}
