package sqlite

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxBehind is how far the wall clock may be behind before it alarms (contracts §1).
const maxBehind = 30 * time.Second

// clock is control plane time: max(wall clock, last value + BOOTTIME since it).
// It never stops or steps back, whatever the wall clock does. It is safe for
// concurrent use.
type clock struct {
	wall  func() time.Time
	boot  func() time.Duration
	alarm func(string)

	mu     sync.Mutex
	last   time.Time     // the newest reading, finer than any that was returned
	at     time.Duration // of the boot clock, at that reading
	behind bool          // the alarm was given and the wall clock has not caught up
}

// now reads the clock, at least at mark, to the microsecond.
func (c *clock) now(mark time.Time) time.Time {
	t, alarm := c.read(mark)
	if alarm != "" {
		c.alarm(alarm)
	}
	return t.Truncate(time.Microsecond)
}

func (c *clock) read(mark time.Time) (now time.Time, alarm string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	boot := max(c.boot(), c.at)
	wall := c.wall().UTC().Round(0) // without Go's monotonic reading, which stops in a suspended machine
	t := mark
	if estimate := c.last.Add(boot - c.at); !c.last.IsZero() && estimate.After(t) {
		t = estimate
	}
	late := t.Sub(wall)
	if wall.After(t) {
		t = wall
	}
	c.last, c.at = t, boot
	if late <= maxBehind {
		c.behind = false
		return t, ""
	}
	if c.behind {
		return t, ""
	}
	c.behind = true
	return t, fmt.Sprintf("the wall clock is %s behind the database's clock, which never steps back and stands at %s: correct the wall clock; until then grants begin and end by the database's clock",
		late.Truncate(time.Second), t.Format(time.RFC3339))
}

// bootNow reads CLOCK_BOOTTIME, which goes on while the machine is suspended.
func bootNow() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // never on Linux; the clock then follows the wall clock and never falls
	}
	return time.Duration(ts.Nano())
}
