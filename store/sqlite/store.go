package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite" // named sqlite

	"github.com/mayflyproxy/mayfly/access"
)

const readers = 4

// Config says where the database is. Only Path is required.
type Config struct {
	// Path is the database file. It is made, with mode 0600, if it is not there;
	// its folder must be. Beside it stand Path-wal, Path-shm and Path.lock.
	Path string
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// BootNow is the time since boot, suspension included; nil is CLOCK_BOOTTIME.
	BootNow func() time.Duration
	// BootID names the boot that BootNow counts from; "" is the machine's, or none if
	// BootNow is given: then what passed while nobody had the database is not known.
	BootID string
	// Alarm takes a sentence for operators, once each time that the wall clock
	// falls more than 30 s behind the database's. It must not call the store.
	// nil logs a warning.
	Alarm func(sentence string)
	// BusyTimeout is how long a transaction waits for another program that has
	// locked the file; zero is 5 s.
	BusyTimeout time.Duration
}

// Store is an access.Store over one SQLite file. It is safe for concurrent use.
// Make it with Open.
type Store struct {
	write, read *sql.DB
	carrier     *sql.DB // of carry
	lock        *os.File
	clock       *clock
	bootID      string

	writing chan *connection // the one writer's, first come first served
	reading chan *connection // the readers'
	closing chan struct{}
	close   sync.Once
	carried sync.WaitGroup

	committed atomic.Bool // something, since the log was carried over last
	err       error       // of Close
}

var _ access.Store = (*Store)(nil)

// Open takes the database's lock, brings its schema up to date and returns the
// store. It fails with ErrInUse while another process has the database, and for
// a file that others than its owner may read or write.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(cfg.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		lock:    lock,
		clock:   &clock{wall: cfg.Now, boot: cfg.BootNow, alarm: cfg.Alarm},
		bootID:  cfg.BootID,
		writing: make(chan *connection, 1), reading: make(chan *connection, readers),
		closing: make(chan struct{}),
	}
	if err := s.connect(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// complete checks c and fills in what was left out. Path becomes absolute and
// free of links, so that two spellings of one file have one lock.
func (c Config) complete() (Config, error) {
	if c.Path == "" {
		return c, errors.New("no path was given")
	}
	abs, err := filepath.Abs(c.Path)
	if err != nil {
		return c, err
	}
	if c.Path, err = makeFile(abs); err != nil {
		return c, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BootNow == nil {
		c.BootNow = bootNow
		if c.BootID == "" {
			c.BootID = bootID()
		}
	}
	if c.Alarm == nil {
		c.Alarm = func(s string) { slog.Warn("clock", "alarm", s) }
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 5 * time.Second
	}
	return c, nil
}

// makeFile makes the database file private before SQLite would make it readable;
// the files beside it take its mode over.
func makeFile(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("its mode is %#o, so others can reach what only mayflyd may: chmod 600 %s", mode, path)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return path, syncFolder(filepath.Dir(path))
}

// syncFolder makes the new file's name durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) connect(ctx context.Context, cfg Config) (err error) {
	// As SQLite does wherever it is built with its own configuration: a commit is as
	// durable, and does not wait for the journal of the file system to take a time stamp.
	if _, err := driver.Fdatasync(true); err != nil && !errors.Is(err, driver.ErrFdatasyncUnavailable) {
		return err
	}
	if s.write, err = sql.Open("sqlite", source(cfg, false)); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", source(cfg, true)); err != nil {
		return err
	}
	carrying := cfg
	carrying.BusyTimeout = restartWait
	if s.carrier, err = sql.Open("sqlite", source(carrying, false)); err != nil {
		return err
	}
	s.carrier.SetMaxOpenConns(1)
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if err := s.resume(ctx); err != nil {
		return err
	}
	s.writing <- &connection{db: s.write, begin: "BEGIN IMMEDIATE"}
	for range readers {
		s.reading <- &connection{db: s.read, begin: "BEGIN"}
	}
	// The first transaction seeds the clock from the mark, and alarms.
	if err := s.View(ctx, func(access.Tx) error { return nil }); err != nil {
		return err
	}
	s.carried.Go(s.carry)
	return nil
}

// resume lets the clock go on from the last commit, if that was in this boot.
func (s *Store) resume(ctx context.Context) error {
	var boot string
	var r reading
	var at int64
	err := s.read.QueryRowContext(ctx, `SELECT mark, passed, boot_id, boot_at FROM head`).
		Scan(asTime(&r.now), asDuration(&r.passed), &boot, &at)
	if r.boot = time.Duration(at); err == nil && boot != "" && boot == s.bootID {
		s.clock.resume(r)
	}
	return err
}

// The writer's memory. With SQLite's own 2 MB, a change that stores a few segments runs
// out of room half-way: pages go into the log before their time, are read again and go
// there again.
const writerCache = 32 << 10 // KiB of pages, taken as they are needed

// source is the driver's name of the database with the settings of each connection.
func source(cfg Config, readOnly bool) string {
	pragmas := []string{
		"busy_timeout(" + strconv.FormatInt(cfg.BusyTimeout.Milliseconds(), 10) + ")",
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "trusted_schema(OFF)",
		"secure_delete(ON)", "query_only(" + strconv.FormatBool(readOnly) + ")",
	}
	if !readOnly {
		// What a statement would undo is kept in memory too, not in a file of its own.
		pragmas = append(pragmas, fmt.Sprintf("cache_size(-%d)", writerCache), "temp_store(MEMORY)",
			fmt.Sprintf("wal_autocheckpoint(%d)", longestLog))
	}
	q := url.Values{"_defensive": {"1"}, "_dqs": {"0"}, "_pragma": pragmas}
	return "file:" + (&url.URL{Path: cfg.Path}).EscapedPath() + "?" + q.Encode()
}

// Update implements access.Store. f must not call Update or Close.
func (s *Store) Update(ctx context.Context, f func(access.Tx) error) error {
	defer s.committed.Store(true)
	return s.run(ctx, s.writing, f)
}

// View implements access.Store. A write in f is an error. f must not call Close.
func (s *Store) View(ctx context.Context, f func(access.Tx) error) error {
	return s.run(ctx, s.reading, f)
}

func (s *Store) run(ctx context.Context, from chan *connection, f func(access.Tx) error) error {
	own, err := s.enter(ctx, from)
	if err != nil {
		return err
	}
	defer func() { from <- own }()
	t, err := s.begin(ctx, own)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", typed(err))
	}
	defer t.end() // rolls back what was not committed, when f panics too
	if err := f(t); err != nil {
		return err
	}
	return t.commit(ctx)
}

// enter waits for a connection, in order of arrival.
func (s *Store) enter(ctx context.Context, from chan *connection) (*connection, error) {
	var own *connection
	select {
	case <-s.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a transaction: %w", ctx.Err())
	case own = <-from:
	}
	select {
	case <-s.closing:
		from <- own
		return nil, ErrClosed
	default:
		return own, nil
	}
}

// Close waits for the transactions that run, refuses new ones, and releases the
// database's lock. It may be called again.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closing)
		s.carried.Wait()
		own := []*connection{<-s.writing}
		for range readers {
			own = append(own, <-s.reading)
		}
		for _, one := range own {
			one.close()
		}
		s.err = s.release()
	})
	return s.err
}

func (s *Store) release() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.carrier != nil {
		errs = append(errs, s.carrier.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
