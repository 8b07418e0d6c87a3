package sqlite

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxBehind is how far the wall clock may be behind before it alarms (contracts §1).
const maxBehind = 30 * time.Second

// clock is control plane time: max(wall clock, last value + BOOTTIME since it).
// It never stops or steps back, whatever the wall clock does. Beside it runs the time
// that has certainly passed, which no wall clock moves. It is safe for concurrent use.
type clock struct {
	wall  func() time.Time
	boot  func() time.Duration
	alarm func(string)

	mu     sync.Mutex
	last   time.Time     // the newest reading, finer than any that was returned
	at     time.Duration // of the boot clock, at that reading
	passed time.Duration // by that reading
	behind bool          // the alarm was given and the wall clock has not caught up
}

// reading is what one transaction takes from the clock, and leaves for the next.
type reading struct {
	now    time.Time
	passed time.Duration // that has certainly passed since the database was made
	boot   time.Duration // of the boot clock
}

// resume goes on from a reading of this boot of the machine: what passed since, while
// nobody read the clock, counts.
func (c *clock) resume(r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.now.IsZero() && r.boot <= c.boot() {
		c.last, c.at, c.passed = r.now, r.boot, r.passed
	}
}

// read reads the clock, to the microsecond: at least what mark says.
func (c *clock) read(mark reading) reading {
	r, alarm := c.step(mark)
	if alarm != "" {
		c.alarm(alarm)
	}
	r.now, r.passed = r.now.Truncate(time.Microsecond), r.passed.Truncate(time.Microsecond)
	return r
}

func (c *clock) step(mark reading) (r reading, alarm string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	boot := max(c.boot(), c.at)
	wall := c.wall().UTC().Round(0) // without Go's monotonic reading, which stops in a suspended machine
	t, passed := mark.now, mark.passed
	if !c.last.IsZero() {
		passed = max(passed, c.passed+boot-c.at)
		if estimate := c.last.Add(boot - c.at); estimate.After(t) {
			t = estimate
		}
	}
	late := t.Sub(wall)
	if wall.After(t) {
		t = wall
	}
	c.last, c.at, c.passed = t, boot, passed
	r = reading{now: t, passed: passed, boot: boot}
	if late <= maxBehind {
		c.behind = false
		return r, ""
	}
	if c.behind {
		return r, ""
	}
	c.behind = true
	return r, fmt.Sprintf("the wall clock is %s behind the database's clock, which never steps back and stands at %s: correct the wall clock; until then grants begin and end by the database's clock",
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

// bootID names this boot of the machine, and the clock that a time namespace shows
// instead of the machine's: BOOTTIME goes on over a restart of mayflyd only under the
// same name. Empty if that cannot be known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/time")
	if err != nil && !os.IsNotExist(err) { // before Linux 5.6 there are none
		return ""
	}
	return strings.TrimSpace(string(id)) + " " + namespace
}
