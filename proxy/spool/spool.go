package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// Config configures a Spool. Dir, Node, Minter, Now and Ship are required.
type Config struct {
	Dir     string // 0700, made if it is not there
	Node    string // instance id
	Version string
	Minter  *grant.Minter
	Now     func() time.Time // t, the sidecar's time; known before Open
	// Ship sends one segment and returns the seq that is wanted next. An error is
	// tried again later.
	Ship func(ctx context.Context, s audit.Segment) (next uint64, err error)
	// Limit is the room of all frames on disk, in bytes; 0 means 1 GiB.
	Limit int64
	Log   *slog.Logger // nil discards

	openFile func(path string, flag int) (disk, error) // nil: os.OpenFile, 0600
}

// DefaultLimit is the room of a spool whose Limit is 0.
const DefaultLimit = 1 << 30

// Errors of a write.
var (
	// ErrBroken: the disk failed a sync. What is on it is not known, and only a
	// restart finds out.
	ErrBroken = errors.New("spool: the disk failed, and nothing more is written until the sidecar restarts")
	// ErrRefused is wrapped by an error of Config.Ship that no later try mends:
	// mayflyd holds another history of this spool. Nothing more is written then.
	ErrRefused = errors.New("spool: mayflyd refuses these frames for good")
	// ErrFull: an intent, with its outcome, has no room.
	ErrFull = errors.New("spool: no room")
	// ErrLate: the intent's deadline had passed before it was written.
	ErrLate = errors.New("spool: the deadline of the action has passed")
	// ErrClosed: Run has returned.
	ErrClosed = errors.New("spool: closed")
	// ErrNoIntent: what came is of an action that has no open intent here.
	ErrNoIntent = errors.New("spool: no open intent of this action")
)

// Spool is one open spool. It implements proxy.Journal. Safe for concurrent use.
//
// Of its goroutines, one writes frames, one syncs them and one ships them; nobody
// waits for the disk while holding a lock that a reader of the state needs.
type Spool struct {
	c    Config
	id   string
	lock *os.File

	mu      sync.Mutex // guards what is below; never held over I/O
	files   []*file    // at least one; the writer appends, the shipper removes
	head    audit.Hash // the writer's, and so is next
	next    uint64
	open    map[string]*file // action → file of its intent
	used    int64            // bytes on disk
	shipped uint64           // all seqs below are at mayflyd
	broken  error
	clock   time.Time // newest that Now told

	handle sync.RWMutex // held to sync active, and exclusively to put another in its place
	active disk         // the last of files; only the writer writes to it

	outcomes outcomes
	unsynced unsynced
	counts   counter
	queue    chan *write
	bell     chan struct{} // there is something to ship
	stopped  chan struct{} // closed when writer and syncer have ended
	shipping sync.Mutex    // one shipment at a time
}

var _ proxy.Journal = (*Spool)(nil)

// Open takes the folder, cuts a torn tail, closes what was left open as unknown,
// and is then ready to write. Run must be running for writes to happen.
func Open(c Config) (*Spool, error) {
	if c.Dir == "" || c.Node == "" || c.Minter == nil || c.Now == nil || c.Ship == nil {
		return nil, errors.New("spool: a required field of Config is missing")
	}
	if c.Now().IsZero() {
		return nil, errors.New("spool: the time is not known yet, and a record without it would not hold")
	}
	if c.Limit == 0 {
		c.Limit = DefaultLimit
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.openFile == nil {
		c.openFile = openFile
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	held, err := lock(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		c: c, lock: held, open: map[string]*file{}, shipped: 1,
		queue: make(chan *write, queueLength), bell: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	s.outcomes.bell, s.unsynced.bell = make(chan struct{}, 1), make(chan struct{}, 1)
	if err := s.recover(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// ID returns the spl_ id of the folder.
func (s *Spool) ID() string { return s.id }

// Close lets the folder go. Call it after Run has returned.
func (s *Spool) Close() error {
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.Sync(), s.active.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Head returns the seq of the last frame and its payload hash, as each Ping
// tells them: a spool that comes back shorter is noticed within a lease. It does
// not wait for the disk.
func (s *Spool) Head() (seq uint64, chain audit.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - 1, s.head
}

// Pending returns how many frames are not shipped yet.
func (s *Spool) Pending() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - s.shipped
}

// Run writes and ships until ctx ends; then it writes what is queued, ships once
// more, briefly, and returns nil. End it after whoever writes to it.
func (s *Spool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	written := make(chan struct{})
	wg.Go(func() {
		defer close(written)
		s.writeLoop(ctx)
	})
	wg.Go(func() {
		defer close(s.stopped)
		s.syncLoop(written)
	})
	wg.Go(func() { s.shipLoop(ctx) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.shipAll(last); err != nil {
		s.c.Log.WarnContext(last, "spool not shipped to the end; the next start ships the rest", "error", err)
	}
	return nil
}

// now returns t, and the last t known while an operator has reset the clock: a
// record always has a time.
func (s *Spool) now() time.Time {
	t := s.c.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.IsZero() {
		return s.clock
	}
	s.clock = t
	return t
}

// fail makes the spool refuse everything from now on.
func (s *Spool) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
		s.c.Log.Error("spool broken", "error", err)
	}
	return s.broken
}

func (s *Spool) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}
