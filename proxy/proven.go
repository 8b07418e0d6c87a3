package proxy

import (
	"bytes"
	"slices"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// learn takes in what proves a policy; without Proofs nobody here asks.
func (t *Table) learn(d *draft, r *feed.Resource) *feed.Nack {
	if !t.proofs.wants(r.GetProof().GetApp()) {
		return nil
	}
	if err := t.proofs.learn(r, d.at); err != nil {
		return feed.Refuse(r, grant.GrantUnproven, err.Error())
	}
	return nil
}

// putGrant takes a grant in. Where only proven ones count it is checked first, and
// is in force once its leaf was shown in a checkpoint.
func (t *Table) putGrant(d *draft, i reading) *feed.Nack {
	h := i.grant
	if t.proofs.wants(h.app()) {
		told := i.r.GetGrant()
		if err := t.proofs.judge(d, h.open(), told); err != nil {
			return feed.Refuse(i.r, grant.GrantUnproven, err.Error())
		}
		recorded := told.GetRecorded()
		h.fate = &fate{waits: &pendingLeaf{index: recorded.GetIndex(), leaf: recorded.GetLeaf()}}
		t.waiting[recorded.GetIndex()] = h.id
	}
	t.question(d, h)
	d.putCounted(h, i.one)
	return nil
}

// shown puts grants in force whose leaf a Pong shows in its checkpoint.
func (t *Table) shown(p *feed.Pong) {
	if t.proofs == nil {
		return
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	c, note, _ := t.witness.Kept()
	if !bytes.Equal(note, p.GetCheckpoint()) {
		return // not proven to continue what is kept: the leaves are asked for again
	}
	d := t.state.Load().edit(t.clock.Now())
	for _, l := range p.GetLeaves() {
		h, ok := d.byID.get(t.waiting[l.GetIndex()])
		delete(t.waiting, l.GetIndex())
		if !ok || h.waits() == nil || h.waits().index != l.GetIndex() {
			continue
		}
		if err := h.waits().shown(c, l.GetPath()); err != nil {
			t.raise(Alarm{At: d.now, Reason: grant.GrantUnproven, Text: "grant " + h.id.String() + ": " + err.Error()})
			continue
		}
		d.put(&held{packed: h.packed})
	}
	t.state.Store(d.share())
}

// spend notes that grants have ended: on an app where proofs count, they never come
// back, whatever the database says later.
func (t *Table) spend(removals []*feed.Removal) {
	if t.proofs == nil || len(removals) == 0 {
		return
	}
	t.spent(func(o offerUse) bool {
		return slices.ContainsFunc(removals, func(r *feed.Removal) bool { return r.GetKind() == feed.KindGrant && r.GetId() == o.Grant })
	})
}

// settle is spend for a snapshot: what it does not have of an app that it has, ended.
func (t *Table) settle(told []reading) {
	if t.proofs == nil {
		return
	}
	there := map[string]bool{}
	for _, i := range told {
		there[i.kind()+" "+i.id()] = true
	}
	t.spent(func(o offerUse) bool { return there[feed.KindApp+" "+o.App] && !there[feed.KindGrant+" "+o.Grant] })
}

func (t *Table) spent(gone func(offerUse) bool) {
	if err := t.proofs.book.spend(gone); err != nil {
		t.raise(Alarm{At: t.clock.Now(), Reason: grant.GrantUnproven, Text: err.Error()})
	}
}
