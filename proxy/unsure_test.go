package proxy

import (
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// ahead is by how much the wall clock of mayflyd is moved forward here.
const ahead = 2 * time.Second

// made is a grant of a minute that mayflyd makes now, by the clock that was moved.
func (m *memory) made(id grant.GrantID) *feed.Resource {
	r, at := refunds(id, other, time.Minute), m.machine.plane().Add(ahead)
	r.GetGrant().NotBeforeUs, r.GetGrant().NotAfterUs = at.UnixMicro(), at.Add(time.Minute).UnixMicro()
	return r
}

// may is why the holder of what was made may not use it, "" if it may. To be found and
// to be looked at last are the same.
func (m *memory) may(id grant.GrantID) grant.Reason {
	m.t.Helper()
	_, found := m.find(other, 100)
	looked := grant.ReasonOf(m.LastLook(id, grant.ActionID{}, time.Time{}, func() error { return nil }))
	if found != looked {
		m.t.Errorf("to be found: %q, at the last look: %q", found, looked)
	}
	return looked
}

// Mayflyd's wall clock is moved forward and a grant is made. The gateway hears of the
// grant, and of the clock only with its next Pong: by the time that it has until then
// the grant would last longer than it was given for.
func TestP3_AGrantOfAMovedClockWaitsForAPong(t *testing.T) {
	for name, tell := range map[string]func(*memory, grant.GrantID, grant.GrantID){
		"in a change": func(m *memory, _, id grant.GrantID) {
			m.add(m.made(id))
			m.machine.pass(ahead)
		},
		"in a snapshot": func(m *memory, old, id grant.GrantID) {
			m.swap(stripeApp(), refunds(old, refunder, time.Hour), m.made(id))
			m.machine.pass(ahead)
		},
		"in two snapshots": func(m *memory, old, id grant.GrantID) {
			r := m.made(id)
			m.add(r)
			m.machine.pass(ahead)
			m.swap(stripeApp(), refunds(old, refunder, time.Hour), r)
		},
		"after its beginning, as no Pong came": func(m *memory, _, id grant.GrantID) {
			r := m.made(id)
			m.machine.pass(ahead)
			m.add(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, old := granted(t)
			id, underWay := newIDs().next(), m.machine.now()
			m.machine.pass(time.Microsecond)
			tell(m, old, id)
			if r := m.may(id); r != grant.Stale {
				t.Errorf("before a Pong: %q", r)
			}
			if r := m.reason(); r != "" {
				t.Errorf("what was in force before: %q", r)
			}
			m.pongAfter(underWay, m.machine.plane()) // read before the clock was moved
			if r := m.may(id); r != grant.Stale {
				t.Errorf("after a Pong of a Ping from before: %q", r)
			}
			m.pong(m.machine.plane().Add(ahead))
			if r := m.may(id); r != "" {
				t.Errorf("after a Pong: %q", r)
			}
			m.machine.pass(time.Minute - ahead)
			m.pong(m.machine.plane().Add(ahead))
			if r := m.may(id); r != grant.Ended {
				t.Errorf("at its end: %q", r)
			}
		})
	}
}

// A gateway that comes back after its lease was over is told a grant by a snapshot, and
// hears only slow Pongs: the first of them says what time it is.
func TestP3_AGrantOfAMovedClockAfterTheLease(t *testing.T) {
	m, old := granted(t)
	m.machine.pass(maxStale)
	slowly := func() {
		sent, told := m.machine.now(), m.machine.plane().Add(ahead)
		m.machine.pass(slowFirst / 4)
		m.pongAfter(sent, told)
	}
	id := newIDs().next()
	m.swap(stripeApp(), refunds(old, refunder, time.Hour), m.made(id))
	slowly()
	if r := m.may(id); r != "" {
		t.Fatalf("after a Pong: %q", r)
	}
	m.machine.pass(time.Minute)
	slowly()
	if r := m.may(id); r != grant.Ended {
		t.Errorf("at its end: %q", r)
	}
}

// While a Pong comes each second, a new grant counts at once.
func TestANewGrantWaitsForNoPong(t *testing.T) {
	m, _ := granted(t)
	id := newIDs().next()
	m.machine.pass(missedPong)
	r := m.made(id)
	r.GetGrant().NotBeforeUs -= ahead.Microseconds() // by a right clock
	m.add(r)
	if r := m.may(id); r != "" {
		t.Fatalf("refused: %q", r)
	}
}

// The Pong that a doubt waits for moves the time though it is slow, as a first one
// does, and not if it is slower than that.
func TestP3_ASlowPongSettlesADoubt(t *testing.T) {
	for took, want := range map[time.Duration]grant.Reason{slowFirst: "", slowFirst + time.Microsecond: grant.Stale} {
		m, _ := granted(t)
		id := newIDs().next()
		m.add(m.made(id))
		sent, told := m.machine.now(), m.machine.plane().Add(ahead)
		m.machine.pass(took)
		m.pongAfter(sent, told)
		if r := m.may(id); r != want {
			t.Errorf("%s: %q, want %q", took, r, want)
		}
		if r := m.reason(); r != "" {
			t.Errorf("%s: the lease is not renewed: %q", took, r)
		}
	}
}

// Grants that come all the time do not keep each other from counting.
func TestADoubtIsSettledForEachGrantAlone(t *testing.T) {
	m, _ := granted(t)
	ids := newIDs()
	first, second := ids.next(), ids.next()
	m.add(m.made(first))
	m.machine.pass(missedPong)
	sent := m.machine.now()
	m.machine.pass(missedPong)
	m.add(m.made(second))
	m.pongAfter(sent, m.machine.plane().Add(ahead))
	m.machine.pass(ahead)
	for id, want := range map[grant.GrantID]grant.Reason{first: "", second: grant.Stale} {
		if r := grant.ReasonOf(m.Look(id, m.Now())); r != want {
			t.Errorf("%q, want %q", r, want)
		}
	}
	m.pong(m.machine.plane().Add(ahead))
	if r := grant.ReasonOf(m.Look(second, m.Now())); r != "" {
		t.Errorf("the second, later: %q", r)
	}
}

// A first Pong that took long does not say what time it is: every grant would end that
// much early, for good. Nothing is decided before one that does.
func TestP3_AFirstPongThatTookTooLongSaysNoTime(t *testing.T) {
	for _, marked := range []bool{false, true} {
		m, id := newMemory(t), newIDs().next()
		if marked {
			if err := writeMark(m.mark, noon().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			m.Table = m.open(nil)
		}
		m.swap(stripeApp(), refunds(id, refunder, time.Hour))
		sent := m.machine.now()
		m.machine.pass(slowFirst + time.Microsecond)
		m.pongAfter(sent, m.machine.plane())
		if r := m.reason(); r != grant.Stale {
			t.Errorf("after %s: %q", slowFirst+time.Microsecond, r)
		}
		if len(m.alarmed()) != 0 {
			t.Errorf("alarms: %v", m.alarmed())
		}
		sent = m.machine.now()
		m.machine.pass(slowFirst)
		m.pongAfter(sent, m.machine.plane())
		if r := m.reason(); r != "" {
			t.Errorf("after %s: %q", slowFirst, r)
		}
		if lead := m.Now().Sub(m.machine.plane()); lead != slowFirst {
			t.Errorf("t is %s ahead", lead)
		}
	}
}
