package storetest

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// Clock is a machine's wall clock and boot clock, to be moved by a test. It is
// safe for concurrent use. Make it with NewClock.
type Clock struct {
	mu   sync.Mutex
	wall time.Time
	boot time.Duration
	id   int // of the boot
}

// NewClock returns a Clock that stands at an instant, five minutes after boot.
func NewClock(at time.Time) *Clock { return &Clock{wall: at, boot: 5 * time.Minute} }

// Now is the wall clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// BootNow is the time since boot.
func (c *Clock) BootNow() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// Pass lets time pass on both clocks.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.boot = c.wall.Add(d), c.boot+d
}

// Step moves the wall clock alone, as an administrator or NTP does.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// Reboot starts the boot clock again.
func (c *Clock) Reboot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boot, c.id = time.Second, c.id+1
}

// BootID names the boot that BootNow counts from.
func (c *Clock) BootID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "boot " + strconv.Itoa(c.id)
}

// ClockOpener opens the store of a folder with the given clocks. The store lives
// until it is closed by the returned function; it may then be opened again.
type ClockOpener func(t *testing.T, folder string, c *Clock, alarm func(string)) (s access.Store, closeStore func())

// RunClock holds a store that takes its clocks from outside to contracts §1.
func RunClock(t *testing.T, open ClockOpener) {
	for _, c := range []struct {
		name string
		test func(*machine)
	}{
		{"follows the wall clock", testClockFollows},
		{"stepped back 1 h", testClockSteppedBack},
		{"stepped forward 1 h", testClockSteppedForward},
		{"alarms once each time that it falls behind", testClockAlarm},
		{"does not stop in fine steps", testClockFineSteps},
		{"starts from its mark", testClockMark},
		{"goes on over a restart", testClockRestart},
		{"starts from its mark after a reboot", testClockReboot},
		{"what has passed is moved by no wall clock", testClockPassed},
		{"a view's reading holds for updates", testClockView},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &machine{t: t, clock: NewClock(epoch()), folder: t.TempDir(), opener: open}
			m.open()
			defer func() { m.close() }()
			c.test(m)
		})
	}
}

// machine is one store and its clocks.
type machine struct {
	t      *testing.T
	clock  *Clock
	folder string
	opener ClockOpener

	store  access.Store
	close  func()
	alarms []string
}

func (m *machine) open() {
	m.store, m.close = m.opener(m.t, m.folder, m.clock, func(s string) { m.alarms = append(m.alarms, s) })
}

// update reads the clock in an update, and view in a view.
func (m *machine) update() (now time.Time) {
	update(m.t, m.store, func(_ context.Context, tx access.Tx) error { now = tx.Now(); return nil })
	return now
}

func (m *machine) view() (now time.Time) {
	view(m.t, m.store, func(_ context.Context, tx access.Tx) error { now = tx.Now(); return nil })
	return now
}

// reads compares both readings with epoch plus d.
func (m *machine) reads(when string, d time.Duration) {
	m.t.Helper()
	want := epoch().Add(d)
	if now := m.view(); !now.Equal(want) {
		m.t.Errorf("%s: a view reads %v, want %v", when, now, want)
	}
	if now := m.update(); !now.Equal(want) {
		m.t.Errorf("%s: an update reads %v, want %v", when, now, want)
	}
}

func testClockFollows(m *machine) {
	m.reads("at first", 0)
	m.clock.Pass(time.Second)
	m.reads("a second later", time.Second)
	m.clock.Step(-20 * time.Millisecond) // NTP's little steps
	m.clock.Pass(time.Second)
	m.reads("after a small step back", 2*time.Second)
	if len(m.alarms) != 0 {
		m.t.Errorf("alarms: %q", m.alarms)
	}
}

func testClockSteppedBack(m *machine) {
	m.update()
	m.clock.Step(-time.Hour)
	m.reads("after the step", 0)
	m.clock.Pass(10 * time.Minute)
	m.reads("ten minutes after the step", 10*time.Minute)
	m.clock.Step(time.Hour)
	m.reads("put right", 10*time.Minute)
}

func testClockSteppedForward(m *machine) {
	m.update()
	m.clock.Step(time.Hour)
	m.reads("after the step", time.Hour)
	m.clock.Step(-time.Hour) // put right: what was read stays read
	m.clock.Pass(time.Minute)
	m.reads("put right", time.Hour+time.Minute)
}

func testClockAlarm(m *machine) {
	m.update()
	for range 2 {
		m.clock.Step(-30 * time.Second)
		m.update()
		if len(m.alarms) != 0 {
			m.t.Fatalf("30 s behind: %q", m.alarms)
		}
		m.clock.Step(-time.Microsecond)
		m.view()
		m.update()
		if len(m.alarms) != 1 || !strings.Contains(m.alarms[0], "wall clock is 30s behind") {
			m.t.Fatalf("more than 30 s behind: alarms %q, want one", m.alarms)
		}
		m.clock.Step(30*time.Second + time.Microsecond)
		m.update()
		m.alarms = nil
	}
}

// Readings closer than a microsecond must not stop a clock that counts in
// microseconds.
func testClockFineSteps(m *machine) {
	m.update()
	m.clock.Step(-time.Hour)
	for range 500 {
		m.clock.Pass(100 * time.Nanosecond)
		m.view()
	}
	m.reads("after 500 steps of 100 ns", 50*time.Microsecond)
}

func testClockMark(m *machine) {
	m.clock.Pass(time.Minute)
	m.update()
	m.close()
	m.clock.Step(-time.Hour)
	m.open()
	m.reads("opened with the wall clock an hour back", time.Minute)
	m.clock.Pass(time.Second)
	m.reads("a second later", time.Minute+time.Second)
	if len(m.alarms) != 1 {
		m.t.Errorf("alarms %q, want one", m.alarms)
	}
}

// What passes while nobody has the database passes all the same.
func testClockRestart(m *machine) {
	m.clock.Pass(time.Minute)
	m.update()
	m.close()
	m.clock.Step(-time.Hour)
	m.clock.Pass(10 * time.Second)
	m.open()
	m.reads("opened ten seconds later with the wall clock an hour back", time.Minute+10*time.Second)
	m.close()
	m.clock.Reboot()
	m.clock.Pass(5 * time.Minute) // more than before the mark
	m.open()
	m.reads("after a reboot", time.Minute+10*time.Second)
}

func testClockPassed(m *machine) {
	passed := func() (d time.Duration) {
		update(m.t, m.store, func(_ context.Context, tx access.Tx) error { d = tx.Passed(); return nil })
		view(m.t, m.store, func(_ context.Context, tx access.Tx) error {
			if tx.Passed() != d {
				m.t.Errorf("a view reads %s, an update %s", tx.Passed(), d)
			}
			return nil
		})
		return d
	}
	began := passed()
	since := func(when string, want time.Duration) {
		m.t.Helper()
		if got := passed() - began; got != want {
			m.t.Errorf("%s: %s has passed, want %s", when, got, want)
		}
	}
	m.clock.Pass(time.Minute)
	since("a minute later", time.Minute)
	m.clock.Step(time.Hour)
	since("wall clock an hour forward", time.Minute)
	m.clock.Step(-2 * time.Hour)
	m.clock.Pass(time.Second)
	since("and two back", time.Minute+time.Second)
	m.close()
	m.clock.Pass(time.Second)
	m.open()
	since("closed for a second", time.Minute+2*time.Second)
	m.close()
	m.clock.Reboot()
	m.clock.Pass(time.Hour)
	m.open()
	since("after a reboot", time.Minute+2*time.Second) // nobody knows for how long
	m.clock.Pass(time.Second)
	since("a second later", time.Minute+3*time.Second)
}

func testClockReboot(m *machine) {
	m.clock.Pass(time.Hour)
	m.update()
	m.close()
	m.clock.Reboot()
	m.clock.Step(-time.Minute)
	m.open()
	m.reads("after a reboot", time.Hour)
	m.clock.Pass(2 * time.Minute)
	m.reads("two minutes later", time.Hour+2*time.Minute)
}

func testClockView(m *machine) {
	m.clock.Pass(time.Minute)
	m.view()
	m.clock.Step(-time.Hour)
	m.reads("after a view", time.Minute)
	m.clock.Pass(time.Second)
	err := m.store.Update(m.t.Context(), func(access.Tx) error { return context.DeadlineExceeded })
	if err == nil {
		m.t.Error("a failed update succeeded")
	}
	m.clock.Step(-time.Hour)
	m.reads("after a failed update", time.Minute+time.Second)
}
