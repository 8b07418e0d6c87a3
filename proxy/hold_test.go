package proxy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
	"github.com/mayflyproxy/mayfly/scope"
)

// guardedWiki is the wiki with its streams guarded.
func guardedWiki() *feed.Resource {
	r := proxytest.Wiki()
	r.MinReader, r.GetApp().Guard, r.GetApp().MaxStreamUs = 4, true, 0
	return r
}

// The guard ends a stream; Envoy's timer only bounds what the guard may let go on under
// another grant. While the route does not have the guard hold it, the timer is all.
func TestP3_AGuardedStreamIsBoundedByTheGuard(t *testing.T) {
	for name, c := range map[string]struct {
		route bool
		most  time.Duration // of the app, 0: not told
		want  string        // Envoy's timer
		until time.Duration // the deadline of the intent
	}{
		"held":                            {true, 0, "86400000m", time.Hour},
		"held, and the app has a longest": {true, 2 * time.Hour, "7200000m", time.Hour},
		"held for less than the grant":    {true, time.Minute, "60000m", time.Minute},
		"not held yet":                    {false, 0, "60000m", time.Minute},
		"not held yet, and short":         {false, time.Second, "1000m", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			wiki := guardedWiki()
			wiki.GetApp().MaxStreamUs = c.most.Microseconds()
			d.world.Add(wiki)
			v := d.check(d.read(proxytest.Refunder).with(func(a *ask) { a.guard = c.route }))
			if !v.allowed || v.header["grpc-timeout"] != c.want {
				t.Fatalf("%+v, want %s", v, c.want)
			}
			if i := d.journal.Intents()[0]; !i.Deadline.Equal(d.world.Now().Add(c.until)) {
				t.Errorf("the intent's deadline is %s", i.Deadline)
			}
		})
	}
}

// A receipt counts what was cut, says nothing before it was, and bounds nothing: no
// guarded request that was let through before reaches the app afterwards.
func TestP4_AReceiptCountsTheStreamsThatWereCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := proxytest.NewWorld(t, guardedWiki())
		id, r := w.Reads(time.Hour)
		w.Add(r)
		a := proxy.Action{Grant: id, App: "wiki", Guard: true, Deadline: w.Now().Add(time.Hour)}
		cut, over := w.Hold(a), w.Hold(a)
		over.LetGo(false)
		receipts := make(chan feed.Receipt)
		go func() { receipts <- w.Receipt(id, grant.Revoked) }()
		if why := cut.Wait(t.Context()); why == nil || why.By != proxy.EndedByGrant || why.Reason != grant.Revoked {
			t.Fatalf("cut for %v", why)
		}
		synctest.Wait()
		select {
		case r := <-receipts:
			t.Fatalf("acknowledged before the stream was cut: %+v", r)
		default:
		}
		cut.LetGo(true)
		if r := <-receipts; r.StreamsCut != 1 || !r.Bounded.IsZero() {
			t.Errorf("receipt %+v", r)
		}
	})
}

// One stream that does not let go holds up no receipt for long.
func TestAReceiptDoesNotHangOnOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := proxytest.NewWorld(t, guardedWiki())
		id, r := w.Reads(time.Hour)
		w.Add(r)
		hung := w.Hold(proxy.Action{Grant: id, App: "wiki", Deadline: w.Now().Add(time.Hour)})
		began := time.Now()
		if r := w.Receipt(id, grant.Revoked); r.StreamsCut != 0 || time.Since(began) != time.Second {
			t.Errorf("receipt %+v after %s", r, time.Since(began))
		}
		hung.LetGo(true)
	})
}

func TestAHoldEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := proxytest.NewWorld(t, guardedWiki())
		id, r := w.Reads(time.Hour)
		w.Add(r)
		h := w.Hold(proxy.Action{Grant: id, App: "wiki", Deadline: w.Now().Add(time.Hour)})
		ctx, over := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, over)
		for range 6 { // it is heard in the meantime
			time.AfterFunc(10*time.Second, w.Pong)
		}
		if why := h.Wait(ctx); why != nil {
			t.Errorf("cut for %v", why)
		}
		h.LetGo(false)
		h.LetGo(true)
		if r := w.Receipt(id, grant.Revoked); r.StreamsCut != 0 {
			t.Errorf("receipt %+v", r)
		}
	})
}

// What else ends a stream ends it: another grant is no way around a lost lease, not even
// if the gateway is heard again in that moment.
func TestP4_OnlyTheEndOfItsGrantMovesAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, journal := proxytest.NewWorld(t, guardedWiki()), &proxytest.Journal{}
		id, r := w.Reads(time.Hour)
		_, other := w.Reads(2 * time.Hour)
		w.Add(r, other)
		holder, err := identity.ParsePrincipal(proxytest.Refunder)
		if err != nil {
			t.Fatal(err)
		}
		op := scope.Operation{App: "wiki", Name: "http.get", Resource: "/events", Class: scope.ClassRead}
		h := w.Hold(proxy.Action{Grant: id, App: "wiki", Principal: holder, Operation: op, Guard: true, Deadline: w.Now().Add(time.Hour), Limit: w.Now().Add(24 * time.Hour)})
		defer h.LetGo(true)
		w.Pass(15 * time.Second)
		if why := h.Wait(t.Context()); why == nil || why.By != proxy.EndedByLease {
			t.Fatalf("cut for %v", why)
		}
		w.Pong()
		if _, err := h.Rebind(t.Context(), journal); !errors.Is(err, proxy.ErrNoOther) || len(journal.Rebounds()) > 0 {
			t.Fatalf("%v, on record %+v", err, journal.Rebounds())
		}
		w.End(id, grant.Revoked)
		if why := h.Wait(t.Context()); why == nil || why.By != proxy.EndedByGrant {
			t.Fatalf("cut for %v", why)
		}
		if _, err := h.Rebind(t.Context(), journal); err != nil || len(journal.Rebounds()) != 1 {
			t.Errorf("%v, on record %+v", err, journal.Rebounds())
		}
	})
}
