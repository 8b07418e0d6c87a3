package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	Now     func() time.Time // t, the sidecar's time
	// Ship sends one segment and returns the seq that is wanted next. An error is
	// tried again later.
	Ship func(ctx context.Context, s audit.Segment) (next uint64, err error)
	// Limit is the room of all frames on disk, in bytes; 0 means 1 GiB.
	Limit int64
	Log   *slog.Logger // nil discards
}

// DefaultLimit is the room of a spool whose Limit is 0.
const DefaultLimit = 1 << 30

// outcomeRoom is kept free for the outcome of each open intent.
const outcomeRoom = 1 << 10

// ErrBroken is returned by every write after the disk failed a sync: what is on
// it is not known, and only a restart finds out.
var ErrBroken = errors.New("spool: the disk failed, and nothing more is written until the sidecar restarts")

// ErrFull is returned when an intent, with its outcome, has no room.
var ErrFull = errors.New("spool: no room")

// Spool is one open spool. It implements proxy.Journal. Safe for concurrent use.
type Spool struct {
	c    Config
	id   string
	lock *os.File
	bell chan struct{} // there is something to ship

	mu      sync.Mutex // guards everything below
	files   []*file    // at least one
	active  *os.File
	head    audit.Hash
	next    uint64
	open    map[string]*file // action → file of its intent
	used    int64            // bytes on disk
	denied  int64            // of which denials not yet shipped
	shipped uint64           // all seqs below are at mayflyd
	broken  error

	queue   chan *write
	stopped chan struct{} // closed when the writer has ended

	counts counter
}

var _ proxy.Journal = (*Spool)(nil)

// Open takes the folder, cuts a torn tail, closes what was left open as unknown,
// and is then ready to write. Run must be running for writes to happen.
func Open(c Config) (*Spool, error) {
	if c.Dir == "" || c.Node == "" || c.Minter == nil || c.Now == nil || c.Ship == nil {
		return nil, errors.New("spool: a required field of Config is missing")
	}
	if c.Limit == 0 {
		c.Limit = DefaultLimit
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	held, err := lock(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		c: c, lock: held, bell: make(chan struct{}, 1), open: map[string]*file{}, shipped: 1,
		queue: make(chan *write, queueLength), stopped: make(chan struct{}),
	}
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
// tells them: a spool that comes back shorter is noticed within a lease.
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
// more, briefly, and returns nil.
func (s *Spool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.writeLoop(ctx) })
	wg.Go(func() { s.shipLoop(ctx) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.shipAll(last); err != nil {
		s.c.Log.WarnContext(last, "spool not shipped to the end; the next start ships the rest", "error", err)
	}
	return nil
}

// loadID reads the folder's id, or makes one for an empty folder.
func (s *Spool) loadID(empty bool) error {
	path := filepath.Join(s.c.Dir, idName)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		var id grant.SpoolID
		if err := id.UnmarshalText(bytes.TrimSpace(text)); err != nil || id.IsZero() {
			return fmt.Errorf("spool: %s holds no spool id", path)
		}
		s.id = id.String()
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("spool: %w", err)
	case !empty:
		return fmt.Errorf("spool: %s has frames but no id: the folder was tampered with or half restored", s.c.Dir)
	}
	at := s.c.Now()
	if at.IsZero() {
		at = time.Now() // only the layout of a random id: the first start knows no t
	}
	s.id = s.c.Minter.NewSpoolID(at).String()
	if err := os.WriteFile(path, []byte(s.id+"\n"), 0o600); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return syncDir(s.c.Dir)
}
