package proxy

import "slices"

// A list is what one holder holds, the grant that is chosen first in front. It is
// never changed once it is in the table.

// relisting is how one list changes with a draft.
type relisting struct{ put, gone []*held }

// list returns the change of h's list.
func (d *draft) list(h *held) *relisting {
	k := h.holder()
	e, ok := d.relisted[k]
	if !ok {
		if d.relisted == nil {
			d.relisted = map[holder]*relisting{}
		}
		e = &relisting{}
		d.relisted[k] = e
	}
	return e
}

func (e *relisting) add(h *held) { e.put = append(e.put, h) }

func (e *relisting) remove(h *held) {
	if i := slices.Index(e.put, h); i >= 0 {
		e.put = slices.Delete(e.put, i, i+1)
	} else {
		e.gone = append(e.gone, h)
	}
}

// of returns what becomes of a list.
func (e *relisting) of(list []*held) []*held {
	slices.SortFunc(e.put, order)
	slices.SortFunc(e.gone, order)
	out, put, gone := make([]*held, 0, len(list)+len(e.put)-len(e.gone)), e.put, e.gone
	for _, h := range list {
		if len(gone) > 0 && gone[0] == h {
			gone = gone[1:]
			continue
		}
		for len(put) > 0 && order(put[0], h) < 0 {
			out, put = append(out, put[0]), put[1:]
		}
		out = append(out, h)
	}
	return append(out, put...)
}

// relist makes the lists that changed anew, once each, whatever their length.
func (d *draft) relist() {
	if len(d.relisted) == 0 {
		return
	}
	d.lists = d.lists.edit()
	for k, e := range d.relisted {
		old, _ := d.lists.get(k)
		if list := d.bound(e.of(old)); len(list) > 0 {
			d.lists.put(k, list)
		} else {
			d.lists.remove(k)
		}
	}
	d.relisted = nil
}

// bound forgets the oldest past grants of a list that has too many.
func (d *draft) bound(list []*held) []*held {
	var past []*held
	for _, h := range list {
		if h.past() {
			past = append(past, h)
		}
	}
	if len(past) <= maxPastEach {
		return list
	}
	slices.SortStableFunc(past, func(a, b *held) int { return a.fate.until.Compare(b.fate.until) })
	over := past[:len(past)-maxPastEach]
	for _, h := range over {
		d.discard(h)
	}
	return slices.DeleteFunc(list, func(h *held) bool { return slices.Contains(over, h) })
}
