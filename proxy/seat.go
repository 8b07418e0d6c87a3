package proxy

import (
	"fmt"
	"reflect"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
)

// seat is one session in the table, live by what the feed said, or past: kept for
// a while so that a refusal can say what became of it. It is never changed.
type seat struct {
	session *Session // of a past one only id, hash, app and host
	life    *life
	past    bool
	why     grant.Reason
	until   time.Time // a past one is forgotten then
}

// visit is how one decision knows a session. The zero value is no person's.
type visit struct {
	session *Session
	asked   bool   // by a look-up: the table did not hold it
	ends    uint64 // the state's, before the look-up was sent
	kid     string // the key of the token that was presented, "" without one
}

// attend is the look at a person's session: nil and no error for a decision that
// needs none, or for a session that is only known by a look-up and of which nothing
// was heard since. Else the seat, or a Denial that says what became of it.
func (s *state) attend(v visit, now time.Time) (*seat, error) {
	if v.session == nil {
		return nil, nil
	}
	held, ok := s.seats.get(v.session.Hash)
	switch {
	case ok:
		if held.session.ID != v.session.ID || !held.past && held.session.Principal != v.session.Principal {
			return nil, grant.Deny(grant.SessionEnded, "the session is not the one that was decided on")
		}
		return held, held.live(now)
	case !v.asked:
		return nil, grant.Deny(grant.SessionEnded, "the session is no longer held")
	case v.ends != s.ends:
		return nil, grant.Deny(grant.Stale, "a session ended while this one was looked up")
	}
	return nil, v.session.live(now)
}

// live returns nil for a seat under which something may pass at now.
func (h *seat) live(now time.Time) error {
	if h.past {
		return grant.Deny(h.why, "%s", leftSentence(h.why))
	}
	return h.session.live(now)
}

// live returns nil until the session's end, by the table's own clock. One that was
// taken in before the time was known may turn out to be too long.
func (s *Session) live(now time.Time) error {
	if left := s.Ends.Sub(now); now.IsZero() || left <= 0 || left > MaxSession {
		return grant.Deny(grant.SessionEnded, "the session has ended")
	}
	return nil
}

func leftSentence(why grant.Reason) string {
	if why == grant.Locked {
		return "the account or the person is locked"
	}
	return "the session was ended"
}

// sit takes a session in. The hash of another session is nobody else's.
func (d *draft) sit(s *Session) error {
	life := newLife()
	if old, ok := d.seats.get(s.Hash); ok && old.session.ID != s.ID {
		return fmt.Errorf("session %s has the hash of another", s.ID)
	}
	if old, ok := d.seatOf.get(s.ID); ok {
		d.unseat(old)
		switch {
		case !old.past && reflect.DeepEqual(old.session, s):
			life = old.life
		case !old.past:
			d.removed = append(d.removed, old.life)
		}
	}
	d.place(&seat{session: s, life: life})
	return nil
}

// place puts a seat where none of its id is.
func (d *draft) place(h *seat) {
	d.seats, d.seatOf = d.seats.edit(), d.seatOf.edit()
	d.seats.put(h.session.Hash, h)
	d.seatOf.put(h.session.ID, h)
	if h.past {
		d.left = append(d.left, h)
	} else {
		d.seated++
		d.count(remadeSession(h.session), d.tenthOfSeat(h))
	}
}

// unseat takes h out, as if it had never been.
func (d *draft) unseat(h *seat) {
	d.seats, d.seatOf = d.seats.edit(), d.seatOf.edit()
	d.seats.remove(h.session.Hash)
	d.seatOf.remove(h.session.ID)
	if !h.past {
		d.seated--
		d.discount(remadeSession(h.session), d.tenthOfSeat(h))
	}
}

// leave makes a held session past. One that is not held may be known by a look-up
// that is under way: that is why each end counts.
func (d *draft) leave(text string, why grant.Reason) {
	d.ends++
	var id grant.SessionID
	if id.UnmarshalText([]byte(text)) != nil {
		return
	}
	if old, ok := d.seatOf.get(id); ok && !old.past {
		d.lapse(old, why)
	}
}

func (d *draft) lapse(old *seat, why grant.Reason) {
	d.unseat(old)
	d.recall(old, why)
}

// recall keeps of a session that is no longer in place what a refusal says of it.
func (d *draft) recall(old *seat, why grant.Reason) {
	if why != grant.Locked {
		why = grant.SessionEnded
	}
	d.removed = append(d.removed, old.life)
	s := old.session
	d.place(&seat{session: &Session{ID: s.ID, Hash: s.Hash, App: s.App, Host: s.Host}, life: old.life, past: true, why: why, until: d.keep()})
}

// inheritSeats carries over what happened under sessions of the older state, and
// which were already past. What is missing now has ended.
func (d *draft) inheritSeats(old *state) {
	d.ends = old.ends + 1 // what a snapshot leaves out has ended, known here or not
	old.seatOf.all(func(id grant.SessionID, was *seat) bool {
		now, ok := d.seatOf.get(id)
		switch {
		case was.past && !ok && d.now.Before(was.until):
			d.place(was)
		case !was.past && !ok:
			d.recall(was, grant.SessionEnded)
		case !was.past && reflect.DeepEqual(was.session, now.session):
			now.life = was.life // nobody else has this draft yet
		case !was.past:
			d.removed = append(d.removed, was.life)
		}
		return true
	})
}

// forgetSeats drops past sessions whose time is over, and the oldest of too many.
func (t *Table) forgetSeats(d *draft) {
	n := 0
	for n < len(t.left) && (len(t.left)-n > maxPast || !d.now.Before(t.left[n].until)) {
		if h, ok := d.seatOf.get(t.left[n].session.ID); ok && h == t.left[n] {
			d.unseat(h)
		}
		n++
	}
	t.left = t.left[n:]
}
