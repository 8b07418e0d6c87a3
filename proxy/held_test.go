package proxy

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// What happens to a grant for the first time happens once, however many begin it: or a
// receipt would not tell of all that passed.
func TestP4_TheFirstUsesOfAGrantAreOfOneLife(t *testing.T) {
	for range 200 {
		h, lives := &held{}, make([]*life, 8)
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i := range lives {
			wg.Go(func() {
				<-begin
				lives[i] = h.life()
			})
		}
		close(begin)
		wg.Wait()
		for _, l := range lives {
			if l == nil || l != lives[0] {
				t.Fatal("two lives of one grant")
			}
		}
	}
}

// Whoever holds a request under a grant is told of its end, whatever was told again of
// it meanwhile.
func TestP4_AGrantThatIsToldAgainKeepsItsLife(t *testing.T) {
	for name, again := range map[string]func(m *memory, r *feed.Resource){
		"by a change":   func(m *memory, r *feed.Resource) { m.add(r) },
		"by a snapshot": func(m *memory, r *feed.Resource) { m.swap(stripeApp(), r) },
	} {
		m, id := newMemory(t), newIDs().next()
		r := refunds(id, refunder, time.Hour)
		m.swap(stripeApp(), r)
		m.pong(m.machine.plane())
		before, action := m.state.Load(), grant.NewMinter().NewActionID(noon())
		again(m, r)
		if h, ok := before.byID.get(id); ok { // a look that began before the change
			h.life().pass(m.Now(), action, time.Time{})
		}
		gone := m.Gone(id)
		if receipt := m.revoke(id, grant.Revoked); receipt.LastAction != action.String() {
			t.Errorf("%s: the receipt tells of %q", name, receipt.LastAction)
		}
		select {
		case <-gone:
		default:
			t.Errorf("%s: who holds a request is not told", name)
		}
	}
}

// Decisions and last looks go on while a change is taken in, by what was in force before:
// they see all of it, or nothing.
func TestAChangeIsSeenWholeOrNotAtAll(t *testing.T) {
	m, ids := newMemory(t), newIDs()
	was, gone, other := ids.next(), ids.next(), ids.next()
	looks := func() string {
		_, found := m.find(refunder, 100)
		return fmt.Sprintf("%q %v %v %v %d", found, m.Look(was, m.Now()) == nil, m.Look(gone, m.Now()) == nil, m.Look(other, m.Now()) == nil, m.Status().Grants)
	}
	var during []string
	asked := stripeApp()
	m.Table = m.open(func(*App) error {
		if m.Status().Filled {
			during = append(during, looks())
		}
		return nil
	})
	m.swap(stripeApp(), refunds(was, refunder, time.Hour), refunds(gone, refunder, time.Hour))
	m.pong(m.machine.plane())
	before := looks()
	m.delta(&feed.Delta{Resources: []*feed.Resource{refunds(other, refunder, time.Hour), asked}, Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: gone.String(), Reason: "revoked"}}})
	after := looks()
	m.swap(refunds(was, refunder, 2*time.Hour), asked)
	if want := []string{before, after}; fmt.Sprint(during) != fmt.Sprint(want) || before == after || looks() == after {
		t.Errorf("during the changes %q, want %q", during, want)
	}
}

// A holder of many grants is decided on as one of few: each change keeps the order.
func TestALongListStaysInOrder(t *testing.T) {
	m, ids, all := newMemory(t), newIDs(), []*feed.Resource{stripeApp()}
	for n := range 300 {
		all = append(all, refunds(ids.next(), refunder, time.Duration(1+n*7%23)*time.Minute))
	}
	m.swap(all[:200]...)
	m.add(all[200:]...)
	for n := 1; n < len(all); n += 3 {
		m.delta(&feed.Delta{
			Removals:  []*feed.Removal{{Kind: feed.KindGrant, Id: all[n].GetId(), Reason: "revoked"}},
			Resources: []*feed.Resource{refunds(ids.next(), refunder, time.Duration(1+n%60)*time.Minute)},
		})
	}
	who := holder{"stripe", principal(t, refunder)}
	l, _ := m.state.Load().lists.get(who)
	live := slices.Collect(l.all)
	for n, h := range live {
		if n > 0 && order(live[n-1], h) >= 0 || h.past() {
			t.Fatalf("%d and %d are not in order", n-1, n)
		}
	}
	if past, _ := m.state.Load().pasts.get(who); len(live) != 300 || len(past) != maxPastEach || m.Status().Grants != 300 || m.Status().Past != maxPastEach {
		t.Errorf("%d live and %d past, status %+v", len(live), len(past), m.Status())
	}
	for tenth := range tenths {
		if !m.state.Load().intact(tenth) {
			t.Errorf("tenth %d is not what was told", tenth)
		}
	}
}
