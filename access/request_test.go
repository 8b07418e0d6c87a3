package access_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

func TestRequest(t *testing.T) {
	for _, c := range []struct {
		name   string
		who    string
		change func(*access.Ask)
		state  access.RequestState // "" is a fault
		code   string              // of the request, or of the fault
		leaves string
	}{
		{"waits for its steps", alice, nil, access.Pending, "", "request.created offer.made decision.made"},
		{"a workload asks", refunder, nil, access.Pending, "", "request.created offer.made decision.made"},
		{"by rule", carol, func(a *access.Ask) { *a = reports() }, access.Approved, "", "request.created offer.made decision.made request.approved grant.created"},
		{"the rule is false", carol, func(a *access.Ask) { *a = reports(); a.Duration = time.Hour }, access.Pending, "", "request.created offer.made decision.made"},
		{"not eligible is stored", erin, nil, access.Denied, policy.DenyNotEligible, "request.created decision.made request.denied"},
		{"over the cap is stored", alice, func(a *access.Ask) { a.Duration = 3 * time.Hour }, access.Denied, policy.DenyMaxDuration, "request.created decision.made request.denied"},
		{"without words", alice, func(a *access.Ask) { a.Reason = " " }, access.Denied, policy.DenyJustification, "request.created decision.made request.denied"},
		{"unknown entitlement", alice, func(a *access.Ask) { a.Entitlement = "stripe/refund" }, "", "invalid", ""},
		{"unknown parameter", alice, func(a *access.Ask) { a.Params["card"] = "1" }, "", "invalid", ""},
		{"bad parameter", alice, func(a *access.Ask) { a.Params["charge"] = "ch_1/../x" }, "", "invalid", ""},
		{"not whole seconds", alice, func(a *access.Ask) { a.Duration = time.Millisecond }, "", "invalid", ""},
		{"negative duration", alice, func(a *access.Ask) { a.Duration = -time.Hour }, "", "invalid", ""},
		{"a reason that is not text", alice, func(a *access.Ask) { a.Reason = "\xff" }, "", "invalid", ""},
		{"a reason without end", alice, func(a *access.Ask) { a.Reason = strings.Repeat("a", 2001) }, "", "invalid", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			before, a := len(w.leaves()), refund()
			if c.change != nil {
				c.change(&a)
			}
			r, err := w.Request(t.Context(), w.as(c.who), a)
			if got := w.types(before); got != c.leaves {
				t.Errorf("leaves %q, want %q", got, c.leaves)
			}
			if c.state == "" {
				wantCode(t, err, access.Code(c.code))
				return
			}
			if err != nil || r.State != c.state || r.Code != c.code {
				t.Fatalf("state %s, code %q (%s), error %v", r.State, r.Code, r.Sentence, err)
			}
			got, err := w.ShowRequest(t.Context(), w.as(c.who), r.ID)
			if err != nil || got.State != r.State || got.Sentence != r.Sentence {
				t.Fatalf("stored %s %q, %v", got.State, got.Sentence, err)
			}
		})
	}
}

func TestRequestForSomebodyElseIsDenied(t *testing.T) {
	w := newWorld(t)
	a := refund()
	a.For = principal(t, bob)
	if r := w.ask(w.as(alice), a, access.Denied); r.Code != policy.DenyBeneficiary {
		t.Fatalf("code %s", r.Code)
	}
}

func TestRequestWithOldGroups(t *testing.T) {
	w := newWorld(t)
	c := w.as(alice)
	w.pass(15*time.Minute + time.Second)
	_, err := w.Request(t.Context(), c, refund())
	wantCode(t, err, access.CodeLoginAgain)
}

func TestP1_EveryGrantHasAnEnd(t *testing.T) {
	w := newWorld(t)
	a := reports()
	a.Duration = 30 * time.Minute
	r := w.ask(w.as(carol), a, access.Approved)
	g, err := w.ShowGrant(t.Context(), w.as(carol), r.Grant)
	if err != nil {
		t.Fatal(err)
	}
	if !g.NotBefore.Equal(w.clock()) || g.NotAfter.Sub(g.NotBefore) != 30*time.Minute {
		t.Fatalf("from %s to %s, now %s", g.NotBefore, g.NotAfter, w.clock())
	}
	w.pass(30 * time.Minute)
	if g, err = w.ShowGrant(t.Context(), w.as(carol), r.Grant); err != nil || g.State != grant.EndedState {
		t.Fatalf("state %s at its end, %v", g.State, err)
	}
	// What the service does not make, the database does not take.
	err = w.store.Update(t.Context(), func(tx access.Tx) error {
		endless := g.Grant
		endless.NotAfter = endless.NotBefore.Add(25 * time.Hour)
		return tx.Grants().Insert(t.Context(), endless, nil, "")
	})
	if err == nil {
		t.Fatal("a grant longer than the compiled cap was stored")
	}
}

func TestPendingLimit(t *testing.T) {
	w := newWorld(t)
	var last access.Request
	for range 5 {
		last = w.ask(w.as(refunder), refund(), access.Pending)
	}
	_, err := w.Request(t.Context(), w.as(refunder), refund())
	wantCode(t, err, access.CodePendingLimit)
	w.ask(w.as(alice), refund(), access.Pending) // another's are not counted
	if _, err := w.Withdraw(t.Context(), w.as(refunder), last.ID); err != nil {
		t.Fatal(err)
	}
	w.ask(w.as(refunder), refund(), access.Pending)
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	a := refund()
	a.IdempotencyKey = "k1"
	first := w.ask(w.as(refunder), a, access.Pending)
	before := len(w.leaves())
	if again := w.ask(w.as(refunder), a, access.Pending); again.ID != first.ID || len(w.leaves()) != before {
		t.Fatalf("a repeated call asked again: %s, then %s", first.ID, again.ID)
	}
	if other := w.ask(w.as(alice), a, access.Pending); other.ID == first.ID {
		t.Fatal("a key is shared between principals")
	}
	a.Params = map[string]string{"charge": "ch_2", "amount_max": "1"}
	_, err := w.Request(t.Context(), w.as(refunder), a)
	wantCode(t, err, access.CodeKeyReused)
	w.pass(24*time.Hour + time.Second)
	if r := w.ask(w.as(refunder), a, access.Pending); r.ID == first.ID {
		t.Fatal("the key answers after a day")
	}
}

func TestOfferIsWhatIsHashed(t *testing.T) {
	w := newWorld(t)
	r := w.ask(w.as(refunder), refund(), access.Pending)
	v, err := w.ShowRequest(t.Context(), w.as(refunder), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if audit.SHA256(v.OfferBytes).String() != r.OfferDigest {
		t.Fatal("the digest is not that of the bytes")
	}
	canonical, err := audit.Canonicalize(v.OfferBytes)
	if err != nil || string(canonical) != string(v.OfferBytes) {
		t.Fatalf("not canonical: %v", err)
	}
	var o access.Offer
	if err := json.Unmarshal(v.OfferBytes, &o); err != nil {
		t.Fatal(err)
	}
	if o.Requester.Principal != refunder || o.Duration != "1800" || o.Reason != "the parcel was lost" || len(o.Operations) != 2 ||
		o.Operations[0].Name != "charges.retrieve" || o.Operations[1].Where[0].Words != "amount at most 5000" || o.Operations[1].Where[0].Unit != "minor_units" {
		t.Fatalf("offer %s", v.OfferBytes)
	}
	for _, leaf := range w.leaves() {
		text, err := json.Marshal(leaf.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"parcel", refunder, alice, "ch_1"} {
			if strings.Contains(string(text), personal) {
				t.Errorf("leaf %s tells %q", leaf.Type, personal)
			}
		}
	}
}

func TestP8_DecisionsAreMadeAgainFromWhatIsStored(t *testing.T) {
	w := newWorld(t)
	ids := []grant.RequestID{w.granted().ID, w.ask(w.as(erin), refund(), access.Denied).ID, w.ask(w.as(carol), reports(), access.Approved).ID}
	w.apply("entitlements/stripe/refunds.yaml", "max: 50000", "max: 100") // today's policy is another
	for _, id := range ids {
		x, err := w.Explain(t.Context(), w.as(dave), id.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range x.Decisions {
			if d.Replay != access.ReplaySame || len(d.Reasons) == 0 {
				t.Errorf("%s at %s: %s (%s), reasons %v", id, d.When, d.Replay, d.Detail, d.Reasons)
			}
		}
	}
	if x, err := w.Explain(t.Context(), w.as(dave), ids[0].String()); err != nil || len(x.Decisions) != 2 || x.Decisions[1].When != access.AtActivation {
		t.Fatalf("decisions %v, %v", x.Decisions, err)
	}
	// A stored input that was changed afterwards is told.
	err := w.store.Update(t.Context(), func(tx access.Tx) error {
		r, err := tx.Requests().Get(t.Context(), ids[1])
		if err != nil {
			return err
		}
		r.Inputs = []byte(strings.Replace(string(r.Inputs), `"groups":[]`, `"groups":["group:idp/support"]`, 1))
		return tx.Requests().Update(t.Context(), r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if x, err := w.Explain(t.Context(), w.as(dave), ids[1].String()); err != nil || x.Decisions[0].Replay != access.ReplayMismatch {
		t.Fatalf("replay %+v, %v", x.Decisions, err)
	}
}

func TestNoPolicyNoRequest(t *testing.T) {
	w := newWorld(t)
	err := w.store.View(t.Context(), func(tx access.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: map[string][]byte{"mayfly.yaml": []byte("nonsense: 1\n")}, Commit: "x", After: w.commit})
	if err == nil {
		t.Fatal("a broken policy entered into force")
	}
	w.ask(w.as(refunder), refund(), access.Pending) // the one in force stays
	w.view(func(ctx context.Context, tx access.Tx) error {
		_, commit, err := tx.Policies().Head(ctx)
		if commit != w.commit {
			t.Errorf("in force is %s", commit)
		}
		return err
	})
}
