package fault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	staleAfter = 5 * time.Second // of both apps in the environment
	closedBy   = staleAfter + time.Second
)

// Contracts §2, revoke --wait: two instances share an SVID. The one that runs
// acknowledges; the one that is stopped is named, and closed at the fixed instant
// at which its lease has run out. Neither allows anything after.
func TestP4_Contracts2_RevokeWaitNamesTheInstanceThatIsStopped(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	second := check[*env.Gateway](t)(w.StartGateway(ctx, "gw-2"))
	other := check[*env.Caller](t)(w.Caller(ctx, "reporter", second))
	t.Cleanup(other.Close)
	g := w.mayRead(t, w.reporter, "/daily", 10*time.Minute)
	for _, c := range []*env.Caller{w.traffic.reporter, other} {
		eventually(t, "a call on each gateway", func() error { return read(ctx, c, "/daily/1").must("") })
	}
	runs := check[env.GatewayStatus](t)(w.gw.Status(ctx)).Instance
	stopped := check[env.GatewayStatus](t)(second.Status(ctx)).Instance
	if strings.SplitN(runs, "#", 2)[0] != strings.SplitN(stopped, "#", 2)[0] || runs == stopped {
		t.Fatalf("want two instances of one sidecar: %s and %s", runs, stopped)
	}

	if err := second.Process.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	before := w.newest(t)
	if _, err := w.bob.Revoke(ctx, g.ID, api.Because{Reason: "a mistake"}); err != nil {
		t.Fatal(err)
	}
	var r api.Receipts
	eventually(t, "the running gateway acknowledges", func() (err error) {
		if r, err = w.bob.Receipts(ctx, g.ID); err == nil && state(r, runs) != "acked" {
			err = fmt.Errorf("%+v", r)
		}
		return err
	})
	if err := read(ctx, w.traffic.reporter, "/daily/2").must("revoked"); err != nil {
		t.Errorf("after its receipt: %v", err)
	}
	if r.Complete || state(r, stopped) != "waiting" {
		t.Errorf("the stopped one was heard: %+v", r)
	}
	eventually(t, "the stopped gateway is closed", func() (err error) {
		if r, err = w.bob.Receipts(ctx, g.ID); err == nil && !r.Complete {
			err = fmt.Errorf("%+v", r)
		}
		return err
	})
	now := time.Now()
	if state(r, stopped) != "closed" || state(r, runs) != "acked" {
		t.Errorf("%+v", r)
	}
	closed := check[time.Time](t)(audit.ParseStamp(waitOf(r, stopped).Until))
	// A Ping that was on its way when it was stopped may still be answered after
	// the revoke: it does not move the instant. That is kept by the boot clock and told by
	// the wall clock, which do not tick quite alike.
	const apart = 10 * time.Millisecond
	first, last := before[stopped].Add(closedBy), w.newest(t)[stopped].Add(closedBy)
	if closed.Before(first.Add(-apart)) || closed.After(last.Add(apart)) || now.Before(closed) {
		t.Errorf("closed at %s and told at %s; by its last Pong it is from %s to %s", closed, now, first, last)
	}

	// It wakes with its table as it was, and must not use it.
	answers := press(t, 4, func(ctx context.Context) answer { return read(ctx, other, "/daily/3") }, func() {
		if err := second.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the woken gateway knows of the revoke", func() error { return read(ctx, other, "/daily/4").must("revoked") })
	})
	t.Logf("revoke on two instances; the woken one answered %v", answers)
	if answers["allowed"] > 0 {
		t.Errorf("%d calls were allowed by a gateway that had not heard", answers["allowed"])
	}
	w.hold(t, w.gw, second)
}

// Contracts §2 and §4: a sidecar that is stopped while its sockets fill up, from
// Envoy and from mayflyd. Envoy answers for it and lets nothing through; what
// waited in the sockets is denied when it wakes.
func TestP4_Contracts2_AStoppedSidecarWithFullSocketsAllowsNothing(t *testing.T) {
	stop := 8 * time.Second // longer than stale_after
	if long() {
		stop = time.Minute
	}
	w := newWorld(t)
	ctx := t.Context()
	w.mayRead(t, w.reporter, "/daily", 10*time.Minute)
	w.mayRefund(t, "ch_1", 10*time.Minute)
	ends := w.mayRead(t, w.refunder, "/monthly", 4*time.Second)
	end := check[time.Time](t)(audit.ParseStamp(ends.NotAfter))
	lives := func(ctx context.Context) answer { return read(ctx, w.traffic.reporter, "/daily/1") }
	over := func(ctx context.Context) answer { return read(ctx, w.traffic.refunder, "/monthly/1") }
	pays := func(ctx context.Context) answer { return refund(ctx, w.traffic.refunder, "ch_1", 5) }
	fills := func(ctx context.Context) answer { // 1 MiB that Envoy hands over for a decision
		return call(ctx, w.traffic.refunder, "POST", "https://"+env.StripeHost+"/v1/refunds", url.Values{"charge": {"ch_1"}, "amount": {"5"}, "reason": {strings.Repeat("a", 900<<10)}})
	}
	for _, try := range []func(context.Context) answer{lives, over, pays} {
		eventually(t, "a call before", func() error { return try(ctx).must("") })
	}

	if err := w.gw.Process.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	stoppedAt := time.Now()
	busy, rest := context.WithCancel(ctx)
	defer rest()
	w.ask(busy, w.reporter) // changes that mayflyd wants to tell
	before := len(w.arrivals())
	got := map[string]int{}
	var mu sync.Mutex
	note := func(name string, try func(context.Context) answer) func(context.Context) answer {
		return func(ctx context.Context) answer {
			began := time.Now()
			a := try(ctx)
			mu.Lock()
			defer mu.Unlock()
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: Envoy answered after %s", name, took)
			}
			got[name+" "+a.name()]++
			return a
		}
	}
	var done sync.WaitGroup
	for name, try := range map[string]func(context.Context) answer{"lives": lives, "over": over, "pays": pays, "fills": fills} {
		for range 8 {
			done.Go(func() {
				for busy.Err() == nil {
					if a := note(name, try)(busy); a.code == "cut" {
						pause(busy, 10*time.Millisecond)
					}
				}
			})
		}
	}
	until(t, stoppedAt.Add(stop))
	if n := len(w.arrivals()); n != before {
		t.Errorf("%d calls reached an app while the sidecar was stopped", n-before)
	}
	if !time.Now().After(end) {
		t.Fatal("the grant has not ended yet")
	}
	woken := time.Now()
	if err := w.gw.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "traffic resumes", func() error { return errors.Join(lives(ctx).must(""), pays(ctx).must("")) })
	resumed := time.Now()
	if err := over(ctx).must("ended"); err != nil {
		t.Error(err)
	}
	rest()
	done.Wait()
	w.done.Wait()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("stopped for %s, resumed %s after waking; the callers got %v", woken.Sub(stoppedAt).Round(time.Millisecond), resumed.Sub(woken).Round(time.Millisecond), got)
	for _, i := range w.hold(t, w.gw).Intents {
		if i.FreshnessMS >= staleAfter.Milliseconds() {
			t.Errorf("%s was decided %d ms after the newest Ping", i.Action, i.FreshnessMS)
		}
	}
}

// newest returns each instance's last Pong, as mayflyd knows it.
func (w *world) newest(t testing.TB) map[string]time.Time {
	t.Helper()
	out := map[string]time.Time{}
	for _, n := range check[api.Nodes](t)(w.bob.Nodes(t.Context())).Items {
		if n.LastPong != "" {
			out[n.Instance] = check[time.Time](t)(audit.ParseStamp(n.LastPong))
		}
	}
	return out
}

func (w *world) arrivals() []env.Arrival { return append(w.Reports.Arrivals(), w.Stripe.Arrivals()...) }

// hold ships, exports and verifies the record, and holds what arrived against it.
func (w *world) hold(t testing.TB, gateways ...*env.Gateway) *env.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, g := range gateways {
		if err := g.Shipped(ctx); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "record")
	if err := w.Export(ctx, w.bob, dir); err != nil {
		t.Fatal(err)
	}
	report := check[audit.Report](t)(w.Verify(dir))
	for _, p := range report.Problems {
		t.Error("the record does not hold: ", p)
	}
	r := check[*env.Record](t)(env.ReadRecord(dir))
	for _, err := range r.Hold(w.arrivals()) {
		t.Error(err)
	}
	return r
}

func waitOf(r api.Receipts, instance string) api.Receipt {
	for _, w := range r.Waits {
		if w.Instance == instance {
			return w
		}
	}
	return api.Receipt{State: "not awaited"}
}

func state(r api.Receipts, instance string) string { return waitOf(r, instance).State }

// name is what a caller tells of an answer.
func (a answer) name() string {
	if a.allowed {
		return "allowed"
	}
	return a.code
}

// press calls from n connections at once while f runs, and counts the answers.
func press(t testing.TB, n int, try func(context.Context) answer, f func()) map[string]int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := map[string]int{}
	var mu sync.Mutex
	var done sync.WaitGroup
	for range n {
		done.Go(func() {
			for ctx.Err() == nil {
				a := try(ctx)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				out[a.name()]++
				mu.Unlock()
				pause(ctx, time.Millisecond)
			}
		})
	}
	f()
	cancel()
	done.Wait()
	return out
}

// pause paces a caller.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
