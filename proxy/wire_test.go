package proxy_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/scope"
)

const (
	sidecar  = "spiffe://acme.example/gw/sidecar"
	refunder = "spiffe://acme.example/ns/pay/sa/refunder"
	lease    = 15 * time.Second
)

// gateway is a table filled by a real client from a real server, on the clock of
// a synctest bubble.
type gateway struct {
	*proxy.Table
	instance feed.Instance
	offset   atomic.Int64 // of the boot clock: what the machine slept
	stop     func()
}

func newGateway(t *testing.T, to func() *feedtest.Wire) *gateway {
	t.Helper()
	g := &gateway{}
	start := time.Now()
	boot := func() time.Duration { return time.Hour + time.Since(start) + time.Duration(g.offset.Load()) }
	clock, err := proxy.OpenClock(proxy.ClockConfig{Boot: boot, Mark: filepath.Join(t.TempDir(), "mark")})
	if err != nil {
		t.Fatal(err)
	}
	if g.Table, err = proxy.NewTable(proxy.TableConfig{Clock: clock}); err != nil {
		t.Fatal(err)
	}
	if g.instance, err = feed.NewInstance(sidecar); err != nil {
		t.Fatal(err)
	}
	client, err := feed.NewClient(feed.ClientConfig{Conn: feedtest.DialFunc(t, to), Instance: g.instance, Reader: proxy.Reader, Sink: g.Table, BootNow: boot})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = client.Run(ctx) })
	running.Go(func() { _ = clock.Run(ctx) })
	g.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(g.stop)
	return g
}

// asks returns the reason of the refusal of a refund, "" if it may pass.
func (g *gateway) asks(t *testing.T) grant.Reason {
	t.Helper()
	p, err := identity.ParsePrincipal(refunder)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Find(p, scope.Operation{App: "stripe", Name: "refunds.create"}, g.Now(), grant.GrantID{})
	return grant.ReasonOf(err)
}

// plane is a control plane whose clock a test can move.
type plane struct {
	*feedtest.Source
	step atomic.Int64
}

func newPlane(term time.Duration) (*plane, grant.GrantID) {
	p := &plane{}
	start, noon := time.Now(), time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	p.Source = feedtest.NewSource(func() time.Time { return noon.Add(time.Since(start)).Add(time.Duration(p.step.Load())) })
	p.Front(sidecar, "stripe")
	minter := grant.NewMinter()
	id := minter.NewGrantID(noon)
	p.Put("stripe",
		&feed.Resource{Id: "stripe", Resource: &feed.Resource_App{App: &feed.App{
			Name: "stripe", Kind: "stripe", Hosts: []string{"stripe.acme.example"}, Upstream: "https://api.stripe.com", StaleAfterUs: lease.Microseconds(),
		}}},
		&feed.Resource{Id: id.String(), Resource: &feed.Resource_Grant{Grant: &feed.Grant{
			Request: minter.NewRequestID(noon).String(), Principal: refunder, App: "stripe", Class: "money", Rules: []*feed.Rule{{Operation: "refunds.create"}},
			NotBeforeUs: noon.UnixMicro(), NotAfterUs: noon.Add(term).UnixMicro(),
		}}})
	return p, id
}

func settle(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

func fixed(w *feedtest.Wire) func() *feedtest.Wire { return func() *feedtest.Wire { return w } }

func TestP4_ARevokeReachesEveryInstanceUnderOneSVID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, id := newPlane(time.Hour)
		w := feedtest.Serve(t, p, sidecar)
		one, two := newGateway(t, fixed(w)), newGateway(t, fixed(w))
		settle(2 * time.Second)
		if a, b := one.asks(t), two.asks(t); a != "" || b != "" {
			t.Fatalf("refused with %q and %q", a, b)
		}
		at := p.Remove("stripe", "revoked", id.String())
		w.Server.Wake()
		synctest.Wait()
		if a, b := one.asks(t), two.asks(t); a != grant.Revoked || b != grant.Revoked {
			t.Fatalf("after the revoke: %q and %q", a, b)
		}
		settle(200 * time.Millisecond)
		if p.Acked(one.instance) != at || p.Acked(two.instance) != at {
			t.Fatal("a receipt is missing")
		}
	})
}

func TestP4_WhoeverCannotHearDeniesWhenItsLeaseRunsOut(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(p *plane, w *feedtest.Wire)
	}{
		{"the control plane is gone", func(_ *plane, w *feedtest.Wire) { w.Stop() }},
		{"its database blocks", func(*plane, *feedtest.Wire) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newPlane(time.Hour)
				var blocked atomic.Bool
				p.Intercept(func(ctx context.Context, _ string) error {
					if !blocked.Load() {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})
				w := feedtest.Serve(t, p, sidecar)
				g := newGateway(t, fixed(w))
				settle(5 * time.Second)
				blocked.Store(true)
				c.cut(p, w)
				settle(lease - 3*time.Second)
				if r := g.asks(t); r != "" {
					t.Fatalf("denied before the lease's end: %q", r)
				}
				settle(4 * time.Second)
				if r := g.asks(t); r != grant.Stale {
					t.Fatalf("after it: %q", r)
				}
				settle(2 * time.Minute)
				if r := g.asks(t); r != grant.Stale {
					t.Fatalf("minutes later: %q", r)
				}
			})
		})
	}
}

func TestP4_AProcessThatWasStoppedDeniesUntilItHearsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPlane(time.Hour)
		g := newGateway(t, fixed(feedtest.Serve(t, p, sidecar)))
		settle(3*time.Second + 500*time.Millisecond)
		g.offset.Add(int64(time.Minute)) // SIGSTOP, or a suspended machine
		p.step.Add(int64(time.Minute))
		if r := g.asks(t); r != grant.Stale {
			t.Fatalf("on waking: %q", r)
		}
		settle(2 * time.Second)
		if r := g.asks(t); r != "" {
			t.Fatalf("after it heard again: %q", r)
		}
	})
}

func TestP3_AGrantEndsWhileEveryControlPlaneIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, id := newPlane(10 * time.Second)
		w := feedtest.Serve(t, p, sidecar)
		g := newGateway(t, fixed(w))
		settle(9500 * time.Millisecond)
		if r := g.asks(t); r != "" {
			t.Fatalf("in its term: %q", r)
		}
		w.Stop()
		settle(500 * time.Millisecond)
		if r := g.asks(t); r != grant.Ended {
			t.Fatalf("at its end: %q", r)
		}
		if r := grant.ReasonOf(g.Look(id, g.Now())); r != grant.Ended {
			t.Fatalf("last look: %q", r)
		}
	})
}

func TestP3_TheServersClockMovedByAnHour(t *testing.T) {
	for step, want := range map[time.Duration]grant.Reason{time.Hour: grant.Ended, -time.Hour: grant.Clock} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := newPlane(30 * time.Minute)
				g := newGateway(t, fixed(feedtest.Serve(t, p, sidecar)))
				settle(3 * time.Second)
				p.step.Store(int64(step))
				settle(2 * time.Second)
				if r := g.asks(t); r != want {
					t.Fatalf("%q, want %q", r, want)
				}
			})
		})
	}
}

func TestP4_ARestartedControlPlaneBehindWhatWasToldIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, id := newPlane(time.Hour)
		var now atomic.Pointer[feedtest.Wire]
		now.Store(feedtest.Serve(t, p, sidecar))
		g := newGateway(t, now.Load)
		settle(2 * time.Second)
		before := p.At().Revision
		p.Remove("stripe", "revoked", id.String())
		now.Load().Server.Wake()
		synctest.Wait()
		now.Load().Stop()
		p.Rewind(before) // a backup in which the grant lives
		now.Store(feedtest.Serve(t, p, sidecar))
		settle(5 * time.Second)
		if r := g.asks(t); r != grant.Revoked {
			t.Fatalf("%q", r)
		}
		settle(lease)
		if r := g.asks(t); r != grant.Stale {
			t.Fatalf("%q", r)
		}
	})
}
