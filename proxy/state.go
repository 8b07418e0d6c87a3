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
	lists   *shards[holder, []*held]
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
		apps: map[string]*App{}, hosts: map[string]*App{}, byID: newShards[grant.GrantID, *held](), lists: newShards[holder, []*held](),
		seats: newShards[[32]byte, *seat](), seatOf: newShards[grant.SessionID, *seat](), signers: newSigners(),
		tallies: map[string]*tally{},
	}
}

// draft is a state in the making.
type draft struct {
	*state
	now      time.Time
	fresh    bool // nobody else has this state's shards: they may be changed
	grown    bool // the apps are a copy
	removed  []*life
	past     []*held           // newly so, oldest first
	left     []*seat           // likewise
	counted  map[string]*tally // those that are the draft's own
	denied   bool              // unheld is a copy
	doubting bool              // unsure is a copy
}

// edit returns a draft of what follows s.
func (s *state) edit(now time.Time) *draft {
	next := *s
	return &draft{state: &next, now: now}
}

func (d *draft) put(h *held) {
	if old, ok := d.byID.get(h.grant.ID); ok {
		d.drop(old)
		if !old.past && (h.past || !same(old.grant, h.grant)) {
			d.removed = append(d.removed, old.life)
		} else if !old.past {
			h.life = old.life
			if old.waits == nil { // its leaf was shown before
				h.waits = nil
			}
		}
	}
	list, _ := d.lists.get(h.holder())
	list = put(list, h)
	if d.fresh {
		d.byID.put(h.grant.ID, h)
		d.lists.put(h.holder(), list)
	} else {
		d.byID = d.byID.with(h.grant.ID, h)
		d.lists = d.lists.with(h.holder(), list)
	}
	if h.past {
		d.past = append(d.past, h)
		d.bound(list)
	} else {
		d.live++
		d.count(remadeGrant(h.grant), d.tenthOfGrant(h))
	}
}

// drop takes h out, as if it had never been.
func (d *draft) drop(h *held) {
	list, _ := d.lists.get(h.holder())
	if list = drop(list, h.grant.ID); len(list) == 0 {
		d.lists = d.lists.without(h.holder())
	} else {
		d.lists = d.lists.with(h.holder(), list)
	}
	d.byID = d.byID.without(h.grant.ID)
	if !h.past {
		d.live--
		d.discount(remadeGrant(h.grant), d.tenthOfGrant(h))
	}
}

// bound forgets the oldest past grant of a list that has too many.
func (d *draft) bound(list []*held) {
	var oldest *held
	n := 0
	for _, h := range list {
		if h.past {
			n++
			if oldest == nil || h.until.Before(oldest.until) {
				oldest = h
			}
		}
	}
	if n > maxPastEach {
		d.drop(oldest)
	}
}

// end makes a held grant past.
func (d *draft) end(id grant.GrantID, why grant.Reason, at time.Time) {
	old, ok := d.byID.get(id)
	if !ok || old.past {
		return
	}
	if at.IsZero() {
		at = d.now
	}
	d.put(&held{grant: ended(old.grant, why, at), life: old.life, past: true, until: d.keep()})
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
	g.Revoked, g.EndedEarly = d.now, why
	d.put(&held{grant: g, life: newLife(), past: true, refused: why, until: d.keep()})
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
