package proxy

import (
	"slices"
	"sort"
)

// A list is what one holder holds, the grant that is chosen first in front, and what is
// past behind. It is never changed once it is in the table.

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

// of returns what becomes of a list. What stays is copied without a look at it.
func (e *relisting) of(list []*held) []*held {
	slices.SortFunc(e.put, order)
	slices.SortFunc(e.gone, order)
	out, put, gone := make([]*held, 0, len(list)+len(e.put)), e.put, e.gone
	for len(put) > 0 || len(gone) > 0 {
		if len(put) == 0 || len(gone) > 0 && order(gone[0], put[0]) <= 0 {
			at, found := slices.BinarySearchFunc(list, gone[0], order)
			out, list, gone = append(out, list[:at]...), list[at:], gone[1:]
			if found {
				list = list[1:]
			}
			continue
		}
		at, _ := slices.BinarySearchFunc(list, put[0], order)
		out, list, put = append(append(out, list[:at]...), put[0]), list[at:], put[1:]
	}
	return append(out, list...)
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
	first := sort.Search(len(list), func(i int) bool { return list[i].past() })
	past := list[first:]
	if len(past) <= maxPastEach {
		return list
	}
	oldest := slices.Clone(past)
	slices.SortStableFunc(oldest, func(a, b *held) int { return a.fate.until.Compare(b.fate.until) })
	over := oldest[:len(oldest)-maxPastEach]
	for _, h := range over {
		d.discard(h)
	}
	past = slices.DeleteFunc(past, func(h *held) bool { return slices.Contains(over, h) })
	return list[:first+len(past)]
}
