package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestP4_NothingIsDecidedBeforeSnapshotAndPong(t *testing.T) {
	m, id := newMemory(t), newIDs().next()
	if r := m.reason(); r != grant.Stale {
		t.Fatalf("empty: %q", r)
	}
	if grant.ReasonOf(m.Ready()) != grant.Stale {
		t.Fatal("ready with nothing in it")
	}
	m.swap(stripeApp(), refunds(id, refunder, time.Hour))
	if r := m.reason(); r != grant.Stale {
		t.Fatalf("without a Pong: %q", r)
	}
	m.pong(m.machine.plane())
	if r := m.reason(); r != "" {
		t.Fatalf("with both: %q", r)
	}
}

func TestP4_SilenceDeniesAtTheEndOfTheLease(t *testing.T) {
	m, id := granted(t)
	m.machine.pass(15*time.Second - 1)
	if r := m.reason(); r != "" {
		t.Fatalf("just before: %q", r)
	}
	m.machine.pass(1)
	if r := m.reason(); r != grant.Stale {
		t.Fatalf("at the end: %q", r)
	}
	if r := grant.ReasonOf(m.Look(id, m.Now())); r != grant.Stale {
		t.Fatalf("last look: %q", r)
	}
	m.pong(m.machine.plane())
	if r := m.reason(); r != "" {
		t.Fatalf("heard again: %q", r)
	}
}

// A control plane whose Pongs were stored in a buffer while the process was
// stopped (SIGSTOP, a suspended machine) renews nothing when it goes on.
func TestP4_BufferedHeartbeatsRenewNothing(t *testing.T) {
	m, _ := granted(t)
	sent := m.machine.now()
	m.machine.pass(time.Minute)
	m.pongAfter(sent, m.machine.plane().Add(-59*time.Second))
	if r := m.reason(); r != grant.Stale {
		t.Fatalf("after a minute of sleep: %q", r)
	}
}

// A Pong that took more than a second says that the control plane lives, as of its
// Ping; what time it is now, it does not say any more.
func TestP4_ASlowPongRenewsTheLeaseAndDoesNotMoveTheClock(t *testing.T) {
	for took, moves := range map[time.Duration]bool{time.Second: true, time.Second + 1: false, 10 * time.Second: false} {
		m, _ := granted(t)
		m.machine.pass(20 * time.Second)
		sent, ahead := m.machine.now(), m.Now().Sub(m.machine.plane())
		m.machine.pass(took)
		m.pongAfter(sent, m.machine.plane().Add(time.Minute))
		if age, ok := m.Freshness(); !ok || age != took {
			t.Errorf("%s: renewed %s ago (%v)", took, age, ok)
		}
		if r := m.reason(); r != "" {
			t.Errorf("%s: refused with %q", took, r)
		}
		if moved := m.Now().Sub(m.machine.plane()) > ahead; moved != moves {
			t.Errorf("%s: moved %v, want %v", took, moved, moves)
		}
	}
}

func TestP4_APongWhoseHeadIsNotAppliedRenewsNothing(t *testing.T) {
	m, _ := granted(t)
	m.machine.pass(20 * time.Second)
	err := m.Ponged(m.machine.now(), &feed.Pong{Epoch: 1, Head: m.at.Revision + 2, TimeUs: m.machine.plane().UnixMicro()})
	if err == nil || m.reason() != grant.Stale {
		t.Fatalf("%v, then %q", err, m.reason())
	}
}

func TestP3_AGrantEndsBySilenceOfEverybody(t *testing.T) {
	m, id := granted(t)
	app := stripeApp()
	app.GetApp().StaleAfterUs = maxStale.Microseconds()
	m.add(app)
	m.machine.pass(time.Hour - time.Minute)
	m.pong(m.machine.plane())
	m.machine.pass(time.Minute - time.Microsecond)
	if r := m.reason(); r != "" {
		t.Fatalf("in its last microsecond: %q", r)
	}
	m.machine.pass(time.Microsecond)
	if r := m.reason(); r != grant.Ended {
		t.Fatalf("at its end: %q", r)
	}
	if r := grant.ReasonOf(m.Look(id, m.Now())); r != grant.Ended {
		t.Fatalf("last look: %q", r)
	}
}

// Whatever a control plane says of the time, a grant that has ended stays so.
func TestP3_NoServerClockBringsAGrantBack(t *testing.T) {
	for _, c := range []struct {
		name string
		told []time.Duration // against the right time, after the grant's end
		want grant.Reason
	}{
		{"right", []time.Duration{0}, grant.Ended},
		{"an hour ahead", []time.Duration{time.Hour}, grant.Ended},
		{"an hour ahead, then right", []time.Duration{time.Hour, 0}, grant.Clock},
		{"20 s back", []time.Duration{-20 * time.Second}, grant.Ended},
		{"an hour back", []time.Duration{-time.Hour, -time.Hour}, grant.Clock},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := granted(t)
			m.machine.pass(time.Hour + time.Second)
			for _, d := range c.told {
				m.pong(m.machine.plane().Add(d))
			}
			if r := m.reason(); r != c.want {
				t.Fatalf("%q, want %q", r, c.want)
			}
			if alarms := m.alarmed(); (len(alarms) == 1 && alarms[0].Reason == grant.Clock) != (c.want == grant.Clock) {
				t.Fatalf("alarms %v", alarms)
			}
		})
	}
}

func TestP3_ADeniedClockStaysUntilItIsReset(t *testing.T) {
	m, _ := granted(t)
	m.pong(m.machine.plane().Add(-time.Hour))
	for range 3 {
		m.machine.pass(time.Second)
		m.pong(m.machine.plane())
		if r := m.reason(); r != grant.Clock {
			t.Fatalf("%q", r)
		}
	}
	if err := m.ResetClock(); err != nil {
		t.Fatal(err)
	}
	if r := m.reason(); r != grant.Stale {
		t.Fatalf("before the next Pong: %q", r)
	}
	m.pong(m.machine.plane())
	if r := m.reason(); r != "" || len(m.alarmed()) != 2 {
		t.Fatalf("%q, alarms %v: want the clock's and the reset", r, m.alarmed())
	}
}

func TestP1_NoGrantLongerThanTheCompiledCapIsHeld(t *testing.T) {
	m, id := newMemory(t), newIDs().next()
	_, nacks := m.swap(stripeApp(), refunds(id, refunder, grant.MaxTerm+time.Microsecond))
	m.pong(m.machine.plane())
	if len(nacks) != 1 || nacks[0].GetId() != id.String() || nacks[0].GetReason() != "unsupported_grant" {
		t.Fatalf("nacks %v", nacks)
	}
	if r := m.reason(); r != grant.UnsupportedGrant {
		t.Fatalf("%q", r)
	}
}

// TestP2_WhatIsNotUnderstoodWholeIsNotHeld changes a good grant in one place.
func TestP2_WhatIsNotUnderstoodWholeIsNotHeld(t *testing.T) {
	where := func(g *feed.Grant) *feed.Constraint { return g.GetRules()[0].GetWhere()[1] }
	for _, c := range []struct {
		name   string
		change func(*feed.Resource, *feed.Grant)
	}{
		{"reader", func(r *feed.Resource, _ *feed.Grant) { r.MinReader = Reader + 1 }},
		{"comparison", func(_ *feed.Resource, g *feed.Grant) { where(g).Op = "max_per_day" }},
		{"value type", func(_ *feed.Resource, g *feed.Grant) { where(g).Values[0].Type = "decimal" }},
		{"value", func(_ *feed.Resource, g *feed.Grant) { where(g).Values[0].Value = "5e2" }},
		{"two kinds of value", func(_ *feed.Resource, g *feed.Grant) {
			where(g).Op, where(g).Values = "in", append(where(g).GetValues(), &feed.Value{Type: "string", Value: "x"})
		}},
		{"no value", func(_ *feed.Resource, g *feed.Grant) { where(g).Values = nil }},
		{"no attribute", func(_ *feed.Resource, g *feed.Grant) { where(g).Attribute = "" }},
		{"class", func(_ *feed.Resource, g *feed.Grant) { g.Class = "nuclear" }},
		{"no class", func(_ *feed.Resource, g *feed.Grant) { g.Class = "" }},
		{"no rules", func(_ *feed.Resource, g *feed.Grant) { g.Rules = nil }},
		{"no operation", func(_ *feed.Resource, g *feed.Grant) { g.Rules[0].Operation = "" }},
		{"no end", func(_ *feed.Resource, g *feed.Grant) { g.NotAfterUs = 0 }},
		{"no beginning", func(_ *feed.Resource, g *feed.Grant) { g.NotBeforeUs = 0 }},
		{"end before beginning", func(_ *feed.Resource, g *feed.Grant) { g.NotAfterUs = g.GetNotBeforeUs() }},
		{"request id", func(_ *feed.Resource, g *feed.Grant) { g.Request = "req_1" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, id := granted(t)
			r := refunds(id, refunder, time.Hour)
			c.change(r, r.GetGrant())
			nacks := m.add(r)
			if len(nacks) != 1 || nacks[0].GetReason() != "unsupported_grant" || nacks[0].GetKind() != feed.KindGrant || nacks[0].GetDetail() == "" {
				t.Errorf("nacks %v", nacks)
			}
			if got := m.reason(); got != grant.UnsupportedGrant {
				t.Errorf("the older one under that id still decides: %q", got)
			}
			if got := m.Look(id, m.Now()); grant.ReasonOf(got) != grant.UnsupportedGrant {
				t.Errorf("last look: %v", got)
			}
		})
	}
}

func TestP4_ASnapshotOrDeltaBelowWhatIsAppliedIsRefused(t *testing.T) {
	m, _ := granted(t)
	below := m.at
	below.Revision--
	if _, _, err := feedtest.Swap(t.Context(), m, below, nil); err == nil {
		t.Error("an older snapshot was taken in")
	}
	for _, revision := range []int64{m.at.Revision, m.at.Revision - 1} {
		if _, _, err := m.Apply(t.Context(), &feed.Delta{Epoch: 1, Revision: revision}); err == nil {
			t.Errorf("delta %d after %d was taken in", revision, m.at.Revision)
		}
	}
	if err := m.Advance(below); err == nil {
		t.Error("advanced backwards")
	}
	if at, _ := m.Position(); at != m.at || m.reason() != "" {
		t.Errorf("at %v, %q: a refused change left a trace", at, m.reason())
	}
	if _, _, err := newMemory(t).Apply(t.Context(), &feed.Delta{Epoch: 1, Revision: 1}); err == nil {
		t.Error("a delta before any snapshot was taken in")
	}
}

func TestP4_ARevokeEndsTheGrantAndItsReceiptSaysWhatPassed(t *testing.T) {
	m, id := granted(t)
	gone := m.Gone(id)
	action := grant.NewMinter().NewActionID(noon())
	deadline := m.Now().Add(40 * time.Second)
	if err := m.LastLook(id, action, deadline, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	passed := m.Now()
	m.machine.pass(time.Second)
	r := m.revoke(id, grant.Revoked)
	if r.At != m.at || !r.LastAllowed.Equal(passed) || r.LastAction != action.String() || !r.Bounded.Equal(deadline.Add(answerLimit)) {
		t.Errorf("receipt %+v", r)
	}
	select {
	case <-gone:
	default:
		t.Error("who waits for the end of the grant was not told")
	}
	if got := m.reason(); got != grant.Revoked {
		t.Errorf("the next request: %q", got)
	}
	ran := false
	err := m.LastLook(id, action, deadline, func() error { ran = true; return nil })
	if grant.ReasonOf(err) != grant.Revoked || ran {
		t.Errorf("the last look of a waiting request: %v, ran %v", err, ran)
	}
	select {
	case <-m.Gone(id):
	default:
		t.Error("a grant that is gone is not Gone")
	}
	if again := m.revoke(id, grant.Revoked); !again.LastAllowed.IsZero() {
		t.Errorf("a second removal repeats figures: %+v", again)
	}
}

func TestAPassThatIsOverBoundsNothing(t *testing.T) {
	m, id := granted(t)
	if err := m.LastLook(id, grant.ActionID{}, m.Now(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	m.machine.pass(6 * time.Second)
	if r := m.revoke(id, grant.Revoked); !r.Bounded.IsZero() || r.LastAllowed.IsZero() {
		t.Fatalf("receipt %+v", r)
	}
}

func TestP4_ARevokeIsAcknowledgedOnlyAfterTheSectionsBeforeItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, id := granted(t)
		inside, leave := make(chan struct{}), make(chan struct{})
		go func() {
			_ = m.LastLook(id, grant.NewMinter().NewActionID(noon()), time.Time{}, func() error {
				close(inside)
				<-leave
				return nil
			})
		}()
		<-inside
		receipt := make(chan feed.Receipt, 1)
		go func() { receipt <- m.revoke(id, grant.Revoked) }()
		synctest.Wait()
		if len(receipt) != 0 {
			t.Fatal("acknowledged while an answer decided before is on its way")
		}
		if r := m.reason(); r != grant.Revoked {
			t.Fatalf("a new look does not see the revoke: %q", r)
		}
		close(leave)
		if r := <-receipt; r.LastAllowed.IsZero() {
			t.Fatalf("receipt %+v: want what passed in the section", r)
		}
	})
}

func TestP4_AnApplyThatWasGivenUpIsNotAcknowledged(t *testing.T) {
	m, id := granted(t)
	section := m.Enter()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.at.Revision += 2
	_, _, err := m.Apply(ctx, &feed.Delta{Epoch: 1, Revision: m.at.Revision, Removals: []*feed.Removal{{Kind: feed.KindGrant, Id: id.String(), Reason: "revoked"}}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if r := m.reason(); r != grant.Revoked {
		t.Fatalf("the removal is not in force: %q", r)
	}
	section.Leave()
}

func TestASnapshotThatLacksAGrantEndsIt(t *testing.T) {
	m, id := granted(t)
	stays := newIDs().next()
	m.add(refunds(stays, other, time.Hour))
	kept, gone := m.Gone(stays), m.Gone(id)
	action := grant.NewMinter().NewActionID(noon())
	if err := m.LastLook(id, action, time.Time{}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	same := refunds(stays, other, time.Hour)
	g, _ := m.state.Load().byID.get(stays)
	same.GetGrant().Request = g.request.String()
	r, _ := m.swap(stripeApp(), same)
	if r.LastAction != action.String() {
		t.Errorf("receipt %+v", r)
	}
	if got := m.reason(); got != grant.Revoked {
		t.Errorf("%q", got)
	}
	select {
	case <-kept:
		t.Error("a grant that stayed as it was is gone")
	case <-gone:
	default:
		t.Error("a grant that is missing is not gone")
	}
	if s := m.Status(); s.Grants != 1 || s.Past != 1 || !s.Filled || s.Apps != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestAGrantThatChangedIsGoneAsItWas(t *testing.T) {
	m, id := granted(t)
	gone := m.Gone(id)
	shorter := refunds(id, refunder, time.Minute)
	m.add(shorter)
	select {
	case <-gone:
	default:
		t.Fatal("who acts under the longer grant was not told")
	}
	if again := m.Gone(id); again == gone || m.reason() != "" {
		t.Fatalf("the changed grant is not in force: %q", m.reason())
	}
}

func TestPastGrantsAreForgotten(t *testing.T) {
	m, id := granted(t)
	m.revoke(id, grant.Revoked)
	m.machine.pass(keepPast - time.Second)
	m.pong(m.machine.plane())
	if err := m.Advance(m.at); err != nil || m.reason() != grant.Revoked {
		t.Fatalf("%v, %q", err, m.reason())
	}
	m.machine.pass(time.Second)
	m.pong(m.machine.plane())
	if err := m.Advance(m.at); err != nil || m.reason() != grant.NoGrant || m.Status().Past != 0 {
		t.Fatalf("%v, %q, %d past", err, m.reason(), m.Status().Past)
	}
	ids := newIDs()
	for range 3 * maxPastEach {
		one := ids.next()
		m.add(refunds(one, refunder, 23*time.Hour))
		m.revoke(one, grant.Revoked)
	}
	if n := m.Status().Past; n != maxPastEach {
		t.Fatalf("%d past grants of one principal are kept, want %d", n, maxPastEach)
	}
}

func TestUnknownFieldsDoNotSlipThroughTheTable(t *testing.T) {
	m, id := granted(t)
	r := proto.CloneOf(refunds(id, refunder, time.Hour))
	r.GetGrant().GetRules()[0].ProtoReflect().SetUnknown([]byte{0xc0, 0x0c, 0x01})
	if nacks := m.add(r); len(nacks) != 1 || m.reason() != grant.UnsupportedGrant {
		t.Fatalf("nacks %v, %q", nacks, m.reason())
	}
}
