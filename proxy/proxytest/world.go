package proxytest

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// Refunder and Stranger are workloads: a World's grants are Refunder's.
const (
	Refunder = "spiffe://acme.example/ns/pay/sa/refunder"
	Stranger = "spiffe://acme.example/ns/web/sa/front"
)

// Alice is the account of a person.
const Alice = "user:idp:3f1c"

// Noon is the control plane's time when a World begins.
func Noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// Sidecar is whose gateway a World is of.
const Sidecar = "spiffe://acme.example/gw/sidecar"

// World is a table whose feed and boot clock a test plays. Its methods are safe
// for concurrent use.
type World struct {
	*proxy.Table
	t      testing.TB
	minter *grant.Minter
	boot   atomic.Int64

	mu sync.Mutex
	at feed.Position
}

// NewWorld returns a table that holds the resources and has just heard a Pong.
func NewWorld(t testing.TB, resources ...*feed.Resource) *World {
	t.Helper()
	w := NewEmptyWorld(t)
	w.at.Revision += 2
	if _, nacks, err := feedtest.Swap(t.Context(), w, w.at, resources); err != nil || len(nacks) > 0 {
		t.Fatal(err, nacks)
	}
	w.Pong()
	return w
}

// NewEmptyWorld returns a table that was told nothing yet.
func NewEmptyWorld(t testing.TB) *World { return newWorld(t, Sidecar) }

// NewWorldAt is NewWorld, without resources, of another gateway.
func NewWorldAt(t testing.TB, sidecar string) *World {
	t.Helper()
	w := newWorld(t, sidecar)
	w.at.Revision += 2
	if _, _, err := feedtest.Swap(t.Context(), w, w.at, nil); err != nil {
		t.Fatal(err)
	}
	w.Pong()
	return w
}

func newWorld(t testing.TB, sidecar string) *World {
	t.Helper()
	w := &World{t: t, minter: grant.NewMinter(), at: feed.Position{Epoch: 1, Revision: 10}}
	w.boot.Store(int64(time.Hour))
	clock, err := proxy.OpenClock(proxy.ClockConfig{Boot: w.now, Mark: filepath.Join(t.TempDir(), "mark")})
	if err != nil {
		t.Fatal(err)
	}
	if w.Table, err = proxy.NewTable(proxy.TableConfig{Clock: clock, Sidecar: sidecar}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *World) now() time.Duration { return time.Duration(w.boot.Load()) }

// Pass lets time pass, without a word from the control plane.
func (w *World) Pass(d time.Duration) { w.boot.Add(int64(d)) }

// Pong is heard from a control plane with the right time.
func (w *World) Pong() { w.PongTelling(0) }

// PongTelling is Pong with a time that is wrong by that much.
func (w *World) PongTelling(wrong time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	plane := Noon().Add(w.now() - time.Hour + wrong)
	if err := w.Ponged(w.now(), &feed.Pong{Epoch: w.at.Epoch, Head: w.at.Revision, CompleteTo: w.at.Revision, TimeUs: plane.UnixMicro()}); err != nil {
		w.t.Error(err)
	}
}

// Add tells the table of more resources, or of other ones.
func (w *World) Add(resources ...*feed.Resource) { w.apply(&feed.Delta{Resources: resources}) }

// End removes a grant, for a reason, and returns when nothing decided under it is
// on its way.
func (w *World) End(id grant.GrantID, why grant.Reason) {
	w.apply(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id.String(), Reason: string(why), AtUs: w.Now().UnixMicro()}}})
}

// Receipt is End, and returns what the table answers.
func (w *World) Receipt(id grant.GrantID, why grant.Reason) feed.Receipt {
	return w.apply(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id.String(), Reason: string(why), AtUs: w.Now().UnixMicro()}}})
}

// Remove takes something off the table, likewise.
func (w *World) Remove(removals ...*feed.Removal) { w.apply(&feed.Delta{Removals: removals}) }

// Leave removes a session, likewise.
func (w *World) Leave(id string, why grant.Reason) {
	w.apply(&feed.Delta{Removals: []*feed.Removal{{Kind: feed.KindSession, Id: id, Reason: string(why), AtUs: w.Now().UnixMicro()}}})
}

// Anew is a snapshot in the place of everything held.
func (w *World) Anew(resources ...*feed.Resource) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.Revision += 2
	if _, nacks, err := feedtest.Swap(w.t.Context(), w, w.at, resources); err != nil || len(nacks) > 0 {
		w.t.Error(err, nacks)
	}
}

// Next is the change that tells of resources, for whoever applies it by itself.
func (w *World) Next(resources ...*feed.Resource) *feed.Delta {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.Revision += 2
	return &feed.Delta{Epoch: w.at.Epoch, Revision: w.at.Revision, Resources: resources}
}

func (w *World) apply(d *feed.Delta) feed.Receipt {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.Revision += 2
	d.Epoch, d.Revision = w.at.Epoch, w.at.Revision
	r, nacks, err := w.Apply(w.t.Context(), d)
	if err != nil || len(nacks) > 0 {
		w.t.Error(err, nacks)
	}
	return r
}
