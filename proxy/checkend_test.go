package proxy_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/proxytest"
)

// TestP5_TheIntentStandsBeforeTheAnswer holds the journal: until it says that the
// intent is on record there is no answer, and the hop knows of no action.
func TestP5_TheIntentStandsBeforeTheAnswer(t *testing.T) {
	d := newDesk(t)
	reached, release := make(chan struct{}), make(chan struct{})
	d.journal.BeforeIntent = func(context.Context) error {
		close(reached)
		<-release
		return nil
	}
	d.reserver.act = func(context.Context) error {
		if len(d.journal.Intents()) != 1 {
			return grant.Deny(grant.Internal, "reserved before the intent")
		}
		return nil
	}
	answer := make(chan verdict, 1)
	go func() { answer <- d.check(d.refund(proxytest.Refunder)) }()
	<-reached
	if unknown, never := d.actions.Overdue(proxytest.Noon().Add(24 * time.Hour)); len(unknown)+len(never) != 0 || len(d.reserver.asked) != 0 {
		t.Error("the action is known before its intent stands")
	}
	select {
	case v := <-answer:
		t.Fatalf("answered before the intent: %+v", v)
	default:
	}
	close(release)
	if v := <-answer; !v.allowed || v.meta["action"] != d.journal.Intents()[0].Action {
		t.Fatalf("%+v", v)
	}
}

func TestP4_WhatEndsWhileTheDecisionWaitsIsDenied(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*desk)
		want grant.Reason
	}{
		"revoked":       {func(d *desk) { d.world.End(d.stripe, grant.Revoked) }, grant.Revoked},
		"finished":      {func(d *desk) { d.world.End(d.stripe, grant.Ended) }, grant.Ended},
		"policy":        {func(d *desk) { d.world.End(d.stripe, grant.PolicyChanged) }, grant.PolicyChanged},
		"its time":      {func(d *desk) { d.world.Pass(time.Hour); d.world.Pong() }, grant.Ended},
		"the lease":     {func(d *desk) { d.world.Pass(15 * time.Second) }, grant.Stale},
		"time, jumping": {func(d *desk) { d.world.PongTelling(time.Hour) }, grant.Ended},
	} {
		for where, hold := range map[string]func(*desk, func()){
			"fsync": func(d *desk, end func()) {
				d.journal.BeforeIntent = func(context.Context) error { end(); return nil }
			},
			"a failing fsync": func(d *desk, end func()) {
				d.journal.BeforeIntent = func(context.Context) error { end(); return errors.New("late") }
			},
			"Reserve": func(d *desk, end func()) {
				d.reserver.act = func(context.Context) error { end(); return nil }
			},
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				d := newDesk(t)
				// Another grant covers it too: it is not chosen for this action.
				_, second := d.world.Refunds(30 * time.Minute)
				d.world.Add(second)
				hold(d, func() { c.end(d) })
				v := d.check(d.refund(proxytest.Refunder))
				if v.allowed || v.reason != c.want {
					t.Fatalf("%+v, want %s", v, c.want)
				}
				d.whole(v)
				if unknown, never := d.actions.Overdue(proxytest.Noon().Add(24 * time.Hour)); len(unknown)+len(never) != 0 {
					t.Error("a refused action waits for the hop")
				}
			})
		}
	}
}

func TestP3_TheDeadlineIsTheGrantsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		term time.Duration
		wait func(*desk) // while the intent is written
		want string      // "" is denied
	}{
		{"max_stream", time.Hour, nil, "10000m"},
		{"the grant ends before", 3 * time.Second, nil, "3000m"},
		{"what the decision took is added", 3 * time.Second, func(d *desk) { d.world.Pass(2 * time.Second) }, "3000m"},
		{"a time that jumps is not", 3 * time.Second, func(d *desk) { d.world.PongTelling(2 * time.Second) }, "1000m"},
		{"the last microsecond is not 0", 3 * time.Second, func(d *desk) { d.world.PongTelling(3*time.Second - time.Microsecond) }, "1m"},
		{"max_stream passes", time.Hour, func(d *desk) { d.world.Pass(10 * time.Second) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			d.world.End(d.wiki, grant.Revoked)
			_, r := d.world.Reads(c.term)
			d.world.Add(r)
			if c.wait != nil {
				d.journal.BeforeIntent = func(context.Context) error { c.wait(d); return nil }
			}
			if v := d.check(d.read(proxytest.Refunder)); v.header["grpc-timeout"] != c.want || v.allowed != (c.want != "") || c.want == "" && v.reason != grant.Timeout {
				t.Fatalf("%+v, want %q", v, c.want)
			}
		})
	}
}

func TestADecisionThatTakesTooLongIsDeniedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, hold := range map[string]func(*desk, func(context.Context) error){
			"disk":    func(d *desk, f func(context.Context) error) { d.journal.BeforeIntent = f },
			"Reserve": func(d *desk, f func(context.Context) error) { d.reserver.act = f },
		} {
			d := newDesk(t)
			hold(d, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			began := time.Now()
			v := d.check(d.refund(proxytest.Refunder))
			if took := time.Since(began); took != proxy.DecideWithin || v.reason != grant.RecordUnavailable {
				t.Errorf("%s: %+v after %s", name, v, took)
			}
			d.whole(v)
		}
	})
}

func TestACallerThatLeavesGetsNoAction(t *testing.T) {
	d := newDesk(t)
	ctx, leave := context.WithCancel(t.Context())
	d.reserver.act = func(context.Context) error { leave(); return nil }
	if v := d.checkWith(ctx, d.refund(proxytest.Refunder)); v.allowed || v.reason != grant.Timeout {
		t.Fatalf("%+v", v)
	}
	if unknown, never := d.actions.Overdue(proxytest.Noon().Add(24 * time.Hour)); len(unknown)+len(never) != 0 {
		t.Error("its action is still there")
	}
}
