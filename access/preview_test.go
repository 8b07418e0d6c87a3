package access_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

func TestAPreviewIsWhatTheRequestAnswers(t *testing.T) {
	with := func(a access.Ask, change func(*access.Ask)) access.Ask { change(&a); return a }
	for name, c := range map[string]struct {
		who string
		ask access.Ask
		age time.Duration // of the groups
	}{
		"waits":               {alice, refund(), 0},
		"at once":             {bob, reports(), 0},
		"too long for a rule": {bob, with(reports(), func(a *access.Ask) { a.Duration = time.Hour }), 0},
		"over the cap":        {bob, with(reports(), func(a *access.Ask) { a.Duration = 9 * time.Hour }), 0},
		"part of a second":    {bob, with(reports(), func(a *access.Ask) { a.Duration = time.Millisecond }), 0},
		"no reason":           {alice, with(refund(), func(a *access.Ask) { a.Reason = " " }), 0},
		"not eligible":        {erin, refund(), 0},
		"a wrong parameter":   {alice, with(refund(), func(a *access.Ask) { a.Params = map[string]string{"charge": "x"} }), 0},
		"no such entitlement": {alice, access.Ask{Entitlement: "stripe/refund"}, 0},
		"for another":         {alice, with(refund(), func(a *access.Ask) { a.For = principal(t, bob) }), 0},
		"old groups":          {alice, refund(), 16 * time.Minute},
		"too long a reason":   {alice, with(refund(), func(a *access.Ask) { a.Reason = strings.Repeat("x", 3000) }), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			caller := w.as(c.who)
			w.pass(c.age)
			before := len(w.leaves())
			seen, seenErr := w.Preview(t.Context(), caller, c.ask)
			if n := len(w.leaves()) - before; n != 0 {
				t.Errorf("a preview wrote %d leaves", n)
			}
			if list, err := w.Requests(t.Context(), caller, access.ListRequests{}); err != nil || len(list) != 0 {
				t.Errorf("a preview left %d requests, %v", len(list), err)
			}
			r, err := w.Request(t.Context(), caller, c.ask)
			if access.CodeOf(err) != access.CodeOf(seenErr) || err != nil && err.Error() != seenErr.Error() {
				t.Fatalf("preview %v, request %v", seenErr, err)
			}
			if err != nil {
				return
			}
			state := map[policy.Outcome]access.RequestState{policy.Granted: access.Approved, policy.NeedsApproval: access.Pending, policy.Denied: access.Denied}[seen.Outcome]
			if state != r.State || seen.Code != r.Code || seen.Sentence != r.Sentence {
				t.Errorf("preview %s %q %q, request %s %q %q", seen.Outcome, seen.Code, seen.Sentence, r.State, r.Code, r.Sentence)
			}
			if len(seen.Steps)+len(r.Steps) > 0 && !reflect.DeepEqual(seen.Steps, r.Steps) {
				t.Errorf("preview waits for %v, request for %v", seen.Steps, r.Steps)
			}
			if r.State == access.Denied {
				return
			}
			v, err := w.ShowRequest(t.Context(), caller, r.ID)
			if err != nil {
				t.Fatal(err)
			}
			var offer access.Offer
			if err := json.Unmarshal(v.OfferBytes, &offer); err != nil {
				t.Fatal(err)
			}
			for _, pair := range [][2]any{
				{seen.Offer.Operations, offer.Operations}, {seen.Offer.Params, offer.Params}, {seen.Offer.Limits, offer.Limits},
				{seen.Offer.Duration, offer.Duration}, {seen.Offer.Policy, offer.Policy}, {seen.Offer.Reason, offer.Reason},
			} {
				if !reflect.DeepEqual(pair[0], pair[1]) {
					t.Errorf("preview shows %v, the offer %v", pair[0], pair[1])
				}
			}
		})
	}
}

func TestAPreviewCountsWhatWaits(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.ask(w.as(alice), refund(), access.Pending)
	}
	_, err := w.Preview(t.Context(), w.as(alice), refund())
	wantCode(t, err, access.CodePendingLimit)
	_, err = w.Preview(t.Context(), access.Caller{}, refund())
	wantCode(t, err, access.CodeNoSession)
}

func TestAPreviewKnowsABetterDuration(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		ask  time.Duration
		want access.Instead
	}{
		"granted already": {15 * time.Minute, access.Instead{}},
		"waits":           {2 * time.Hour, access.Instead{Duration: 30 * time.Minute, Outcome: policy.Granted}},
		"over the cap":    {9 * time.Hour, access.Instead{Duration: 8 * time.Hour, Outcome: policy.NeedsApproval}},
	} {
		a := reports()
		a.Duration = c.ask
		got, err := w.Preview(t.Context(), w.as(bob), a)
		if err != nil || got.Instead != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got.Instead, err, c.want)
		}
	}
	// What is asked of people at any length has no better one.
	if got, err := w.Preview(t.Context(), w.as(alice), refund()); err != nil || got.Instead != (access.Instead{}) {
		t.Errorf("%v, %v", got.Instead, err)
	}
}

func TestChoices(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		caller access.Caller
		want   map[string]string
	}{
		"support":     {w.as(alice), map[string]string{"reports/read": policy.DenyNotEligible, "stripe/refunds": ""}},
		"engineer":    {w.as(bob), map[string]string{"reports/read": "", "stripe/refunds": policy.DenyNotEligible}},
		"nobody's":    {w.as(erin), map[string]string{"reports/read": policy.DenyNotEligible, "stripe/refunds": policy.DenyNotEligible}},
		"a workload":  {w.as(refunder), map[string]string{"reports/read": policy.DenyNotEligible, "stripe/refunds": ""}},
		"groups past": {access.Caller{Principal: principal(t, alice), Groups: []identity.Group{}}, map[string]string{"reports/read": policy.DenyLoginAgain, "stripe/refunds": policy.DenyLoginAgain}},
	} {
		got, err := w.Choices(t.Context(), c.caller)
		got = slices.DeleteFunc(got, func(one access.Choice) bool { return one.App == policy.OwnApp })
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("%s: %d choices, %v", name, len(got), err)
		}
		for _, one := range got {
			if one.Barred != c.want[one.Name] {
				t.Errorf("%s: %s is barred by %q, want %q", name, one.Name, one.Barred, c.want[one.Name])
			}
		}
	}
}

func TestDurations(t *testing.T) {
	m, h := time.Minute, time.Hour
	for name, c := range map[string]struct {
		e    policy.Entitlement
		want []time.Duration
	}{
		"a long one":  {policy.Entitlement{Default: 30 * m, Max: 8 * h}, []time.Duration{15 * m, 30 * m, h, 2 * h, 4 * h, 8 * h}},
		"a short one": {policy.Entitlement{Default: 5 * m, Max: 10 * m}, []time.Duration{5 * m, 10 * m}},
		"odd ones":    {policy.Entitlement{Default: 20 * m, Max: 50 * m}, []time.Duration{15 * m, 20 * m, 30 * m, 50 * m}},
	} {
		if got := access.Durations(&c.e); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
