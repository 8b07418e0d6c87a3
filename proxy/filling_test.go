package proxy

import (
	"reflect"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// A snapshot that breaks off, whatever was in it, leaves no trace: what was held
// decides, its digests are told, and changes go on from there.
func TestP2_ASnapshotThatBreaksOffLeavesNoTrace(t *testing.T) {
	m, id := granted(t)
	told := func() (p feed.Ping) { m.Describe(&p); return }
	before, digests, at := m.Status(), told().Digests, m.at
	at.Revision++
	f, err := m.Fill(at)
	if err != nil {
		t.Fatal(err)
	}
	strange := refunds(id, refunder, time.Hour)
	strange.MinReader = Reader + 1
	f.Add([]*feed.Resource{stripeApp(), strange, refunds(newIDs().next(), other, time.Hour)})
	if after := m.Status(); after != before || !reflect.DeepEqual(told().Digests, digests) {
		t.Errorf("%+v, and before the snapshot %+v", after, before)
	}
	if r := m.reason(); r != "" {
		t.Errorf("what is held is refused: %s", r)
	}
	if _, r := m.find(other, 100); r != grant.NoGrant {
		t.Errorf("what the snapshot began to tell decides: %q", r)
	}
	second := newIDs().next()
	m.add(refunds(second, other, time.Hour))
	m.pong(m.machine.plane())
	if _, r := m.find(other, 100); r != "" || m.reason() != "" {
		t.Errorf("%q, %q: a change after it", r, m.reason())
	}
	if _, _, err := f.Swap(t.Context()); err == nil {
		t.Error("a snapshot was taken in that is older than what is held")
	}
	if at.Revision = m.at.Revision - 1; m.reason() != "" {
		t.Errorf("it left a trace: %q", m.reason())
	}
	if _, err := m.Fill(at); err == nil {
		t.Error("a snapshot that is older than what is held was begun")
	}
}

// A snapshot says the same in one part and in many.
func TestASnapshotOfManyPartsIsHeldAsOneOfOne(t *testing.T) {
	ids, all := newIDs(), []*feed.Resource{stripeApp()}
	for range 20 {
		all = append(all, refunds(ids.next(), refunder, time.Hour))
	}
	one, many := newMemory(t), newMemory(t)
	one.swap(all...)
	f, err := many.Fill(one.at)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		f.Add([]*feed.Resource{r})
	}
	r, nacks, err := f.Swap(t.Context())
	if err != nil || len(nacks) > 0 || r.At != one.at {
		t.Fatal(r, nacks, err)
	}
	var p, q feed.Ping
	one.Describe(&p)
	many.Describe(&q)
	if !reflect.DeepEqual(p.Digests, q.Digests) || many.Status().Grants != 20 {
		t.Errorf("%d grants, digests %x and %x", many.Status().Grants, p.Digests, q.Digests)
	}
	many.at = one.at
	many.pong(many.machine.plane())
	if r := many.reason(); r != "" {
		t.Errorf("a live grant is refused: %s", r)
	}
}
