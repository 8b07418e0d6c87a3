package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflyproxy/mayfly/grant"
)

const (
	slowPong  = time.Second      // a slower one moves the clock only if it is the first, or settles a doubt
	slowFirst = 5 * time.Second  // and not if it is slower than that: t would be ahead by as much for good
	backwards = 30 * time.Second // an estimate further back than this is not believed
	markEvery = time.Second
	firstYear = 2020 // and lastYear: what fits into int64 nanoseconds, with room
	lastYear  = 2200
)

// BootNow reads CLOCK_BOOTTIME: time since the machine started, suspended time
// included. Go's own monotonic clock stops while the machine is suspended.
func BootNow() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // a kernel without the clock: nothing could be decided
	}
	return time.Duration(ts.Nano())
}

// ClockConfig configures a Clock.
type ClockConfig struct {
	// Boot reads CLOCK_BOOTTIME; nil means BootNow.
	Boot func() time.Duration
	// Mark is the path of the file that keeps the time over restarts. Required.
	Mark string
	// Log is for operators; nil discards.
	Log *slog.Logger
}

// Clock is the sidecar's time t: the largest, over accepted Pongs, of the
// Pong's time plus the boot time since its Ping was sent, seeded by the mark on
// disk. It is never late, never stops and never steps back (contracts §1). The
// machine's wall clock is not read. Safe for concurrent use.
type Clock struct {
	boot func() time.Duration
	path string
	log  *slog.Logger

	// base is t less the boot time, in nanoseconds since the Unix epoch;
	// unset before the first Pong or mark.
	base    atomic.Int64
	suspect atomic.Pointer[grant.Denial] // why nothing is believed until Reset

	mu      sync.Mutex
	heard   bool          // a Pong moved the clock in this process
	doubted bool          // t may be behind: see Doubt
	since   time.Duration // that Doubt's reading of the boot clock

	disk   sync.Mutex // taken before mu; nothing else waits for it
	marked time.Time  // on disk
}

const unset = -1 << 63

// OpenClock reads the mark, if there is one. A mark that cannot be read is an
// error: starting without it would let time go back.
func OpenClock(c ClockConfig) (*Clock, error) {
	if c.Mark == "" {
		return nil, errors.New("clock: Mark is required")
	}
	if c.Boot == nil {
		c.Boot = BootNow
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &Clock{boot: c.Boot, path: c.Mark, log: c.Log}
	k.base.Store(unset)
	mark, err := readMark(c.Mark)
	if err != nil {
		return nil, err
	}
	if !mark.IsZero() {
		k.marked = mark
		k.base.Store(mark.UnixNano() - int64(c.Boot()))
	}
	return k, nil
}

// Now returns t, in microseconds' precision; the zero time before the first Pong
// of a sidecar that never had one.
func (k *Clock) Now() time.Time {
	base := k.base.Load()
	if base == unset {
		return time.Time{}
	}
	return time.Unix(0, base+int64(k.boot())).UTC().Truncate(time.Microsecond)
}

// Boot reads the boot clock that t runs on.
func (k *Clock) Boot() time.Duration { return k.boot() }

// Trusted returns nil while t may be decided by, else a Denial: stale before
// the first Pong, clock after one that was far in the past.
func (k *Clock) Trusted() error {
	if d := k.suspect.Load(); d != nil {
		out := *d // callers give a denial its id
		return &out
	}
	if k.base.Load() == unset {
		return grant.Deny(grant.Stale, "the gateway has not yet heard the time from its control plane")
	}
	return nil
}

func (k *Clock) suspected() bool { return k.suspect.Load() != nil }

// Accept takes in a Pong: its time, and the boot clock's reading when its Ping
// was sent. An error is a Denial with the reason clock: the Pong's own estimate
// is more than 30 s below t. It, and every later Pong, is then refused until
// Reset, and Trusted says so. One with the reason stale: a first Pong that took so
// long that it does not say what time it is.
func (k *Clock) Accept(sent time.Duration, told time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d := k.suspect.Load(); d != nil {
		return d
	}
	now := k.boot()
	took := now - sent
	if took < 0 || told.Year() < firstYear || told.Year() > lastYear {
		return grant.Deny(grant.Clock, "a pong without a time, or from before its ping")
	}
	estimate := told.UnixNano() - int64(sent)
	base := k.base.Load()
	if base != unset && base-estimate > int64(backwards) {
		d := grant.Deny(grant.Clock, "the control plane says %s, %s before what this gateway knows to be past",
			told.UTC().Format(time.RFC3339), time.Duration(base-estimate).Round(time.Second))
		k.suspect.Store(d)
		return d
	}
	settles := k.doubted && sent >= k.since
	switch limit := k.slow(settles); {
	case took <= limit:
	case k.heard:
		return nil
	default:
		return grant.Deny(grant.Stale, "the first pong took %s, and %s is the limit: the next one may say what time it is",
			took.Round(time.Millisecond), limit)
	}
	k.heard = true
	k.base.Store(max(base, estimate))
	if settles {
		k.doubted = false
	}
	return nil
}

// slow is how long a Pong may take that moves the clock.
func (k *Clock) slow(settles bool) time.Duration {
	if !k.heard || settles {
		return slowFirst
	}
	return slowPong
}

// Doubt notes that t may have been behind the control plane's clock at a reading of the
// boot clock. A Pong of a Ping that was sent later settles that, and moves t as a first
// one does. Of several doubts that are not settled the oldest counts.
func (k *Clock) Doubt(at time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.doubted || at < k.since {
		k.doubted, k.since = true, at
	}
}

// Doubted reports whether such a Pong is still awaited.
func (k *Clock) Doubted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doubted
}

// Reset forgets t and its mark, so that the next Pong sets both. Until then
// everything is denied as stale. It is an operator's decision, to be recorded by
// the caller.
func (k *Clock) Reset() error {
	k.disk.Lock()
	defer k.disk.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := RemoveMark(k.path); err != nil {
		return err
	}
	k.base.Store(unset)
	k.suspect.Store(nil)
	k.heard, k.marked = false, time.Time{}
	return nil
}

// Save writes t to the mark, never a lower one than is there.
func (k *Clock) Save() error {
	k.disk.Lock()
	defer k.disk.Unlock()
	k.mu.Lock()
	now, heard := k.Now(), k.heard
	k.mu.Unlock()
	if !heard || !now.After(k.marked) {
		return nil
	}
	if err := writeMark(k.path, now); err != nil {
		return err
	}
	k.marked = now
	return nil
}

// Run saves t each second until ctx ends, and once more.
func (k *Clock) Run(ctx context.Context) error {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			if err := k.Save(); err != nil {
				return fmt.Errorf("last mark: %w", err)
			}
			return nil
		case <-tick.C:
			err := k.Save()
			if err != nil && !failed {
				k.log.Error("the time cannot be kept over a restart", "error", err)
			}
			failed = err != nil
		}
	}
}
