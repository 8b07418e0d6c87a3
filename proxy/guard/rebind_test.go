package guard

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

// reading is the action of a workload that reads the wiki.
func reading(a *proxy.Action) {
	a.Principal, _ = identity.ParsePrincipal(proxytest.Refunder)
	a.Operation = scope.Operation{App: "wiki", Name: "http.get", Resource: "/events", Class: scope.ClassRead}
}

// also adds a grant of the same access.
func (r *rig) also(term time.Duration, change ...func(*feed.Resource)) grant.GrantID {
	id, resource := r.world.Reads(term)
	for _, f := range change {
		f(resource)
	}
	r.world.Add(resource)
	r.other = resource
	return id
}

// quiet waits until the guard has done what there is to do, and fails the test if it
// said something.
func (e *envoy) quiet(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second) // of synctest's clock, which only so goes on past the guard's timers; nobody waits
	select {
	case m := <-e.told:
		t.Fatalf("the guard says %v", m)
	default:
	}
}

func TestP4_AStreamGoesOnUnderAnotherGrant(t *testing.T) {
	for name, end := range map[string]func(*rig) feed.Receipt{
		"revoked": func(r *rig) feed.Receipt { return r.world.Receipt(r.grant, grant.Revoked) },
		"its time": func(r *rig) feed.Receipt {
			synctest.Wait() // the guard looks again after the Pong, not before
			r.world.Pass(time.Hour)
			r.world.Pong()
			return feed.Receipt{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				a := r.allow(reading)
				e := r.open(a)
				e.goes(t)
				later := r.also(3 * time.Hour)
				r.also(2 * time.Hour)
				if receipt := end(r); receipt.StreamsCut != 0 {
					t.Errorf("%d streams cut that go on", receipt.StreamsCut)
				}
				e.quiet(t)
				got := r.journal.Rebounds()
				if len(got) != 1 || got[0].Action != a.ID.String() || got[0].From != r.grant.String() || got[0].Grant != later.String() {
					t.Fatalf("on record: %+v", got)
				}
				if want := r.world.Now().Add(3 * time.Hour); got[0].Deadline.After(want) || got[0].Deadline.IsZero() {
					t.Errorf("until %s", got[0].Deadline)
				}
				if receipt := r.world.Receipt(later, grant.Revoked); receipt.StreamsCut != 0 || receipt.LastAction != a.ID.String() {
					t.Errorf("of one that went on again: %+v", receipt)
				}
				e.quiet(t)
				last, err := r.grantOf(r.journal.Rebounds()[1].Grant)
				if err != nil {
					t.Fatal(err)
				}
				if receipt := r.world.Receipt(last, grant.Revoked); receipt.StreamsCut != 1 || receipt.LastAction != a.ID.String() {
					t.Errorf("of the last one: %+v", receipt)
				}
				if details, _ := e.cut(t); details != "mayfly_revoked" {
					t.Errorf("cut with %q", details)
				}
				e.end()
				e.neverNil(t)
			})
		})
	}
}

func (r *rig) grantOf(text string) (id grant.GrantID, err error) {
	return id, id.UnmarshalText([]byte(text))
}

func TestP3_AStreamEndsWithTheGrantThatItWentOnUnder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := r.open(r.allow(reading))
		e.goes(t)
		r.also(2 * time.Hour)
		r.world.End(r.grant, grant.Revoked)
		e.quiet(t)
		r.world.Pass(2*time.Hour - time.Millisecond)
		r.world.Pong()
		e.quiet(t) // the table's clock stands still
		r.world.Pass(time.Millisecond)
		if details, _ := e.cut(t); details != "mayfly_ended" {
			t.Errorf("cut with %q", details)
		}
		e.end()
		e.neverNil(t)
	})
}

func TestP4_AStreamGoesOnUnderNoOtherGrant(t *testing.T) {
	const revoked = "mayfly_revoked"
	refuse := func(context.Context) error { return errors.New("full") }
	for name, c := range map[string]struct {
		action func(*rig, *proxy.Action)
		other  func(*rig, *feed.Resource)
		end    func(*rig)
		want   string
	}{
		"that does not cover it":     {other: func(_ *rig, r *feed.Resource) { r.GetGrant().Rules = r.GetGrant().Rules[1:] }},
		"of somebody else":           {other: func(_ *rig, r *feed.Resource) { r.GetGrant().Principal = proxytest.Stranger }},
		"that is not in force yet":   {other: func(_ *rig, r *feed.Resource) { r.GetGrant().NotBeforeUs += 3_600_000_000 }},
		"that is to be acknowledged": {other: func(_ *rig, r *feed.Resource) { r.GetGrant().Class = "admin" }},
		"that asks for a login": {other: func(r *rig, g *feed.Resource) {
			wiki := proxytest.Wiki()
			wiki.MinReader, wiki.GetApp().Guard, wiki.GetApp().MaxStreamUs = 4, true, 0
			wiki.GetApp().StepUp = []*feed.StepUp{{Entitlement: "wiki/careful", Acr: []string{"strong"}}}
			r.world.Add(wiki)
			g.GetGrant().Entitlement = "wiki/careful"
		}},
		"that began after the end": {
			action: func(r *rig, a *proxy.Action) { a.Deadline = r.world.Now().Add(time.Second) },
			other: func(_ *rig, r *feed.Resource) {
				r.GetGrant().NotBeforeUs += (time.Second + time.Microsecond).Microseconds()
			},
			end: func(r *rig) {
				synctest.Wait()
				r.world.Pass(time.Second + time.Millisecond)
				r.world.End(r.grant, grant.Ended)
			},
			want: "mayfly_ended",
		},
		"when it began with a token": {action: func(r *rig, a *proxy.Action) {
			key := proxytest.NewIssuer(r.t).Key()
			r.world.Add(key)
			a.Key = key.GetId()
		}},
		"past what the stream may last": {action: func(_ *rig, a *proxy.Action) { a.Limit = a.Decided }},
		"when the record does not take it": {
			end: func(r *rig) { r.journal.BeforeRebound = refuse; r.world.End(r.grant, grant.Revoked) },
		},
		"when the record takes too long": {end: func(r *rig) {
			r.journal.BeforeRebound = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
			began := time.Now()
			r.world.End(r.grant, grant.Revoked)
			if took := time.Since(began); took > 150*time.Millisecond {
				r.t.Errorf("cut after %s", took)
			}
		}},
		"when the app moves at once with it": {end: func(r *rig) {
			moved := proxytest.Wiki()
			moved.MinReader, moved.GetApp().Guard, moved.GetApp().Upstream = 4, true, "http://127.0.0.1:2"
			r.world.Anew(moved, r.other)
		}},
		"when the lease is over with it": {end: func(r *rig) { synctest.Wait(); r.world.Pass(time.Hour) }, want: "mayfly_timeout"},
		"when the lease is over":         {end: func(r *rig) { r.world.Pass(15 * time.Second) }, want: "mayfly_stale"},
		"when the app moves": {end: func(r *rig) {
			moved := proxytest.Wiki()
			moved.MinReader, moved.GetApp().Guard, moved.GetApp().Upstream = 4, true, "http://127.0.0.1:2"
			r.world.Add(moved)
		}, want: "mayfly_policy_changed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				a := r.allow(reading, func(a *proxy.Action) {
					if c.action != nil {
						c.action(r, a)
					}
				})
				r.also(90*time.Minute, func(g *feed.Resource) {
					if c.other != nil {
						c.other(r, g)
					}
				})
				e := r.open(a)
				e.goes(t)
				if c.end == nil {
					r.world.End(r.grant, grant.Revoked)
				} else {
					c.end(r)
				}
				want := c.want
				if want == "" {
					want = revoked
				}
				if details, _ := e.cut(t); details != want {
					t.Errorf("cut with %q, want %q", details, want)
				}
				if got := r.journal.Rebounds(); len(got) > 0 {
					t.Errorf("on record: %+v", got)
				}
				e.end()
				e.neverNil(t)
			})
		})
	}
}

// The record says that a stream goes on, and that grant is taken away before it does.
func TestP4_AStreamIsCutWhoseNextGrantEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := r.open(r.allow(reading))
		e.goes(t)
		next := r.also(3 * time.Hour)
		r.journal.BeforeRebound = func(context.Context) error {
			r.world.End(next, grant.Revoked)
			return nil
		}
		r.world.Pass(time.Hour)
		r.world.Pong()
		if details, _ := e.cut(t); details != "mayfly_ended" {
			t.Errorf("cut with %q", details)
		}
		e.end()
		e.neverNil(t)
	})
}
