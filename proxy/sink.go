package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

var _ feed.Sink = (*Table)(nil)

// Position implements feed.Sink.
func (t *Table) Position() (feed.Position, bool) {
	s := t.state.Load()
	return s.at, s.filled
}

// Describe implements feed.Sink.
func (t *Table) Describe(p *feed.Ping) {
	t.describe(p)
	t.digests(p)
	if t.witness != nil {
		c, note, _ := t.witness.Kept()
		p.CheckpointSize, p.Checkpoint = c.Size, note
		if _, doubt := t.seen(); doubt != nil {
			p.Doubt = doubt.Error()
		}
	}
	if t.proofs == nil {
		return
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	for index := range t.waiting {
		if len(p.Prove) < maxProve {
			p.Prove = append(p.Prove, index)
		}
	}
}

// setBack raises an alarm, once until another snapshot is taken in, that the control
// plane tells a state from before the one that it told already. It gets no Ping, and so
// shows no checkpoint, until it has grown beyond that.
func (t *Table) setBack(at feed.Position) {
	held, known := t.state.Load().at, t.back.Load() != nil
	d := doubtf("the control plane tells a state of revision %d of epoch %d, and has told revision %d of epoch %d before: it was set back, or is behind", at.Revision, at.Epoch, held.Revision, held.Epoch)
	t.back.Store(d)
	if !known {
		t.raise(Alarm{At: t.clock.Now(), Reason: grant.RecordUnavailable, Text: d.Text})
	}
}

// Apply implements feed.Sink.
func (t *Table) Apply(ctx context.Context, m *feed.Delta) (feed.Receipt, []*feed.Nack, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	old := t.state.Load()
	at := feed.Position{Epoch: m.GetEpoch(), Revision: m.GetRevision()}
	if !old.filled || !old.at.Before(at) {
		return feed.Receipt{}, nil, fmt.Errorf("delta %d.%d does not follow %d.%d", at.Epoch, at.Revision, old.at.Epoch, old.at.Revision)
	}
	d := old.edit(t.clock.Now())
	d.at, d.counter = at, &t.counter
	for _, r := range m.GetRemovals() {
		d.remove(r)
	}
	t.spend(m.GetRemovals())
	t.proofs.begin(false)
	told := make([]reading, 0, len(m.GetResources()))
	for _, r := range m.GetResources() {
		told = append(told, read(r, d.counter))
	}
	nacks := t.putAll(d, told)
	nacks = append(nacks, t.clashes(d, told)...)
	r, err := t.install(ctx, d)
	return r, nacks, err
}

// Advance implements feed.Sink.
func (t *Table) Advance(at feed.Position) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	old := t.state.Load()
	if !old.filled || at.Before(old.at) || at.Epoch != old.at.Epoch {
		return fmt.Errorf("no advance from %d.%d to %d.%d", old.at.Epoch, old.at.Revision, at.Epoch, at.Revision)
	}
	d := old.edit(t.clock.Now())
	d.at = at
	t.forget(d)
	t.state.Store(d.share())
	return nil
}

// Extends implements feed.Sink.
func (t *Table) Extends(named []byte, p *feed.Pong) error {
	if t.witness == nil {
		return nil
	}
	doubt, news := t.witness.Extends(named, p.GetCheckpoint(), p.GetConsistency())
	if doubt == nil {
		return nil
	}
	if news {
		t.raise(Alarm{At: t.clock.Now(), Reason: grant.RecordUnavailable, Text: doubt.Text, Kept: doubt.Kept, Shown: doubt.Shown})
	}
	return doubt
}

// Ponged implements feed.Sink: the clock first, so that a fresh lease never goes
// with an old time.
func (t *Table) Ponged(sent time.Duration, p *feed.Pong) error {
	head := feed.Position{Epoch: p.GetEpoch(), Revision: p.GetHead()}
	if at, filled := t.Position(); !filled || at.Before(head) {
		return fmt.Errorf("pong of %d.%d, applied is %d.%d", head.Epoch, head.Revision, at.Epoch, at.Revision)
	}
	known := t.clock.suspected()
	if err := t.clock.Accept(sent, feed.TimeOf(p.GetTimeUs())); err != nil {
		d := grant.Of(err)
		if d.Reason == grant.Stale {
			t.log.Warn("the time is not known yet", "error", d.Sentence)
		} else if !known {
			t.raise(Alarm{At: t.clock.Now(), Reason: d.Reason, Text: d.Sentence})
		}
		return nil // the lease is not renewed
	}
	t.lease.Renew(sent)
	t.sure(sent)
	t.shown(p)
	return nil
}

// putAll takes resources in, and returns the refusals of those that it does not.
func (t *Table) putAll(d *draft, told []reading) []*feed.Nack {
	var nacks []*feed.Nack
	for _, i := range told {
		if len(d.unheld) > 0 {
			d.allow(i.kind(), i.id())
		}
		n, r := i.nack, i.r
		if n == nil {
			n = t.putOne(d, i)
		}
		if n == nil {
			continue
		}
		nacks = append(nacks, n)
		d.withhold(n)
		switch n.GetKind() {
		case feed.KindApp:
			d.dropApp(r.GetId())
			d.dropApp(r.GetApp().GetName())
		case feed.KindGrant:
			d.refuse(r, grant.Reason(n.GetReason()))
		case feed.KindSession:
			d.leave(r.GetId(), grant.SessionEnded)
		case feed.KindKey:
			d.dropSigner(r.GetId())
		}
	}
	return nacks
}

func (t *Table) putOne(d *draft, i reading) *feed.Nack {
	var err error
	r := i.r
	switch i.kind() {
	case feed.KindGrant:
		return t.putGrant(d, i)
	case feed.KindProof:
		return t.learn(d, r)
	case feed.KindSession:
		var s *Session
		if s, err = newSession(r, d.now); err == nil {
			err = d.sit(s)
		}
	case feed.KindKey:
		var k signer
		if k, err = newSigner(r); err == nil {
			err = d.putSigner(k)
		}
	default:
		return t.putApp(d, r)
	}
	if err != nil {
		return feed.Refuse(r, grant.UnsupportedGrant, err.Error())
	}
	return nil
}

func (t *Table) putApp(d *draft, r *feed.Resource) *feed.Nack {
	a, err := newApp(r)
	if err != nil {
		return feed.Refuse(r, grant.UnsupportedGrant, err.Error())
	}
	a.places, a.sidecar = r.GetApp().GetPlaces(), t.sidecar
	a.Here = placeOf(a.places, t.sidecar)
	if err := a.Observe.admit(t.production, d.now); err != nil {
		return feed.Refuse(r, grant.UnsupportedGrant, err.Error())
	}
	if err := t.admit(a); err != nil {
		return feed.Refuse(r, grant.ReasonOf(err), err.Error())
	}
	d.putApp(a)
	return nil
}

func (d *draft) remove(m *feed.Removal) {
	d.allow(m.GetKind(), m.GetId())
	switch m.GetKind() {
	case feed.KindApp:
		d.dropApp(m.GetId())
		return
	case feed.KindSession:
		d.leave(m.GetId(), grant.Reason(m.GetReason()))
		return
	case feed.KindKey:
		d.dropSigner(m.GetId())
		return
	}
	var id grant.GrantID
	if id.UnmarshalText([]byte(m.GetId())) == nil {
		d.end(id, grant.Reason(m.GetReason()), feed.TimeOf(m.GetAtUs()))
	}
}

// inherit carries over what was already past under the older state. What is missing
// now has ended.
func (d *draft) inherit(old *state) {
	old.byID.all(func(id grant.GrantID, was *held) bool {
		if _, ok := d.byID.get(id); ok {
			return true
		}
		switch {
		case !was.past():
			d.put(d.lost(was))
		case d.now.Before(was.fate.until):
			d.put(was)
		}
		return true
	})
}

// lost returns what is kept of a grant that a snapshot no longer has.
func (d *draft) lost(was *held) *held {
	if notAfter := feed.TimeOf(was.notAfter); !d.now.Before(notAfter) {
		return d.ended(was, grant.Ended, notAfter)
	}
	return d.ended(was, grant.Revoked, d.now)
}

// clashes indexes the apps by host, and refuses those that came now with a host
// that another app claims too.
func (t *Table) clashes(d *draft, told []reading) []*feed.Nack {
	if !d.grown {
		return nil
	}
	clash := d.index()
	if len(clash) == 0 {
		return nil
	}
	var nacks []*feed.Nack
	for _, i := range told {
		r := i.r
		if host, ok := clash[r.GetApp().GetName()]; ok {
			n := feed.Refuse(r, grant.UnsupportedGrant, fmt.Sprintf("host %s is claimed by two apps", host))
			nacks = append(nacks, n)
			d.withhold(n)
			d.dropApp(r.GetApp().GetName())
		}
	}
	d.index()
	return nacks
}

// settleWithin is how long a receipt waits for the requests that a change ends. They
// end at once; the receipt of a change does not hang on one that does not.
const settleWithin = time.Second

// install makes d visible, waits until nothing decided under the older state is
// on its way and what was held under it is cut, and then says what had been let
// through under what d removed.
func (t *Table) install(ctx context.Context, d *draft) (feed.Receipt, error) {
	t.past, t.left = append(t.past, d.past...), append(t.left, d.left...)
	t.forget(d)
	t.state.Store(d.share())
	for _, l := range d.removed {
		close(l.gone)
	}
	if err := t.generations.Swap(ctx); err != nil {
		return feed.Receipt{}, err
	}
	var p passing
	var cut uint32
	settling, done := context.WithTimeout(ctx, settleWithin)
	defer done()
	for _, l := range d.removed {
		cut += l.settled(settling)
		p = p.merge(l.noted())
	}
	r := feed.Receipt{At: d.at, LastAllowed: p.last, LastAction: p.action.String(), StreamsCut: cut}
	if p.bound.After(d.now) {
		r.Bounded = p.bound
	}
	return r, nil
}

// forget drops past grants whose time is over, and the oldest of too many.
func (t *Table) forget(d *draft) {
	n := 0
	for n < len(t.past) && (len(t.past)-n > maxPast || !d.now.Before(t.past[n].fate.until)) {
		if h, ok := d.byID.get(t.past[n].id); ok && h == t.past[n] {
			d.drop(h)
		}
		n++
	}
	t.past = t.past[n:]
	t.forgetSeats(d)
}
