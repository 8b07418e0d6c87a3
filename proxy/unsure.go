package proxy

import (
	"maps"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// missedPong is the age of a lease from which on a Pong is missing.
const missedPong = 1500 * time.Millisecond

// question keeps a grant that came now out of force until the next Pong, if t may be
// behind the clock that made it: its end would be counted late (P3). t is behind once
// mayflyd's wall clock was moved forward, until a Pong says so. A grant that begins
// later than t shows it. One that was made since the newest answered Ping may come so
// late that it does not; that is asked only where a Pong is missing, or each new grant
// would wait for one. What is in force already is right by the time that passes.
func (t *Table) question(d *draft, h *held) {
	old := t.state.Load()
	was, ok := old.byID.get(h.id)
	_, doubted := old.unsure[h.id]
	if ok && !was.past() && !doubted {
		return
	}
	known := d.now // what was made before is counted by a t that is not behind
	switch age, heard := t.ageIn(d); {
	case heard && age < maxStale:
		if age > missedPong {
			known = d.now.Add(-age)
		}
	case d.before != nil && !heard && !doubted:
		return // nothing is decided before a first Pong, and that one says what time it is
	default:
		known = time.Time{}
	}
	if doubted || feed.TimeOf(h.notBefore).After(known) {
		d.doubt(h.id, t.clock.Boot())
		t.clock.Doubt(d.unsure[h.id])
	}
}

// ageIn is Freshness at the draft's beginning: one reading of the clock for all grants
// of a message.
func (t *Table) ageIn(d *draft) (age time.Duration, heard bool) {
	if !d.aged {
		d.age, d.heard = t.Freshness()
		d.aged = true
	}
	return d.age, d.heard
}

// doubt keeps a grant out of force until a Pong of a Ping sent after that reading.
func (d *draft) doubt(id grant.GrantID, at time.Duration) {
	if !d.doubting {
		d.unsure, d.doubting = maps.Clone(d.unsure), true
	}
	if d.unsure == nil {
		d.unsure = map[grant.GrantID]time.Duration{}
	}
	d.unsure[id] = at
}

// sure puts in force what waited for the Pong of a Ping that was sent at that reading,
// if that Pong said what time it is.
func (t *Table) sure(sent time.Duration) {
	t.writing.Lock()
	defer t.writing.Unlock()
	s := t.state.Load()
	if len(s.unsure) == 0 || t.clock.Doubted() {
		return
	}
	d := s.edit(t.clock.Now())
	d.unsure = nil
	for id, at := range s.unsure {
		if at > sent {
			d.doubt(id, at)
			t.clock.Doubt(at)
		}
	}
	t.state.Store(d.share())
}
