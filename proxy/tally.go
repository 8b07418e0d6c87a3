package proxy

import (
	"hash/fnv"
	"maps"

	"github.com/mayflyproxy/mayfly/feed"
)

// tenths are the parts in which a table looks at itself, one each second.
const tenths = 10

// tally is the digest of what is held of one app, by tenth. It is never changed once
// it is in the table. What is looked at in one second is what stands in one tenth.
type tally [tenths]feed.Digest

func (t *tally) sum() (out feed.Digest) {
	if t == nil {
		return out
	}
	for _, d := range t {
		out = out.Plus(d)
	}
	return out
}

// count adds a resource to the tally of its app.
func (d *draft) count(r *feed.Resource, tenth int) {
	t := d.tally(feed.CountsFor(r))
	one, _ := feed.DigestOf(r)
	t[tenth] = t[tenth].Plus(one)
}

// discount takes it out again. One that has changed since it was counted leaves the
// tally wrong, which is the point.
func (d *draft) discount(r *feed.Resource, tenth int) {
	t := d.tally(feed.CountsFor(r))
	one, _ := feed.DigestOf(r)
	t[tenth] = t[tenth].Minus(one)
}

// tally returns the draft's own tally of an app.
func (d *draft) tally(app string) *tally {
	if t, ok := d.counted[app]; ok {
		return t
	}
	if d.counted == nil {
		d.counted, d.tallies = map[string]*tally{}, maps.Clone(d.tallies)
	}
	t := &tally{}
	if old := d.tallies[app]; old != nil {
		*t = *old
	}
	d.counted[app], d.tallies[app] = t, t
	return t
}

// tenthOf says in which tenth stands what is not kept in shards.
func tenthOf(id string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int(h.Sum32() % tenths)
}

func (s *state) tenthOfGrant(h *held) int { return s.byID.part(h.grant.ID) % tenths }

func (s *state) tenthOfSeat(h *seat) int { return s.seatOf.part(h.session.ID) % tenths }

// recount makes one tenth of the tallies again, from what is held.
func (s *state) recount(tenth int) map[string]feed.Digest {
	out := map[string]feed.Digest{}
	add := func(r *feed.Resource) {
		one, _ := feed.DigestOf(r)
		out[feed.CountsFor(r)] = out[feed.CountsFor(r)].Plus(one)
	}
	for n := tenth; n < shardCount; n += tenths {
		for _, h := range s.byID.parts[n] {
			if !h.past {
				add(remadeGrant(h.grant))
			}
		}
		for _, h := range s.seatOf.parts[n] {
			if !h.past {
				add(remadeSession(h.session))
			}
		}
	}
	for name, a := range s.apps {
		if tenthOf(name) == tenth {
			add(remadeApp(a))
		}
	}
	for kid, k := range s.signers.keys {
		if tenthOf(kid) == tenth {
			add(remadeKey(k))
		}
	}
	return out
}

// intact reports whether one tenth still is what was taken in.
func (s *state) intact(tenth int) bool {
	now := s.recount(tenth)
	for app, t := range s.tallies {
		if now[app] != t[tenth] {
			return false
		}
		delete(now, app)
	}
	for _, d := range now { // of apps that were never counted
		if d != (feed.Digest{}) {
			return false
		}
	}
	return true
}
