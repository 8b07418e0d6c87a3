package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// idleWorld is a world in which refunds end after 15 minutes without use, and whose
// mayflyd has run long enough to say so.
func idleWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.apply("entitlements/stripe/refunds.yaml", "default: 30m, idle_after: 15m", "default: 2h, idle_after: 15m")
	w.sweep()
	w.pass(time.Minute)
	return w
}

func (w *world) sweep() {
	w.t.Helper()
	if err := w.Sweep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stateOf(id grant.GrantID) access.GrantView {
	w.t.Helper()
	return must(w.ShowGrant(w.t.Context(), w.as(refunder), id))
}

// A grant that nobody uses ends, is off the feed, and says why; the record has it.
func TestAGrantThatNobodyUsesEnds(t *testing.T) {
	w := idleWorld(t)
	i := w.join("1")
	r := w.granted()
	w.pass(15*time.Minute - time.Second)
	w.beat(i)
	w.sweep()
	if v := w.stateOf(r.Grant); v.State != grant.Active || v.IdleAfter != 15*time.Minute || !v.LastUse.IsZero() {
		t.Fatalf("before its time: %s, %s, %s", v.State, v.IdleAfter, v.LastUse)
	}
	before, head := len(w.leaves()), w.head()
	w.pass(2 * time.Second)
	w.sweep()
	v := w.stateOf(r.Grant)
	if v.State != grant.EndedState || v.EndedEarly != grant.Idle || grant.ReasonOf(v.InForce(v.Now)) != grant.Idle {
		t.Errorf("%s by %q", v.State, v.EndedEarly)
	}
	if v.Ending == nil || len(v.Ending.Waits) != 1 || v.Ending.Waits[0].Instance != i {
		t.Errorf("the gateway's word on it is not awaited: %+v", v.Ending)
	}
	if got := w.types(before); got != "grant.idle" {
		t.Errorf("leaves %q", got)
	}
	changes, kept, err := w.Source().Changes(t.Context(), head, w.head())
	if err != nil || !kept || len(changes) != 1 || len(changes[0].Removals) != 1 || changes[0].Removals[0].GetReason() != "idle" {
		t.Errorf("on the feed: %v, %v", changes, err)
	}
	w.sweep()
	if got := w.types(before); got != "grant.idle" {
		t.Errorf("after one more sweep: leaves %q", got)
	}
}

// Each use that the record tells of begins the time anew; a gateway whose clock is
// ahead wins nothing by it.
func TestUsesKeepAGrant(t *testing.T) {
	w := idleWorld(t)
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	use := func(at time.Duration) {
		t.Helper()
		_, intent := s.intent(r)
		s.ahead = at
		must(w.Source().Ingest(t.Context(), i, s.segment(intent)))
	}
	w.pass(10 * time.Minute)
	use(11 * time.Minute)
	if v := w.stateOf(r.Grant); !v.LastUse.Equal(epoch.Add(11 * time.Minute)) {
		t.Errorf("last used at %s", v.LastUse)
	}
	w.pass(14 * time.Minute)
	w.sweep()
	if v := w.stateOf(r.Grant); v.State != grant.Active {
		t.Fatalf("14 minutes after its use: %s", v.State)
	}
	use(24 * time.Hour)
	if v := w.stateOf(r.Grant); !v.LastUse.Equal(v.Now) {
		t.Errorf("used at %s by a clock that is ahead; here it is %s", v.LastUse, v.Now)
	}
	w.pass(15 * time.Minute)
	w.sweep()
	if v := w.stateOf(r.Grant); v.State != grant.EndedState {
		t.Errorf("15 minutes after its last use: %s", v.State)
	}
}

// A stream that goes on under another grant is a use of that one, and stands in the
// traces of both.
func TestAStreamThatGoesOnStandsUnderBothGrants(t *testing.T) {
	w := idleWorld(t)
	i, s := w.join("1"), newSpool(t)
	first, second := w.granted(), w.granted()
	w.pass(time.Minute)
	s.ahead = time.Hour // counts as now
	id, intent := s.intent(first)
	must(w.Source().Ingest(t.Context(), i, s.segment(intent,
		audit.Rebound{Action: id.String(), From: first.Grant.String(), Grant: second.Grant.String()},
		audit.Outcome{Action: id.String(), Result: audit.ResultSent})))
	if v := w.stateOf(second.Grant); !v.LastUse.Equal(v.Now) {
		t.Errorf("the other grant was last used at %s", v.LastUse)
	}
	for _, of := range []string{first.Grant.String(), second.Grant.String(), id.String()} {
		x, err := w.Trace(t.Context(), w.as(refunder), of)
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, r := range x.Records {
			if r.Place.Spool != "" {
				actions = append(actions, string(r.Record.Type))
			}
		}
		if got := strings.Join(actions, " "); got != "action.intent action.rebound action.outcome" {
			t.Errorf("the trace of %s: %s", of, got)
		}
	}
}

// What was done while no mayflyd ran may be on its way: for half a minute after a
// start nothing ends for want of use.
func TestAfterAStartUsesAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.apply("entitlements/stripe/refunds.yaml", "default: 30m, idle_after: 15m", "default: 2h, idle_after: 15m")
	r := w.granted()
	w.pass(20 * time.Minute)
	w.sweep() // the first one
	w.pass(29 * time.Second)
	w.sweep()
	if v := w.stateOf(r.Grant); v.State != grant.Active {
		t.Fatalf("%s within half a minute", v.State)
	}
	w.pass(time.Second)
	w.sweep()
	if v := w.stateOf(r.Grant); v.State != grant.EndedState {
		t.Errorf("%s after it", v.State)
	}
}

// The Offer says it, so whoever approves knows it.
func TestTheOfferSaysHowLongAGrantMayLieUnused(t *testing.T) {
	w := idleWorld(t)
	r := w.ask(w.as(refunder), refund(), access.Pending)
	v := must(w.ShowRequest(t.Context(), w.as(bob), r.ID))
	if want := `"idle_after_s":"900"`; !strings.Contains(string(v.OfferBytes), want) {
		t.Errorf("%s lacks %s", v.OfferBytes, want)
	}
}
