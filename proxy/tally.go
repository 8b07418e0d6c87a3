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

// counter makes digests of what is held, in memory that it uses again: a table makes
// those of a tenth of its grants each second. It is one goroutine's.
type counter struct {
	digester feed.Digester
	remaker  remaker
	opener   opener
}

func (c *counter) grant(h *held) feed.Digest {
	one, _ := c.digester.Of(c.remaker.grant(h.marked(c.opener.open(&h.packed))))
	return one
}

func (d *draft) counting() *counter {
	if d.counter == nil {
		d.counter = &counter{}
	}
	return d.counter
}

// countGrant adds the digest of a grant to the tally of its app, or takes it out again.
func (d *draft) countGrant(h *held, one feed.Digest, add func(sum, one feed.Digest) feed.Digest) {
	t, tenth := d.tally(h.app()), d.tenthOfGrant(h)
	t[tenth] = add(t[tenth], one)
}

// count adds another resource to the tally of its app.
func (d *draft) count(r *feed.Resource, tenth int) {
	t := d.tally(feed.CountsFor(r))
	one, _ := d.counting().digester.Of(r)
	t[tenth] = t[tenth].Plus(one)
}

// discount takes it out again. One that has changed since it was counted leaves the
// tally wrong, which is the point.
func (d *draft) discount(r *feed.Resource, tenth int) {
	t := d.tally(feed.CountsFor(r))
	one, _ := d.counting().digester.Of(r)
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

func (s *state) tenthOfGrant(h *held) int { return s.byID.part(h.id) % tenths }

func (s *state) tenthOfSeat(h *seat) int { return s.seatOf.part(h.session.ID) % tenths }

// recount makes one tenth of the tallies again, from what is held. A grant counts as
// what both a decision and a last look read, which find it in different places.
func (s *state) recount(tenth int) map[string]feed.Digest {
	out := map[string]feed.Digest{}
	var c counter
	add := func(r *feed.Resource) {
		one, _ := c.digester.Of(r)
		out[feed.CountsFor(r)] = out[feed.CountsFor(r)].Plus(one)
	}
	for n := tenth; n < shardCount; n += tenths {
		for id, h := range s.byID.at(n) {
			if !h.past() && h.id == id && s.listed(h) {
				out[h.app()] = out[h.app()].Plus(c.grant(h))
			}
		}
		for _, h := range s.seatOf.at(n) {
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

// listed reports whether h is in the list of its holder, where decisions find it.
func (s *state) listed(h *held) bool {
	l, _ := s.lists.get(h.holder())
	part, at, found := l.seek(h)
	return found && l[part][at] == h
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
