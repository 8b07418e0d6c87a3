package history

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/scope"
)

// node is a sidecar: one instance at a time, a disk, and a way to mayflyd.
type node struct {
	link  *link
	at    int // which mayflyd
	mark  string
	skew  time.Duration // of its boot clock
	apart bool          // the order of its messages was broken since its last snapshot

	// ahead is by how much the instance's time may be ahead of mayflyd's: what the
	// longest of its first Pongs took, and of those that settled a doubt, which the
	// mark carries on (contracts §1).
	ahead atomic.Int64

	instance feed.Instance
	clock    *proxy.Clock
	table    *proxy.Table
	kill     context.CancelFunc
	wg       sync.WaitGroup
}

func (w *world) newNode(at int) *node {
	dir, err := os.MkdirTemp(w.dir, "node")
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{link: &link{}, at: at, mark: filepath.Join(dir, "mark"), skew: time.Duration(len(w.nodes)+1) * time.Hour}
	w.boot(n)
	return n
}

// boot starts the node's process: nothing but the mark is left of the one before.
func (w *world) boot(n *node) {
	var err error
	if n.instance, err = feed.NewInstance(gateway); err != nil {
		w.t.Fatal(err)
	}
	now := func() time.Duration { return w.elapsed() + n.skew }
	if n.clock, err = proxy.OpenClock(proxy.ClockConfig{Boot: now, Mark: n.mark}); err != nil {
		w.t.Fatal(err)
	}
	witness, err := proxy.OpenWitness(proxy.WitnessConfig{Record: w.signer.verifier, File: n.mark + ".checkpoint"})
	if err != nil {
		w.t.Fatal(err)
	}
	// There is one record here, whatever befalls those that tell of it.
	alarm := func(a proxy.Alarm) {
		if a.Shown != nil {
			w.t.Errorf("the right record is disbelieved for good: %s", a.Text)
		}
	}
	if n.table, err = proxy.NewTable(proxy.TableConfig{Clock: n.clock, Sidecar: gateway, Witness: witness, Alarm: alarm}); err != nil {
		w.t.Fatal(err)
	}
	client, err := feed.NewClient(feed.ClientConfig{Conn: n.link, Instance: n.instance, Version: "test", Reader: proxy.Reader, Sink: &sink{Table: n.table, of: n, now: now}, BootNow: now})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	n.kill, n.apart = kill, false
	n.wg.Go(func() { _ = client.Run(ctx) })
	n.wg.Go(func() { n.keepTime(ctx) })
}

// slowest is the longest that a Pong may take that says what time it is.
const slowest = 5 * time.Second

// sink is a table of which is noted how long the Pongs took that it had to believe.
type sink struct {
	*proxy.Table
	of    *node
	now   func() time.Duration
	heard bool
}

func (s *sink) Ponged(sent time.Duration, p *feed.Pong) error {
	doubted := s.of.clock.Doubted()
	err := s.Table.Ponged(sent, p)
	if took := s.now() - sent; err == nil && took <= slowest && (doubted || !s.heard) {
		s.heard = true
		s.of.ahead.Store(max(s.of.ahead.Load(), int64(took)))
	}
	return err
}

// mayLead is by how much the instance may end a grant early: what later Pongs may
// take, or what one took that had to be believed. What mayflyd's clock lost comes on top:
// an instance's time never steps back (contracts §1).
func (n *node) mayLead() time.Duration {
	return max(1200*time.Millisecond, time.Duration(n.ahead.Load()))
}

// keepTime writes the mark each second, and not when the process is killed.
func (n *node) keepTime(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = n.clock.Save()
		}
	}
}

func (n *node) stop() {
	n.kill()
	n.wg.Wait()
}

// try does what Check does with a request: it looks for a grant, and looks at it
// again as it hands the answer over.
func (n *node) try(p identity.Principal, op scope.Operation, presented grant.GrantID) (used grant.Grant, allowed bool) {
	g, err := n.table.Find(p, op, n.table.Now(), presented)
	if err != nil {
		return grant.Grant{}, false
	}
	err = n.table.LastLook(g.ID, grant.ActionID{}, time.Time{}, func() error { allowed = true; return nil })
	return g, allowed && err == nil
}
