package proxy

import (
	"slices"
	"sort"
)

// partSize is how many grants stand in one part of a list at most.
const partSize = 64

// list is what one holder holds in force, the grant that is chosen first in front: see
// order. It stands in parts, none of them empty, so that a change copies one part
// whatever the length, and is never changed once it is in the table.
type list [][]*held

// all gives each grant, in order.
func (l list) all(yield func(*held) bool) {
	for _, part := range l {
		for _, h := range part {
			if !yield(h) {
				return
			}
		}
	}
}

// seek returns where h stands, or would stand.
func (l list) seek(h *held) (part, at int, found bool) {
	part = sort.Search(len(l), func(i int) bool { return order(l[i][len(l[i])-1], h) >= 0 })
	if part == len(l) {
		return part, 0, false
	}
	at, found = slices.BinarySearchFunc(l[part], h, order)
	return part, at, found
}

// with returns the list with h in it. l is the caller's own, its parts are not.
func (l list) with(h *held) list {
	part, at, _ := l.seek(h)
	switch last := len(l) - 1; {
	case part <= last:
	case last < 0 || len(l[last]) == partSize:
		return append(l, []*held{h})
	default:
		part, at = last, len(l[last])
	}
	p := slices.Concat(l[part][:at], []*held{h}, l[part][at:])
	if l[part] = p; len(p) > partSize {
		l[part] = p[: len(p)/2 : len(p)/2]
		l = slices.Insert(l, part+1, p[len(p)/2:])
	}
	return l
}

// without returns the list without h. l is the caller's own, its parts are not.
func (l list) without(h *held) list {
	part, at, found := l.seek(h)
	switch {
	case !found || l[part][at] != h:
	case len(l[part]) == 1:
		l = slices.Delete(l, part, part+1)
	default:
		l[part] = slices.Concat(l[part][:at], l[part][at+1:])
	}
	return l
}

// relisting is how what one holder holds changes with a draft.
type relisting struct{ live, past changes }

type changes struct{ put, gone []*held }

// list returns the change of h's list: of what is in force or of what is past.
func (d *draft) list(h *held) *changes {
	k := h.holder()
	e, ok := d.relisted[k]
	if !ok {
		if d.relisted == nil {
			d.relisted = map[holder]*relisting{}
		}
		e = &relisting{}
		d.relisted[k] = e
	}
	if h.past() {
		return &e.past
	}
	return &e.live
}

func (c *changes) add(h *held) { c.put = append(c.put, h) }

func (c *changes) remove(h *held) {
	if i := slices.Index(c.put, h); i >= 0 {
		c.put = slices.Delete(c.put, i, i+1)
	} else {
		c.gone = append(c.gone, h)
	}
}

func (c *changes) none() bool { return len(c.put)+len(c.gone) == 0 }

// of returns what becomes of a list.
func (c *changes) of(l list) list {
	if len(l) == 0 {
		slices.SortFunc(c.put, order)
		var out list
		for part := range slices.Chunk(c.put, partSize) {
			out = append(out, slices.Clone(part)) // one array would keep all of them for one
		}
		return out
	}
	out := slices.Clone(l)
	for _, h := range c.gone {
		out = out.without(h)
	}
	for _, h := range c.put {
		out = out.with(h)
	}
	return out
}

// pastOf returns what becomes of the past grants of a holder, the one that is forgotten
// first in front.
func (c *changes) pastOf(past []*held) []*held {
	out := make([]*held, 0, len(past)+len(c.put))
	for _, h := range past {
		if !slices.Contains(c.gone, h) {
			out = append(out, h)
		}
	}
	for _, h := range c.put {
		at, _ := slices.BinarySearchFunc(out, h, forgotten)
		out = slices.Insert(out, at, h)
	}
	return out
}

// relist makes the lists that changed anew, once each.
func (d *draft) relist() {
	if len(d.relisted) == 0 {
		return
	}
	d.lists, d.pasts = d.lists.edit(), d.pasts.edit()
	for k, e := range d.relisted {
		if !e.live.none() {
			old, _ := d.lists.get(k)
			replace(d.lists, k, e.live.of(old))
		}
		if !e.past.none() {
			old, _ := d.pasts.get(k)
			replace(d.pasts, k, d.bound(e.past.pastOf(old)))
		}
	}
	d.relisted = nil
}

func replace[T any, L ~[]T](in *shards[holder, L], k holder, l L) {
	if len(l) > 0 {
		in.put(k, l)
	} else {
		in.remove(k)
	}
}

// bound forgets the oldest of too many past grants.
func (d *draft) bound(past []*held) []*held {
	over := max(0, len(past)-maxPastEach)
	for _, h := range past[:over] {
		d.discard(h)
	}
	return slices.Clone(past[over:])
}
