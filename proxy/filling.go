package proxy

import (
	"context"
	"fmt"
	"slices"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// filling is a snapshot on its way into a Table. What a part says is read as it arrives;
// the table learns of it with the swap, and never if the snapshot breaks off.
type filling struct {
	t       *Table
	at      feed.Position
	told    []reading
	counter counter
}

// reading is a resource that was read.
type reading struct {
	r     *feed.Resource // nil of a grant of which nothing else is asked
	grant *held          // of a grant
	one   feed.Digest    // of a grant
	nack  *feed.Nack     // not nil: it is refused, whatever is held
}

// read reads a resource, as far as nothing that is held or told besides matters.
func read(r *feed.Resource, c *counter) reading {
	if n := feed.Unsupported(r, Reader); n != nil {
		return reading{r: r, nack: n}
	}
	if feed.KindOf(r) != feed.KindGrant {
		return reading{r: r}
	}
	g, err := newGrant(r)
	if err != nil {
		return reading{r: r, nack: feed.Refuse(r, grant.UnsupportedGrant, err.Error())}
	}
	h := &held{packed: pack(g)}
	return reading{r: r, grant: h, one: c.grant(h)}
}

func (i reading) kind() string {
	if i.r == nil {
		return feed.KindGrant
	}
	return feed.KindOf(i.r)
}

func (i reading) id() string {
	if i.r == nil {
		return i.grant.id.String()
	}
	return i.r.GetId()
}

// Fill implements feed.Sink.
func (t *Table) Fill(at feed.Position) (feed.Filling, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.follows(at); err != nil {
		return nil, err
	}
	return &filling{t: t, at: at}, nil
}

// follows refuses a snapshot from before what is held, with an alarm.
func (t *Table) follows(at feed.Position) error {
	if held := t.state.Load().at; at.Before(held) {
		t.setBack(at)
		return fmt.Errorf("snapshot at %d.%d is before %d.%d, which is applied", at.Epoch, at.Revision, held.Epoch, held.Revision)
	}
	return nil
}

// Add implements feed.Filling.
func (f *filling) Add(part []*feed.Resource) {
	f.told = slices.Grow(f.told, len(part))
	for _, r := range part {
		i := read(r, &f.counter)
		if i.grant != nil && f.t.proofs == nil {
			i.r = nil // a hundred thousand of them weigh more than what is held
		}
		f.told = append(f.told, i)
	}
}

// Swap implements feed.Filling: the snapshot takes the place of everything held.
func (f *filling) Swap(ctx context.Context) (feed.Receipt, []*feed.Nack, error) {
	t := f.t
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.follows(f.at); err != nil {
		return feed.Receipt{}, nil, err
	}
	old := t.state.Load()
	d := &draft{state: newState(), before: old, now: t.clock.Now(), grown: true, counter: &t.counter}
	d.at, d.filled, d.filling = f.at, true, old.filling+1
	clear(t.waiting)
	t.proofs.begin(true)
	nacks := t.putAll(d, f.told)
	t.settle(f.told)
	d.inherit(old)
	d.inheritSeats(old)
	nacks = append(nacks, t.clashes(d, f.told)...)
	slices.SortFunc(d.past, func(a, b *held) int { return a.fate.until.Compare(b.fate.until) })
	slices.SortFunc(d.left, func(a, b *seat) int { return a.until.Compare(b.until) })
	t.past, t.left = nil, nil
	r, err := t.install(ctx, d)
	t.strayed.Store(false) // all that is held now was told just now
	t.back.Store(nil)
	return r, nacks, err
}
