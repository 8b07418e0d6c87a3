package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/store/sqlite"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

// world is two mayflyd, two gateways, and what the model knows of them.
type world struct {
	t      *testing.T
	dir    string
	began  time.Time
	booted []time.Duration // when the machine of mayflyd was started
	wall   atomic.Int64    // how wrong the wall clock of mayflyd is, in nanoseconds
	signer recordKey
	db     *sqlite.Store
	planes []*plane
	nodes  []*node

	asks   []*asked
	grants []*known
	lost   time.Duration         // that mayflyd's clock lost as its machine was started again
	failed atomic.Pointer[error] // a verb that had to be refused was not
	total  *counts
}

// counts are what a run did.
type counts struct {
	histories, steps, grants, ended, allowed, denied int
}

func (w *world) count(allowed bool) {
	if allowed {
		w.total.allowed++
	} else {
		w.total.denied++
	}
}

func (w *world) elapsed() time.Duration { return time.Since(w.began) }

// live runs a history in a bubble of its own. The error is what the model forbids.
func live(t *testing.T, db []byte, signer recordKey, dir string, history []step, total *counts) (err error) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, began: time.Now(), booted: []time.Duration{0}, signer: signer, total: total}
		if err := os.WriteFile(filepath.Join(dir, "mayfly.db"), db, 0o600); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.planes = []*plane{w.start(), w.start()}
		w.nodes = append(w.nodes, w.newNode(0))
		w.nodes = append(w.nodes, w.newNode(1))
		w.connect()
		defer w.close()
		err = w.run(history)
	})
	return err
}

func (w *world) open() {
	booted := w.booted[len(w.booted)-1]
	db, err := sqlite.Open(context.Background(), sqlite.Config{
		Path: filepath.Join(w.dir, "mayfly.db"), Alarm: func(string) {},
		BootNow: func() time.Duration { return w.elapsed() - booted }, BootID: fmt.Sprint("boot ", len(w.booted)),
		Now: func() time.Time { return noon.Add(w.elapsed() + time.Duration(w.wall.Load())) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
}

func (w *world) connect() {
	for _, n := range w.nodes {
		n.link.lead(w.planes[n.at].server)
	}
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.link.lead(nil)
		n.stop()
	}
	for _, p := range w.planes {
		p.stop()
	}
	for _, n := range w.nodes {
		n.link.wg.Wait()
	}
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) run(history []step) error {
	w.total.histories++
	defer func() {
		w.total.grants += len(w.grants)
		for _, k := range w.grants {
			if !k.ended.IsZero() {
				w.total.ended++
			}
		}
	}()
	w.settle(300 * time.Millisecond)
	for i, s := range history {
		w.total.steps++
		w.do(s)
		synctest.Wait()
		err := w.learn()
		if err == nil {
			err = errors.Join(w.broken(), w.check())
		}
		if err != nil {
			return fmt.Errorf("after step %d (%s): %w", i+1, s, err)
		}
	}
	return w.calm()
}

func (w *world) broken() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *world) settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// calm ends every fault: then each instance permits what is granted and nothing
// else, or all of the above would be shown by a gateway that denies everything.
func (w *world) calm() error {
	for _, p := range w.planes {
		p.next = nil
		p.store.Heal()
		p.store.catchUp()
	}
	for _, n := range w.nodes {
		n.link.heal()
	}
	w.settle(2500 * time.Millisecond)
	reset := false
	for _, n := range w.nodes { // an operator's decision
		if grant.ReasonOf(n.clock.Trusted()) == grant.Clock {
			if err := n.table.ResetClock(); err != nil {
				return err
			}
			n.ahead.Store(0)
			reset = true
		}
	}
	if reset {
		w.settle(1500 * time.Millisecond)
	}
	if err := errors.Join(w.learn(), w.broken(), w.check()); err != nil {
		return fmt.Errorf("in the calm after: %w", err)
	}
	now := w.planeNow()
	for i, n := range w.nodes {
		for _, k := range w.grants {
			_, allowed := n.try(parse(k.by.principal), refund(k.charge, most), k.id)
			switch live := k.ended.IsZero() && now.Add(n.mayLead()+w.lost).Before(k.notAfter); {
			case live && !allowed:
				_, err := n.table.Find(parse(k.by.principal), refund(k.charge, most), n.table.Now(), k.id)
				return fmt.Errorf("in the calm after, instance %d refuses the live grant %s: %w", i, k.id, err)
			case allowed && !k.ended.IsZero():
				return fmt.Errorf("P4: in the calm after, instance %d permits %s, ended %s ago", i, k.id, time.Since(k.ended))
			}
		}
	}
	return nil
}

func (w *world) planeNow() (now time.Time) {
	w.read(func(_ context.Context, tx access.Tx) error { now = tx.Now(); return nil })
	return now
}

func (w *world) read(f func(context.Context, access.Tx) error) {
	w.t.Helper()
	if err := w.readErr(f); err != nil {
		w.t.Error(err)
	}
}

func (w *world) readErr(f func(context.Context, access.Tx) error) error {
	return w.db.View(context.Background(), func(tx access.Tx) error { return f(context.Background(), tx) })
}

// do carries one step out. A step about what is not there does nothing.
func (w *world) do(s step) {
	p, n := w.planes[s.Who%len(w.planes)], w.nodes[s.Who%len(w.nodes)]
	switch s.Do {
	case ask:
		w.ask(p, s)
	case approve:
		w.approve(s)
	case revoke, finish:
		w.end(s)
	case pass:
		w.settle(s.By)
	case passToEnd:
		w.passToEnd(s)
	case crashNode:
		n.link.lead(nil)
		n.stop()
		w.boot(n)
		n.link.lead(w.planes[n.at].server)
	case crashReplica:
		w.crash(s.Who % len(w.planes))
	case crashAll:
		w.crashAll(func() {})
	case reboot:
		w.reboot()
	case cut:
		n.link.sever()
	case hold:
		n.link.hold(s.What != 0, s.What != 1)
	case heal:
		n.link.heal()
	case double:
		q := n.link.newest()
		q.do(func() { q.doubles++ })
	case swap:
		q := n.link.newest()
		q.do(func() { q.aside = true })
		n.apart = true
	case move:
		n.at = 1 - n.at
		n.link.lead(w.planes[n.at].server)
	case jump:
		w.wall.Add(int64(s.By))
	case wait:
		p.next = &storetest.Fault{Calls: storetest.Updates, At: storetest.Before, Times: 1}
	case keep:
		p.next = &storetest.Fault{Calls: storetest.Updates, At: storetest.Within, Times: 1}
	case lose:
		p.next = &storetest.Fault{Calls: storetest.Updates, At: storetest.After, Err: errLost, Times: 1}
	case goOn:
		p.store.Heal()
	case lag:
		if err := p.store.lag(); err != nil {
			w.t.Error(err)
		}
	case catchUp:
		p.store.catchUp()
	case prune:
		w.prune(p)
	case sweep:
		p.verb(p.service.Sweep)
	}
}

func (w *world) ask(p *plane, s step) {
	by := requesters[s.Who%len(requesters)]
	a := &asked{by: by, charge: fmt.Sprintf("ch_%d", len(w.asks)), term: s.By, need: need[entitlements[s.What%2]], said: map[string]bool{}}
	w.asks = append(w.asks, a)
	what := access.Ask{Entitlement: entitlements[s.What%2], Duration: s.By, Params: map[string]string{"charge": a.charge, "amount_max": fmt.Sprint(most)}}
	caller := by.caller(w.planeNow())
	p.verb(func(ctx context.Context) error {
		_, err := p.service.Request(ctx, caller, what)
		return err
	})
	if s.What < 2 {
		return
	}
	synctest.Wait()
	if err := w.learn(); err != nil {
		w.t.Error(err)
	}
	w.approve(step{Do: approve, What: 2})
	w.approve(step{Do: approve, What: 3})
	if s.What < 6 {
		return
	}
	synctest.Wait() // the gateways hear of the grant, and of nothing more
	for _, n := range w.nodes {
		n.link.hold(true, true)
	}
}

// approve has somebody approve the newest requests but who.
func (w *world) approve(s step) {
	var open []*asked
	for _, a := range w.asks {
		if !a.id.IsZero() && a.grant == nil {
			open = append(open, a)
		}
	}
	if len(open) == 0 {
		return
	}
	a, by, p := open[len(open)-1-s.Who%len(open)], people[s.What], w.planes[s.What%len(w.planes)]
	caller, id, offer := by.caller(w.planeNow()), a.id, a.offer
	may := by.person != a.by.person && by.mayApprove()
	if may {
		a.said[by.person] = true
	}
	p.verb(func(ctx context.Context) error {
		_, err := p.service.Approve(ctx, caller, id, offer, "")
		if err == nil && !may {
			err := fmt.Errorf("P6: %s approved the request of %s", by.principal, a.by.principal)
			w.failed.Store(&err)
		}
		return err
	})
}

// mayApprove is whether policy names a as an approver.
func (a account) mayApprove() bool { return a == people[1] || a == people[2] || a == people[3] }

// end has the security team, or its holder, end one of the newest live grants.
func (w *world) end(s step) {
	var open []*known
	for _, k := range w.grants {
		if k.ended.IsZero() {
			open = append(open, k)
		}
	}
	if len(open) == 0 {
		return
	}
	k, p := open[len(open)-1-s.Who%len(open)], w.planes[s.What%len(w.planes)]
	now := w.planeNow()
	p.verb(func(ctx context.Context) error {
		if s.Do == finish {
			_, err := p.service.Finish(ctx, k.by.caller(now), k.id)
			return err
		}
		_, err := p.service.Revoke(ctx, people[security].caller(now), k.id, "")
		return err
	})
}

func (w *world) passToEnd(s step) {
	if len(w.grants) == 0 {
		return
	}
	k, n := w.grants[len(w.grants)-1-s.Who%len(w.grants)], w.nodes[s.What%len(w.nodes)]
	now := n.table.Now()
	if d := k.notAfter.Sub(now) + s.By; !now.IsZero() && d > 0 && d < 2*time.Minute {
		w.settle(d)
	}
}

func (w *world) crash(i int) {
	w.detach(i)
	w.planes[i].stop()
	w.planes[i] = w.start()
	w.connect()
}

func (w *world) detach(i int) {
	for _, n := range w.nodes {
		if n.at == i {
			n.link.lead(nil)
		}
	}
}

// reboot also starts the boot clock again: the time since the last commit is known by
// the wall clock alone.
func (w *world) reboot() {
	before := w.planeNow()
	w.crashAll(func() { w.booted = append(w.booted, w.elapsed()) })
	if d := before.Sub(w.planeNow()); d > 0 {
		w.lost += d
	}
}

// crashAll leaves nothing but the database's file. Then happens before the start.
func (w *world) crashAll(then func()) {
	for i, p := range w.planes {
		w.detach(i)
		p.stop()
	}
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
	then()
	w.open()
	for i := range w.planes {
		w.planes[i] = w.start()
	}
	w.connect()
}

// prune forgets every change, as time does after many: who is behind takes a
// snapshot.
func (w *world) prune(p *plane) {
	p.verb(func(ctx context.Context) error {
		return p.store.Update(ctx, func(tx access.Tx) error {
			at, err := tx.Head().Feed(ctx)
			if err != nil {
				return err
			}
			return tx.Changes().Prune(ctx, feed.Position{Epoch: at.Epoch, Revision: at.Revision})
		})
	})
}
