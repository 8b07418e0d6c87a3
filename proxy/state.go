package proxy

import (
	"maps"
	"math"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	keepPast    = 24 * time.Hour
	maxPast     = 8192
	maxPastEach = 16 // of one principal on one app
)

// state is all that the feed told, at one position. It is never changed once it
// is in the table; a draft makes the next one.
type state struct {
	at      feed.Position
	filled  bool   // a complete snapshot is in
	filling uint64 // how many snapshots went before
	apps    map[string]*App
	hosts   map[string]*App
	byID    *shards[grant.GrantID, *held]
	lists   *shards[holder, list]
	pasts   *shards[holder, []*held] // what is past, the one that is forgotten first in front
	live    int
	unsure  map[grant.GrantID]time.Duration // since when told and not in force before a Pong: see question

	seats  *shards[[32]byte, *seat] // by hash
	seatOf *shards[grant.SessionID, *seat]
	seated int    // not past
	ends   uint64 // grows with each end of a session, held here or not

	signers *signers

	tallies map[string]*tally // by app
	unheld  map[unheld]bool   // told and refused
}

func newState() *state {
	return &state{
		apps: map[string]*App{}, hosts: map[string]*App{}, byID: newShards[grant.GrantID, *held](), lists: newShards[holder, list](), pasts: newShards[holder, []*held](),
		seats: newShards[[32]byte, *seat](), seatOf: newShards[grant.SessionID, *seat](), signers: newSigners(),
		tallies: map[string]*tally{},
	}
}

// draft is a state in the making.
type draft struct {
	*state
	now      time.Time
	before   *state // of a snapshot: what it takes the place of; nil of a change
	grown    bool   // the apps are a copy
	removed  []*life
	past     []*held           // newly so, oldest first
	left     []*seat           // likewise
	counted  map[string]*tally // those that are the draft's own
	counter  *counter          // made at first use; a table lends its own
	relisted map[holder]*relisting
	denied   bool // unheld is a copy
	doubting bool // unsure is a copy
	aged     bool // the lease was asked for its age: see ageIn
	heard    bool
	age      time.Duration
}

// edit returns a draft of what follows s.
func (s *state) edit(now time.Time) *draft {
	next := *s
	return &draft{state: &next, now: now}
}

// share ends the draft: the state is for everybody from now on.
func (d *draft) share() *state {
	d.relist()
	d.byID.share()
	d.lists.share()
	d.pasts.share()
	d.seats.share()
	d.seatOf.share()
	return d.state
}

// grant returns what is held under an id. A nil state holds nothing.
func (s *state) grant(id grant.GrantID) (*held, bool) {
	if s == nil {
		return nil, false
	}
	return s.byID.get(id)
}

// put takes h in.
func (d *draft) put(h *held) {
	var one feed.Digest
	if !h.past() {
		one = d.counting().grant(h)
	}
	d.putCounted(h, one)
}

// putCounted is put of what has that digest: what is past has none.
func (d *draft) putCounted(h *held, one feed.Digest) {
	old, replaces := d.byID.get(h.id)
	switch was, ok := d.before.grant(h.id); {
	case replaces:
		if h = d.follow(old, h); h == old {
			return
		}
		d.drop(old)
	case ok:
		h = d.follow(was, h)
	}
	d.byID = d.byID.edit()
	d.byID.put(h.id, h)
	d.list(h).add(h)
	if h.past() {
		d.past = append(d.past, h)
	} else {
		d.live++
		d.countGrant(h, one, feed.Digest.Plus)
	}
}

// follow returns what is held from now on where old is: h, or old itself if that says
// the same, with all that happens to it.
func (d *draft) follow(old, h *held) *held {
	switch {
	case old.past():
		return h
	case h.past() || old.packed != h.packed:
		d.removed = append(d.removed, old.life())
		return h
	case old.waits() == nil: // its leaf was shown before
		return old
	default:
		h.lived.Store(old.life())
		return h
	}
}

// drop takes h out, as if it had never been.
func (d *draft) drop(h *held) {
	d.list(h).remove(h)
	d.discard(h)
}

// discard is drop for what is in no list any more.
func (d *draft) discard(h *held) {
	d.byID = d.byID.edit()
	d.byID.remove(h.id)
	if !h.past() {
		d.live--
		d.countGrant(h, d.counting().grant(h), feed.Digest.Minus)
	}
}

// end makes a held grant past.
func (d *draft) end(id grant.GrantID, why grant.Reason, at time.Time) {
	old, ok := d.byID.get(id)
	if !ok || old.past() {
		return
	}
	if at.IsZero() {
		at = d.now
	}
	d.put(d.ended(old, why, at))
}

// ended returns what is kept of a grant that is held no more.
func (d *draft) ended(old *held, why grant.Reason, at time.Time) *held {
	h := newPast(old.packed, why, at, d.keep())
	h.lived.Store(old.life())
	return h
}

// refuse remembers that a grant came that could not be held, and ends an older
// one under its id.
func (d *draft) refuse(r *feed.Resource, why grant.Reason) {
	g, err := holderOf(r)
	if err != nil {
		var id grant.GrantID
		if id.UnmarshalText([]byte(r.GetId())) == nil {
			d.end(id, why, d.now)
		}
		return
	}
	h := newPast(pack(g), why, d.now, d.keep())
	h.fate.refused = why
	d.put(h)
}

// own makes the maps of apps the draft's own.
func (d *draft) own() {
	if !d.grown {
		d.apps, d.grown = maps.Clone(d.apps), true
	}
}

func (d *draft) putApp(a *App) {
	d.dropApp(a.Name)
	d.apps[a.Name] = a
	d.count(remadeApp(a), tenthOf(a.Name))
}

func (d *draft) dropApp(name string) {
	d.own()
	if old, ok := d.apps[name]; ok {
		d.discount(remadeApp(old), tenthOf(name))
		delete(d.apps, name)
	}
}

// keep returns until when what is past now is remembered. Before the time is
// known, only the bounds on their number make it forgotten.
func (d *draft) keep() time.Time {
	if d.now.IsZero() {
		return time.Unix(0, math.MaxInt64)
	}
	return d.now.Add(keepPast)
}

// index makes the hosts from the apps. It returns, for each app with a host that
// another claims too, that host.
func (d *draft) index() map[string]string {
	clash := map[string]string{}
	d.hosts = map[string]*App{}
	for _, a := range d.apps {
		for _, h := range a.Hosts {
			if other, taken := d.hosts[h]; taken && other != a {
				clash[a.Name], clash[other.Name] = h, h
			}
			d.hosts[h] = a
		}
	}
	return clash
}
