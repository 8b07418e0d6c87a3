package access_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/scope"
)

// refusal ships a denial of the refunder, and returns its id.
func (w *world) refusal(s *spool, code grant.Reason, change func(*audit.Denied)) string {
	w.t.Helper()
	id := s.minter.NewDenialID(epoch)
	d := audit.Denied{Denial: id.String(), Code: string(code), Try: audit.Try{
		Action: s.minter.NewActionID(epoch).String(), Principal: refunder, App: "stripe", Operation: "refunds.create", Class: "money",
		Attributes: map[string]audit.Attr{"charge": {Value: "ch_1"}, "amount": {Value: "4200"}}, Epoch: 1, Revision: 17, FreshnessMS: 40,
	}}
	if change != nil {
		change(&d)
	}
	s.ahead = w.clock().Sub(epoch)
	if _, err := w.Source().Ingest(w.t.Context(), w.instance("1"), s.segment(d)); err != nil {
		w.t.Fatal(err)
	}
	return id.String()
}

func TestP8_ADenialIsExplained(t *testing.T) {
	amount := func(text string) func(*audit.Denied) {
		return func(d *audit.Denied) { d.Attributes["amount"] = audit.Attr{Value: text} }
	}
	for _, c := range []struct {
		name   string
		held   func(*world) // before
		code   grant.Reason
		change func(*audit.Denied)
		near   access.NearMiss // reason, attribute, hidden
		says   string
		ask    string // parameters of the first suggestion; "none": there is none
		advice string
	}{
		{name: "nothing is held", code: grant.NoGrant, ask: "ch_1 4200"},
		{name: "the amount", held: func(w *world) { w.granted() }, code: grant.ConstraintUnmet, change: amount("6000"),
			near: access.NearMiss{Reason: grant.ConstraintUnmet, Attribute: "amount", Value: "6000"}, says: "refunds.create has amount 6000: granted is amount at most 5000", ask: "ch_1 6000"},
		{name: "an amount that nobody may ask for", code: grant.NoGrant, change: amount("60000"), ask: "denied"},
		{name: "another charge, by HMAC only", held: func(w *world) { w.granted() }, code: grant.ConstraintUnmet,
			change: func(d *audit.Denied) { d.Attributes["charge"] = audit.Attr{HMAC: strings.Repeat("0", 64)} },
			near:   access.NearMiss{Reason: grant.ConstraintUnmet, Attribute: "charge", Hidden: true}, says: "by HMAC only", ask: "missing charge"},
		{name: "an hour too late", held: func(w *world) { w.granted(); w.pass(time.Hour) }, code: grant.Ended,
			near: access.NearMiss{Reason: grant.Ended}, says: "ended at", ask: "ch_1 4200"},
		{name: "revoked", held: func(w *world) {
			r := w.granted()
			if _, err := w.Revoke(w.t.Context(), w.as(dave), r.Grant, "x"); err != nil {
				w.t.Fatal(err)
			}
		}, code: grant.Revoked, near: access.NearMiss{Reason: grant.Revoked}, says: "was revoked at", ask: "ch_1 4200"},
		{name: "stale", held: func(w *world) { w.granted() }, code: grant.Stale, says: "this grant covered the request", ask: "ch_1 4200", advice: "had not heard from mayflyd"},
		{name: "an operation of nobody", held: func(w *world) { w.granted() }, code: grant.OutOfScope,
			change: func(d *audit.Denied) { d.Operation = "payouts.create" }, near: access.NearMiss{Reason: grant.OutOfScope}, says: "payouts.create is not among the granted operations", ask: "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.join("1")
			if c.held != nil {
				c.held(w)
			}
			x, err := w.Explain(t.Context(), w.as(refunder), w.refusal(newSpool(t), c.code, c.change))
			if err != nil {
				t.Fatal(err)
			}
			if x.Try.Code != c.code || x.Try.Revision != 17 || x.Try.FreshnessMS != 40 || x.AppOwner != "team-payments" || !strings.Contains(x.Try.Advice, c.advice) || c.advice == "" && x.Try.Advice != "" {
				t.Errorf("%+v", x.Try)
			}
			if (len(x.Try.Near) == 1) != (c.held != nil) {
				t.Fatalf("near %+v", x.Try.Near)
			}
			if c.held != nil {
				n := x.Try.Near[0]
				if n.Reason != c.near.Reason || n.Attribute != c.near.Attribute || n.Hidden != c.near.Hidden || n.Value != c.near.Value || !strings.Contains(n.Sentence, c.says) {
					t.Errorf("%+v, want %+v saying %q", n, c.near, c.says)
				}
			}
			if c.ask == "none" {
				if len(x.Try.Asks) != 0 || len(x.Help) == 0 {
					t.Errorf("asks %+v", x.Try.Asks)
				}
				return
			}
			if len(x.Try.Asks) != 1 {
				t.Fatalf("asks %+v", x.Try.Asks)
			}
			a := x.Try.Asks[0]
			switch {
			case c.ask == "denied":
				if !a.Tried || a.Outcome != policy.Denied || a.Why == "" {
					t.Errorf("%+v", a)
				}
				return
			case strings.HasPrefix(c.ask, "missing"):
				if a.Tried || strings.Join(a.Missing, " ") != "charge" {
					t.Errorf("%+v", a)
				}
				return
			}
			if got := a.Params["charge"] + " " + a.Params["amount_max"]; got != c.ask || a.Outcome != policy.NeedsApproval || a.Owner != "team-payments" {
				t.Fatalf("%+v", a)
			}
			w.follow(a, x.Try)
		})
	}
}

// A suggestion that policy would grant, and that yet leaves out what was denied, is told
// as what it is.
func TestP8_ASuggestionCoversWhatWasDenied(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	w.apply("entitlements/stripe/refunds.yaml", "amount: {max: $amount_max}", "amount: {max: 100}", "  amount_max: {type: minor_units, required: true, min: 1, max: 50000}\n", "")
	x, err := w.Explain(t.Context(), w.as(refunder), w.refusal(newSpool(t), grant.NoGrant, nil))
	if err != nil || len(x.Try.Asks) != 1 || x.Try.Asks[0].Outcome != policy.Denied || !strings.Contains(x.Try.Asks[0].Why, "does not reach this far") {
		t.Fatalf("%+v, %v", x.Try, err)
	}
}

// follow asks for what was suggested: the grant that comes of it covers what was denied.
func (w *world) follow(a access.Covering, try *access.ExplainedTry) {
	w.t.Helper()
	ask := a.Ask
	ask.Reason = "as denied"
	r := w.ask(w.as(refunder), ask, access.Pending)
	r, err := w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, "")
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := w.ShowGrant(w.t.Context(), w.as(refunder), r.Grant)
	if err != nil {
		w.t.Fatal(err)
	}
	op := scope.Operation{App: "stripe", Name: try.Operation, Attributes: scope.Attributes{}}
	for _, one := range try.Attributes {
		kind := scope.TypeString
		if one.Name == "amount" {
			kind = scope.TypeMinorUnits
		}
		if op.Attributes[one.Name], err = scope.ParseValue(kind, one.Value); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := g.Permits(principal(w.t, refunder), op, w.clock()); err != nil {
		w.t.Errorf("the suggestion was followed, and it is denied still: %v", err)
	}
}

// TestP8_WhatRequestsAreToldHelps asks again as an explanation says.
func TestP8_WhatRequestsAreToldHelps(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		who  string
		ask  access.Ask
		want access.RequestState // of the request that is explained
		says string
		then access.RequestState // of the request that follows the first change
	}{
		"too long for the rule": {carol, access.Ask{Entitlement: "reports/read", Duration: 2 * time.Hour}, access.Pending, "30m instead of 2h", access.Approved},
		"over the cap":          {carol, access.Ask{Entitlement: "reports/read", Duration: 9 * time.Hour}, access.Denied, "30m instead of 9h", access.Approved},
		"without words":         {alice, access.Ask{Entitlement: "stripe/refunds", Params: refund().Params}, access.Denied, "a justification in words", access.Pending},
	} {
		r := w.ask(w.as(c.who), c.ask, c.want)
		x, err := w.Explain(t.Context(), w.as(c.who), r.ID.String())
		if err != nil || len(x.Remedies) == 0 {
			t.Fatalf("%s: %+v, %v", name, x.Remedies, err)
		}
		edit := x.Remedies[0].Edits[0]
		if len(x.Remedies[0].Edits) != 1 || edit.Text != c.says {
			t.Errorf("%s: %+v, want %q", name, x.Remedies[0].Edits, c.says)
		}
		again := c.ask
		again.Duration = x.Remedies[0].Input.Duration
		if edit.Kind == policy.EditJustification {
			again.Reason = "the parcel was lost"
		}
		w.ask(w.as(c.who), again, c.then)
	}
}

func TestP8_ExplainSaysWhoApprovedAndWhoOwns(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	for _, id := range []string{r.ID.String(), r.Grant.String(), r.Offer.String()} {
		x, err := w.Explain(t.Context(), w.as(refunder), id)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if x.Owner != "team-payments" || x.AppOwner != "team-payments" || x.Request.ID != r.ID || x.Grant == nil || len(x.Decisions) != 2 {
			t.Errorf("%s: %+v", id, x)
		}
		steps := x.Decisions[0].Steps
		if len(steps) != 1 || len(steps[0].Said) != 1 || steps[0].Said[0].Approver.String() != bob {
			t.Errorf("steps %+v", steps)
		}
	}
	// Only by rule, and whose rule it is.
	byRule := w.ask(w.as(carol), reports(), access.Approved)
	x, err := w.Explain(t.Context(), w.as(carol), byRule.Grant.String())
	if err != nil || x.Owner != "team-data" || x.Decisions[0].Trail.Condition.Value != "true" {
		t.Fatalf("%+v, %v", x, err)
	}
	// One that was refused by somebody: another one can be asked.
	pending := w.ask(w.as(refunder), refund(), access.Pending)
	if _, err := w.Deny(t.Context(), w.as(bob), pending.ID, "no"); err != nil {
		t.Fatal(err)
	}
	x, err = w.Explain(t.Context(), w.as(refunder), pending.ID.String())
	if err != nil || !slices.ContainsFunc(x.Help, func(h string) bool { return strings.Contains(h, "another one can answer") }) {
		t.Fatalf("%v, %v", x.Help, err)
	}
}

// TestP8_AnExplanationIsForThoseWhoMaySeeIt asks about others' in every way.
func TestP8_AnExplanationIsForThoseWhoMaySeeIt(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	action, intent := s.intent(r)
	if _, err := w.Source().Ingest(ctx, i, s.segment(intent)); err != nil {
		t.Fatal(err)
	}
	denial := w.refusal(s, grant.ConstraintUnmet, nil)
	var asking sync.WaitGroup // an answer of not found takes its time
	for _, c := range []struct {
		who             string
		request, grants access.Code
		try             access.Code // of the action and of the denial
	}{
		{refunder, "", "", ""},
		{bob, "", access.CodeNotFound, access.CodeNotFound}, // who approved
		{alice, access.CodeNotFound, access.CodeNotFound, access.CodeNotFound},
		{erin, access.CodeNotFound, access.CodeNotFound, access.CodeNotFound},
		{dave, "", "", access.CodeNoGrant}, // security: not what was done with it
	} {
		caller := w.as(c.who)
		for id, want := range map[string]access.Code{r.ID.String(): c.request, r.Grant.String(): c.grants, action.String(): c.try, denial: c.try} {
			asking.Go(func() {
				x, err := w.Explain(ctx, caller, id)
				if got := access.CodeOf(err); got != want {
					t.Errorf("%s about %s: %q, want %q", c.who, id, got, want)
				}
				if err == nil && c.who == bob && x.Grant != nil {
					t.Error("an approver is told of the grant")
				}
				if want == access.CodeNotFound {
					none := strings.Split(id, "_")[0] + "_01JZZZZZZZZZZZZZZZZZZZZZZZ"
					_, absent := w.Explain(ctx, caller, none)
					if err != nil && strings.ReplaceAll(err.Error(), id, "ID") != strings.ReplaceAll(absent.Error(), none, "ID") {
						t.Errorf("%s about %s: %q, and about none %q", c.who, id, err, absent)
					}
				}
			})
		}
	}
	asking.Wait()
	_, err := w.Explain(ctx, access.Caller{}, denial)
	wantCode(t, err, access.CodeNoSession)
	began := time.Now()
	_, err = w.Explain(ctx, w.as(alice), denial)
	wantCode(t, err, access.CodeNotFound)
	if took := time.Since(began); took < denialWait {
		t.Errorf("answered about another's denial after %s: sooner than about none", took)
	}
	// Under a grant to investigate it is told, and that it was is on the record.
	w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/investigate", Reason: "a refusal at night"}, access.Approved)
	before := len(w.leaves())
	x, err := w.Explain(ctx, w.as(dave), denial)
	if err != nil || len(x.Try.Near) != 1 || x.Try.Asks[0].Tried {
		t.Fatalf("%+v, %v", x.Try, err)
	}
	if got := w.types(before); got != "administration" {
		t.Errorf("leaves %q", got)
	}
}

func TestExplainWaitsForAnOwnDenial(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	s := newSpool(t)
	id := s.minter.NewDenialID(epoch)
	seg := s.segment(audit.Denied{Denial: id.String(), Code: "no_grant", Try: audit.Try{
		Action: s.minter.NewActionID(epoch).String(), Principal: refunder, App: "stripe", Operation: "charges.retrieve",
	}})
	arrived := make(chan error, 1)
	go func() {
		_, err := w.Explain(t.Context(), w.as(refunder), id.String())
		arrived <- err
	}()
	if _, err := w.Source().Ingest(t.Context(), w.instance("1"), seg); err != nil {
		t.Fatal(err)
	}
	if err := <-arrived; err != nil {
		t.Fatal(err)
	}
}

func TestExplainOfNonsenseIsNotFound(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"", "nonsense", "grt_1", "req_1", "' OR 1=1"} {
		_, err := w.Explain(t.Context(), w.as(dave), id)
		wantCode(t, err, access.CodeNotFound)
	}
}

func TestTheFirstAdministratorsGrantIsExplained(t *testing.T) {
	w := newWorld(t)
	if made, err := w.FirstAdministrator(t.Context(), principal(t, erin), time.Hour); !made || err != nil {
		t.Fatal(made, err)
	}
	list, err := w.Grants(t.Context(), w.as(erin), access.ListGrants{})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	x, err := w.Explain(t.Context(), w.as(erin), list[0].ID.String())
	if err != nil || len(x.Decisions) != 0 || len(x.Help) != 1 || !strings.Contains(x.Help[0], "first administrator") {
		t.Fatalf("%+v, %v", x, err)
	}
}
