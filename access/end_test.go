package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

func TestRevokeIsForSecurityAndFinishForTheHolder(t *testing.T) {
	for _, c := range []struct {
		name   string
		verb   string
		caller func(*world) access.Caller
		want   access.Code
		leaf   string
		state  grant.State
	}{
		{"security revokes", "revoke", func(w *world) access.Caller { return w.as(dave) }, "", "grant.revoked", grant.RevokedState},
		{"the holder revokes: it is finished", "revoke", func(w *world) access.Caller { return w.as(refunder) }, "", "grant.finished", grant.EndedState},
		{"its approver does not", "revoke", func(w *world) access.Caller { return w.as(bob) }, access.CodeNotFound, "", grant.Active},
		{"a stranger does not", "revoke", func(w *world) access.Caller { return w.as(erin) }, access.CodeNotFound, "", grant.Active},
		{"security with old groups", "revoke", func(w *world) access.Caller { c := w.as(dave); w.pass(16 * time.Minute); return c }, access.CodeLoginAgain, "", grant.Active},
		{"a workload that claims the group", "revoke", func(w *world) access.Caller { return w.in("spiffe://acme.example/x", "security") }, access.CodeNotFound, "", grant.Active},
		{"nobody", "revoke", func(w *world) access.Caller { return access.Caller{} }, access.CodeNotFound, "", grant.Active},
		{"the holder finishes", "finish", func(w *world) access.Caller { return w.as(refunder) }, "", "grant.finished", grant.EndedState},
		{"security does not finish", "finish", func(w *world) access.Caller { return w.as(dave) }, access.CodeNotEligible, "", grant.Active},
		{"to a stranger there is nothing to finish", "finish", func(w *world) access.Caller { return w.as(erin) }, access.CodeNotFound, "", grant.Active},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.granted()
			caller := c.caller(w)
			before, head := len(w.leaves()), w.head()
			wakes := w.woken()
			end := w.Finish
			if c.verb == "revoke" {
				end = func(ctx ctxT, c access.Caller, id grant.GrantID) (access.Revocation, error) {
					return w.Revoke(ctx, c, id, "why")
				}
			}
			_, err := end(t.Context(), caller, r.Grant)
			wantCode(t, err, c.want)
			if got := w.types(before); got != c.leaf {
				t.Errorf("leaves %q, want %q", got, c.leaf)
			}
			g, err := w.ShowGrant(t.Context(), w.as(refunder), r.Grant)
			if err != nil || g.State != c.state {
				t.Fatalf("state %s, %v", g.State, err)
			}
			if c.want != "" {
				if w.head() != head || w.woken() != wakes {
					t.Error("the feed moved")
				}
				return
			}
			if at := w.head(); at.Revision != int64(len(w.leaves())) || w.woken() == wakes {
				t.Errorf("head %v of %d leaves", at, len(w.leaves()))
			}
			changes, ok, err := w.Source().Changes(t.Context(), head, feed.Newest())
			if err != nil || !ok || len(changes) != 1 || changes[0].App != "stripe" || changes[0].Removals[0].GetId() != r.Grant.String() {
				t.Fatalf("changes %v, %v, %v", changes, ok, err)
			}
			_, err = end(t.Context(), caller, r.Grant)
			wantCode(t, err, access.CodeEnded)
		})
	}
}

func TestP4_RevokeNamesWhomItWaitsFor(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.granted()
	quiet := w.join("1") // hears nothing any more
	w.pass(40 * time.Second)
	heard := w.join("2")
	gone := w.join("3")
	w.pass(22 * time.Second) // quiet's last Pong is 62 s ago: longer than the 60 s of reports, and a second
	w.beat(heard)
	started := w.clock()
	rev, err := w.Revoke(ctx, w.as(dave), r.Grant, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(rev.Waits) != 2 {
		t.Fatalf("waits for %+v; %v hears nothing since a minute", rev.Waits, quiet)
	}
	if lease := rev.Waits[0].Until.Sub(rev.Waits[0].LastPong); lease != 61*time.Second {
		t.Fatalf("the lease of an instance that fronts reports is %s and not a minute and a second", lease)
	}
	v, err := w.Revocation(ctx, w.as(dave), r.Grant)
	if err != nil || v.Done || v.At != w.head() || rev.At != v.At {
		t.Fatalf("%+v, %v", v, err)
	}
	ack := func(i feed.Instance, at feed.Position) {
		t.Helper()
		err := w.Source().Acknowledge(ctx, []feed.Receipt{{Instance: i, At: at, LastAllowed: started, LastAction: "act_x", Bounded: started.Add(time.Minute), StreamsCut: 2}})
		if err != nil {
			t.Fatal(err)
		}
	}
	ack(heard, feed.Position{Epoch: v.At.Epoch, Revision: v.At.Revision - 1})
	if v, err = w.Revocation(ctx, w.as(dave), r.Grant); err != nil || !v.Waits[0].AckedAt.IsZero() {
		t.Fatalf("an older position acknowledged: %+v, %v", v, err)
	}
	before := len(w.leaves())
	ack(heard, v.At)
	w.beat(heard, gone) // Pongs after the revoke do not move the instant
	if v, err = w.Revocation(ctx, w.as(dave), r.Grant); err != nil || v.Done || v.Waits[0].Done(v.Passed) != "acked" || v.Waits[0].StreamsCut != 2 || v.Waits[1].Done(v.Passed) != "" || w.types(before) != "" {
		t.Fatalf("%+v, %v", v, err)
	}
	w.pass(v.Waits[1].Until.Sub(w.clock()) - time.Microsecond)
	if err := w.Sweep(ctx); err != nil || w.types(before) != "" {
		t.Fatalf("closed before its lease ran out: %v", err)
	}
	w.pass(time.Microsecond)
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if v, err = w.Revocation(ctx, w.as(dave), r.Grant); err != nil || !v.Done || v.Waits[1].Done(v.Passed) != "closed" {
		t.Fatalf("%+v, %v", v, err)
	}
	if got := w.types(before); got != "grant.receipts" {
		t.Fatalf("leaves %q", got)
	}
	body, err := w.leaves()[before].Texts()
	if cut := body["instances.0.streams_cut"] + " " + body["instances.1.streams_cut"]; err != nil || cut != "0 2" {
		t.Errorf("the receipts: %s, %v", body, err)
	}
	if err := w.Sweep(ctx); err != nil || w.types(before) != "grant.receipts" {
		t.Fatalf("receipts written twice, or %v", err)
	}
}

func TestP4_ALeaseIsAsLongAsItWasPromised(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	i := w.join("1")
	w.apply("apps/reports.yaml", "stale_after: 1m", "stale_after: 10s")
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [reports]")
	r2 := w.granted()
	for _, id := range []grant.GrantID{r.Grant, r2.Grant} { // it may still hold what it fronted before
		rev, err := w.Revoke(t.Context(), w.as(dave), id, "")
		if err != nil || len(rev.Waits) != 1 || rev.Waits[0].Until.Sub(rev.Waits[0].LastPong) != 61*time.Second {
			t.Fatalf("%+v, %v", rev, err)
		}
	}
	w.join("1")
	r = w.granted()
	if rev, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil || len(rev.Waits) != 0 {
		t.Fatalf("waits for %v, which joined without the app: %+v, %v", i, rev, err)
	}
}

func TestP4_TheLastAcknowledgementWritesTheReceipts(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	i := w.join("1")
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	before, at := len(w.leaves()), w.head()
	if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: i, At: at}}); err != nil {
		t.Fatal(err)
	}
	if got := w.types(before); got != "grant.receipts" || w.head() != at {
		t.Fatalf("leaves %q, head %v", got, w.head())
	}
}

// A receipt for what was never told would count for every end that is still to come.
func TestP4_AReceiptForWhatWasNeverToldIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	i := w.join("1")
	w.beat(i)
	head, before := w.head(), len(w.leaves())
	for _, at := range []feed.Position{{Epoch: head.Epoch, Revision: head.Revision + 1}, {Epoch: head.Epoch + 1, Revision: 1}, {Epoch: head.Epoch - 1, Revision: head.Revision}} {
		if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: i, At: at}}); err != nil {
			t.Fatal(err)
		}
		if got := w.running(i); got.Acked != (feed.Position{}) || !strings.Contains(got.Nack, "never told") || len(w.leaves()) != before {
			t.Errorf("a receipt for %v: %+v", at, got)
		}
	}
	if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
		t.Fatal(err)
	}
	view, err := w.Revocation(t.Context(), w.as(dave), r.Grant)
	if err != nil || view.Done || !view.Waits[0].AckedAt.IsZero() {
		t.Errorf("%+v, %v", view, err)
	}
}

func TestSweepWritesWhatTimeBrought(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	r := w.granted()
	w.ask(w.as(carol), reports(), access.Approved)
	before, head := len(w.leaves()), w.head()
	w.pass(30*time.Minute - time.Microsecond)
	if err := w.Sweep(ctx); err != nil || w.types(before) != "" {
		t.Fatalf("swept a live grant: %v", err)
	}
	w.pass(time.Microsecond)
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.types(before); got != "grant.ended grant.ended" {
		t.Fatalf("leaves %q", got)
	}
	changes, _, err := w.Source().Changes(ctx, head, feed.Newest())
	if err != nil || len(changes) != 2 || changes[0].App+" "+changes[1].App != "reports stripe" || changes[0].At == changes[1].At {
		t.Fatalf("changes %v, %v", changes, err)
	}
	_, err = w.Finish(ctx, w.as(refunder), r.Grant)
	wantCode(t, err, access.CodeEnded)
	if err := w.Sweep(ctx); err != nil || w.types(before) != "grant.ended grant.ended" {
		t.Fatalf("swept twice: %v", err)
	}
}

func TestAnInstanceUnseenForADayLeaves(t *testing.T) {
	w := newWorld(t)
	i := w.join("1")
	before := len(w.leaves())
	w.pass(24*time.Hour - time.Second)
	if err := w.Sweep(t.Context()); err != nil || w.types(before) != "" {
		t.Fatalf("%s, %v", w.types(before), err)
	}
	w.pass(time.Second)
	if err := w.Sweep(t.Context()); err != nil || w.types(before) != "instance.gone" {
		t.Fatalf("%s, %v", w.types(before), err)
	}
	if n, err := w.Nodes(t.Context(), w.as(dave)); err != nil || len(n.Instances) != 0 {
		t.Fatalf("%+v, %v", n.Instances, err)
	}
	w.join("1")
	if got := w.types(before); got != "instance.gone instance.started" {
		t.Fatalf("%s: %s", i, got)
	}
}

// TestP4_AWallClockTakesNobodyOffTheList: a gateway whose lease may still run is waited
// for, though mayflyd's wall clock was moved by more than a day.
func TestP4_AWallClockTakesNobodyOffTheList(t *testing.T) {
	w := newWorld(t)
	i := w.join("1")
	w.beat(i)
	before := len(w.leaves())
	w.moved = 25 * time.Hour
	w.pass(w.moved)
	if err := w.Sweep(t.Context()); err != nil || w.types(before) != "" {
		t.Fatalf("%s, %v", w.types(before), err)
	}
	w.pass(time.Hour) // longer than any lease
	if err := w.Sweep(t.Context()); err != nil || w.types(before) != "instance.gone" {
		t.Fatalf("%s, %v", w.types(before), err)
	}
}

func TestPolicyThatNarrowsEndsLiveGrants(t *testing.T) {
	const file = "entitlements/stripe/refunds.yaml"
	for _, c := range []struct {
		name, file, old, new string
		ends                 bool
	}{
		{"a comment", file, "# Give money back", "# Return money", false},
		{"wider", file, "max: 50000}", "max: 60000}", false},
		{"a lower cap that the parameter still meets", file, "max: 50000}", "max: 5000}", false},
		{"a cap below the parameter", file, "max: 50000}", "max: 4999}", true},
		{"one operation less", file, "  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}\n", "", true},
		{"one constraint less", file, "where: {charge: {is: $charge}, amount: {max: $amount_max}}}", "where: {amount: {max: $amount_max}}}", false},
		{"a shorter cap", file, "max: 2h, default: 30m", "max: 20m, default: 20m", true},
		{"a shorter default", file, "default: 30m", "default: 20m", false},
		{"the holder may not ask any more", file, `, "spiffe://acme.example/ns/pay/sa/refunder"`, "", true},
		{"other approvers", file, "group:idp/payments-leads", "group:idp/security", false},
		{"a stricter class", file, "sensitivity: money", "sensitivity: secret", true},
		{"another name", file, "entitlement: stripe/refunds", "entitlement: stripe/returns", true},
		{"the app at another upstream", "apps/stripe.yaml", "https://api.stripe.com", "https://api.stripe.example", true},
		{"the app under one more host", "apps/stripe.yaml", "hosts: [stripe.acme.example]", "hosts: [stripe.acme.example, pay.acme.example]", true},
		{"another credential", "apps/stripe.yaml", "secret: stripe-refunds", "secret: stripe-all", true},
		{"a longer lease of the app", "apps/stripe.yaml", "stale_after: 15s", "stale_after: 20s", false},
		{"a shorter cap for all", "mayfly.yaml", "grant: 12h", "grant: 10m", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.granted()
			if c.name == "another name" {
				w.files["entitlements/stripe/returns.yaml"] = w.files[file]
				delete(w.files, file)
				c.file = "entitlements/stripe/returns.yaml"
			}
			if c.name == "a shorter cap for all" { // entitlements may not say more
				for _, f := range []string{file, "entitlements/reports/read.yaml", "entitlements/mayfly/investigate.yaml", "entitlements/mayfly/operate.yaml"} {
					w.files[f] = shorten(w.files[f])
				}
			}
			before := len(w.leaves())
			out := w.apply(c.file, c.old, c.new)
			g, err := w.ShowGrant(t.Context(), w.as(refunder), r.Grant)
			if err != nil {
				t.Fatal(err)
			}
			if ended := g.State != grant.Active; ended != c.ends || (len(out.Ended) == 1) != c.ends {
				t.Fatalf("state %s, ended %v, want an end: %v", g.State, out.Ended, c.ends)
			}
			if c.ends && (grant.ReasonOf(g.InForce(w.clock())) != grant.PolicyChanged || w.types(before) != "grant.revoked policy.applied") {
				t.Fatalf("reason %s, leaves %s", grant.ReasonOf(g.InForce(w.clock())), w.types(before))
			}
			if !g.NotAfter.Equal(g.NotBefore.Add(30 * time.Minute)) {
				t.Fatal("a commit moved the end")
			}
		})
	}
}

func TestARefusedPolicyIsOnRecord(t *testing.T) {
	w := newWorld(t)
	before, head := len(w.leaves()), w.head()
	if err := w.RefusePolicy(t.Context(), "c0ffee", "unsigned", strings.Repeat("é", 3000)+"\xff"); err != nil {
		t.Fatal(err)
	}
	if w.types(before) != "policy.refused" || w.head() != head {
		t.Fatalf("leaves %s, head %v", w.types(before), w.head())
	}
}

func TestAPolicyCheckedAgainstAnotherOneIsRefused(t *testing.T) {
	w := newWorld(t)
	before := len(w.leaves())
	for _, after := range []string{"", "another"} {
		_, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: "next", After: after})
		if !errors.Is(err, access.ErrPolicyMoved) {
			t.Fatalf("after %q: %v", after, err)
		}
	}
	out, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: w.commit, After: "whatever"})
	if err != nil || !out.Same || w.types(before) != "" {
		t.Fatalf("%+v, %v, %s", out, err, w.types(before))
	}
}

// Ends of several apps are told one by one: nobody reads the whole again, and a
// revoke waits for the revision of its own app.
func TestP4_EndsOfSeveralAppsAreToldOneByOne(t *testing.T) {
	w := newWorld(t)
	r := w.granted()
	g := w.ask(w.as(bob), reports(), access.Approved)
	i := w.join("1")
	head := w.head()
	for _, name := range []string{"entitlements/reports/read.yaml", "entitlements/stripe/refunds.yaml"} {
		w.files[name] = shorten(w.files[name])
	}
	w.apply("")
	changes, _, err := w.Source().Changes(t.Context(), head, feed.Newest())
	if err != nil || len(changes) != 2 || changes[0].App != "reports" || changes[1].App != "stripe" || changes[1].At != w.head() {
		t.Fatalf("%v, %v", changes, err)
	}
	for n, id := range []grant.GrantID{g.Grant, r.Grant} {
		at := changes[n].At
		if len(changes[n].Removals) != 1 || changes[n].Removals[0].GetId() != id.String() {
			t.Errorf("change %v", changes[n])
		}
		if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: i, At: at}}); err != nil {
			t.Fatal(err)
		}
		v, err := w.Revocation(t.Context(), w.as(dave), id)
		if err != nil || v.At != at || len(v.Waits) != 1 || v.Waits[0].AckedAt.IsZero() {
			t.Errorf("%s waits for %v, its change is %v: %+v, %v", id, v.At, at, v.Waits, err)
		}
	}
}
