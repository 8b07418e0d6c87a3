package access_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

const caseFile = "bundles/refund-case.yaml"

// bundleWorld has the example's bundle, and an instance that fronts both its apps.
func bundleWorld(t *testing.T) (*world, feed.Instance) {
	t.Helper()
	w := newWorld(t)
	w.files[caseFile] = []byte("bundle: refund-case\nowner: team-payments\nentitlements: [stripe/refunds, reports/read]\n")
	w.apply("")
	return w, w.join("1")
}

// clerk is alice with the groups of both entitlements.
func (w *world) clerk() access.Caller { return w.in(alice, "support", "engineers") }

func refundCase() access.Ask {
	return access.Ask{Entitlement: "refund-case", Params: map[string]string{"charge": "ch_1", "amount_max": "5000", "folder": "/daily"}, Reason: "order 17"}
}

// granted makes a live bundle of alice.
func (w *world) grantedCase() access.RequestView {
	w.t.Helper()
	r := w.ask(w.clerk(), refundCase(), access.Pending)
	must(w.Approve(w.t.Context(), w.as(bob), r.ID, r.OfferDigest, ""))
	return w.show(r.ID)
}

func (w *world) show(id grant.RequestID) access.RequestView {
	w.t.Helper()
	return must(w.ShowRequest(w.t.Context(), w.clerk(), id))
}

func (w *world) nack(from feed.Instance, kind, id string) {
	w.t.Helper()
	n := &feed.Nack{Kind: kind, Id: id, Reason: "unsupported_grant", Detail: "too old"}
	if err := w.Source().Refused(w.t.Context(), feed.Refusal{Instance: from, Nack: n}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) acked(i feed.Instance) {
	w.t.Helper()
	if err := w.Source().Acknowledge(w.t.Context(), []feed.Receipt{{Instance: i, At: w.head()}}); err != nil {
		w.t.Fatal(err)
	}
}

// states are the states of a bundle's grants, and by what they ended.
func (w *world) states(id grant.RequestID) string {
	w.t.Helper()
	var out []string
	for _, g := range w.show(id).Joint {
		out = append(out, strings.TrimSpace(g.Entitlement+" "+string(g.State)+" "+string(g.EndedEarly)))
	}
	return strings.Join(out, ", ")
}

const bothActive = "reports/read active, stripe/refunds active"

func TestABundleIsGrantedAsOne(t *testing.T) {
	w, i := bundleWorld(t)
	from := w.head()
	before := len(w.leaves())
	q := w.grantedCase()
	if q.State != access.Approved || len(q.Joint) != 2 {
		t.Fatalf("%s with %d grants", q.State, len(q.Joint))
	}
	one, other := q.Joint[0], q.Joint[1]
	if !one.NotBefore.Equal(other.NotBefore) || !one.NotAfter.Equal(other.NotAfter) || one.NotAfter.Sub(one.NotBefore) != 30*time.Minute {
		t.Errorf("%s to %s, and %s to %s: want the same half hour", one.NotBefore, one.NotAfter, other.NotBefore, other.NotAfter)
	}
	if one.IdleAfter != 15*time.Minute || other.IdleAfter != 15*time.Minute {
		t.Errorf("unused %s and %s, want the strictest of both", one.IdleAfter, other.IdleAfter)
	}
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("states %q", got)
	}
	want := "request.created offer.made decision.made approval.given decision.made request.approved grant.created grant.created"
	if got := w.types(before); got != want {
		t.Errorf("leaves %q", got)
	}
	// No instance has to read everything again for it.
	changes, kept, err := w.Source().Changes(t.Context(), from, w.head())
	if err != nil || !kept || len(changes) != 2 || changes[0].App != "reports" || changes[1].App != "stripe" {
		t.Fatalf("changes %+v, %v, %v", changes, kept, err)
	}
	w.acked(i)
	w.sweep()
	if got := w.types(before + 8); got != "bundle.began" {
		t.Errorf("once a gateway has both: %q", got)
	}
	w.pass(5 * time.Minute)
	w.beat(i)
	w.sweep()
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("after its beginning: %s", got)
	}
	w.pass(25*time.Minute + time.Second)
	w.sweep()
	if got := w.states(q.ID); got != "reports/read ended, stripe/refunds ended" {
		t.Errorf("after the end: %s", got)
	}
}

// A gateway has what it has acknowledged, and not what it was told later: of two apps each
// is a change of its own, also where one of them has two grants.
func TestAPartOfABundleIsInForceOnceItIsAcknowledged(t *testing.T) {
	w, i := bundleWorld(t)
	w.files["entitlements/stripe/look.yaml"] = []byte("entitlement: stripe/look\nowner: team-payments\napp: stripe\nallow: [{operations: [charges.retrieve]}]\n" +
		"grant: {max: 2h}\nrequest: {who: [group:idp/support], justification: none}\napprove: {auto: {when: \"request.duration <= duration('1h')\"}}\n")
	w.apply(caseFile, "reports/read]", "reports/read, stripe/look]")
	from := w.head()
	q := w.grantedCase()
	changes, _, err := w.Source().Changes(t.Context(), from, w.head())
	if err != nil || len(changes) != 2 || changes[0].App != "reports" {
		t.Fatalf("%+v, %v", changes, err)
	}
	if err := w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: i, At: changes[0].At}}); err != nil {
		t.Fatal(err)
	}
	held := map[string]int{}
	for _, g := range w.show(q.ID).Joint {
		held[g.Entitlement] = g.Held
	}
	if held["reports/read"] != 1 || held["stripe/refunds"] != 0 {
		t.Errorf("after the reports: %v", held)
	}
	before := len(w.leaves())
	w.sweep()
	if got := w.types(before); got != "" {
		t.Errorf("it has begun by that: %s", got)
	}
	w.acked(i)
	w.sweep()
	if got := w.types(before); got != "bundle.began" {
		t.Errorf("after all of it: %q", got)
	}
	// Who approved it learns how many gateways have it, not which.
	for _, g := range must(w.ShowRequest(t.Context(), w.as(bob), q.ID)).Joint {
		if len(g.Waits) != 0 || g.Running != 1 || g.Held != 1 {
			t.Errorf("an approver sees %+v", g)
		}
	}
}

// Each of its entitlements has a say, and the strictest counts.
func TestABundleKeepsEachRule(t *testing.T) {
	w, _ := bundleWorld(t)
	for name, c := range map[string]struct {
		who  access.Caller
		edit func(*access.Ask)
		code string
	}{
		"of one group only":        {w.in(alice, "support"), func(*access.Ask) {}, policy.DenyNotEligible},
		"longer than one allows":   {w.clerk(), func(a *access.Ask) { a.Duration = 3 * time.Hour }, policy.DenyMaxDuration},
		"without a reason for one": {w.clerk(), func(a *access.Ask) { a.Reason = "" }, policy.DenyJustification},
	} {
		ask := refundCase()
		c.edit(&ask)
		r := w.ask(c.who, ask, access.Denied)
		if r.Code != c.code || len(w.show(r.ID).Joint) != 0 {
			t.Errorf("%s: %s %s", name, r.Code, r.Sentence)
		}
	}
	for name, params := range map[string]map[string]string{
		"a parameter of nobody":         {"charge": "ch_1", "amount_max": "1", "colour": "red"},
		"a value that one refuses":      {"charge": "ch_1", "amount_max": "50001"},
		"one that the other may not do": {"charge": "ch_1", "amount_max": "1", "folder": "/secret"},
		"a required one is missing":     {"amount_max": "1"},
	} {
		ask := refundCase()
		ask.Params = params
		_, err := w.Request(t.Context(), w.clerk(), ask)
		if access.CodeOf(err) != access.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := must(w.Preview(t.Context(), w.clerk(), refundCase()))
	if p.Outcome != policy.NeedsApproval || len(p.Steps) != 1 || p.Duration != 30*time.Minute || len(p.Offer.Members) != 2 || p.Offer.Limits.Class != "money" {
		t.Errorf("preview %+v", p)
	}
}

// What ends one grant of a bundle ends all of it, in one change, for the same reason.
func TestP3_ABundleEndsAsOne(t *testing.T) {
	first := func(w *world, q access.RequestView) grant.GrantID { return q.Joint[0].ID }
	last := func(w *world, q access.RequestView) grant.GrantID { return q.Joint[1].ID }
	for name, c := range map[string]struct {
		end  func(w *world, q access.RequestView)
		want string
	}{
		"one is revoked": {func(w *world, q access.RequestView) {
			r := must(w.Revoke(t.Context(), w.as(dave), last(w, q), "lost"))
			if r.Grant != last(w, q).String() || len(r.With) != 1 || r.With[0] != first(w, q) {
				t.Errorf("the answer is about %s with %v", r.Grant, r.With)
			}
			for _, g := range q.Joint { // each has its own receipts
				if v := must(w.Revocation(t.Context(), w.as(dave), g.ID)); len(v.Waits) != 1 || v.Done || len(v.With) != 1 {
					t.Errorf("%s: %+v", g.Entitlement, v)
				}
			}
		}, "revoked revoked"},
		"one is given back": {func(w *world, q access.RequestView) { must(w.Finish(t.Context(), w.clerk(), first(w, q))) }, "ended ended"},
		"its holder is locked": {func(w *world, q access.RequestView) {
			if l := must(w.Lock(t.Context(), w.as(dave), alice, "gone")); l.Grants != 2 {
				t.Errorf("%d grants, want 2", l.Grants)
			}
		}, "revoked locked"},
		"a rule of one narrows": {func(w *world, q access.RequestView) {
			out := w.apply("entitlements/reports/read.yaml", "group:idp/engineers", "group:idp/analysts")
			if len(out.Ended) != 2 {
				t.Errorf("ended %v, want both", out.Ended)
			}
		}, "revoked policy_changed"},
		"the app of one leads elsewhere": {func(w *world, q access.RequestView) {
			out := w.apply("apps/reports.yaml", "reports.internal.acme.example", "reports.other.acme.example")
			if len(out.Ended) != 2 {
				t.Errorf("ended %v, want both", out.Ended)
			}
		}, "revoked policy_changed"},
		"it goes without one": {func(w *world, q access.RequestView) {
			w.apply(caseFile, "stripe/refunds, reports/read", "stripe/refunds, mayfly/operate")
		}, "revoked policy_changed"},
		"it is gone": {func(w *world, q access.RequestView) { delete(w.files, caseFile); w.apply("") }, "revoked policy_changed"},
		"nobody uses it": {func(w *world, q access.RequestView) {
			w.sweep()
			w.pass(15*time.Minute + time.Second)
			w.sweep()
		}, "ended idle"},
	} {
		t.Run(name, func(t *testing.T) {
			w, i := bundleWorld(t)
			q := w.grantedCase()
			w.acked(i)
			w.sweep()
			c.end(w, q)
			state, why, _ := strings.Cut(c.want, " ")
			for _, g := range w.show(q.ID).Joint {
				if got := string(grant.ReasonOf(g.Grant.InForce(w.clock()))); string(g.State) != state || got != why {
					t.Errorf("%s is %s (%s), want %s", g.Entitlement, g.State, got, c.want)
				}
			}
			s, err := snapshotOf(t.Context(), w.Source(), []string{"stripe", "reports"})
			for _, r := range s.Resources {
				if r.GetGrant() != nil {
					t.Errorf("gateways are still told of %s: %v", r.GetId(), err)
				}
			}
		})
	}
}

// A commit that takes one entitlement out of a bundle ends all of it, though each of
// those that are left would be granted again as it is.
func TestABundleThatGoesWithoutOneEnds(t *testing.T) {
	w, _ := bundleWorld(t)
	w.files["entitlements/reports/extra.yaml"] = []byte("entitlement: reports/extra\nowner: team-data\napp: reports\nallow: [{operations: [http.head]}]\n" +
		"grant: {max: 8h}\nrequest: {who: [group:idp/engineers], justification: none}\napprove: {auto: {when: \"request.duration <= duration('1h')\"}}\n")
	w.apply(caseFile, "reports/read]", "reports/read, reports/extra]")
	q := w.grantedCase()
	if len(q.Joint) != 3 {
		t.Fatalf("%d grants", len(q.Joint))
	}
	w.apply(caseFile, ", reports/extra]", "]")
	for _, g := range w.show(q.ID).Joint {
		if g.State != grant.RevokedState || g.EndedEarly != grant.PolicyChanged {
			t.Errorf("%s is %s (%s)", g.Entitlement, g.State, g.EndedEarly)
		}
	}
}

// While one of its grants is used, none of them lies unused.
func TestABundleIsUsedAsOne(t *testing.T) {
	w, i := bundleWorld(t)
	q := w.grantedCase()
	w.acked(i)
	w.sweep()
	w.pass(14 * time.Minute)
	if err := w.store.Update(t.Context(), func(tx access.Tx) error { return tx.Grants().Used(t.Context(), q.Joint[0].ID, tx.Now()) }); err != nil {
		t.Fatal(err)
	}
	w.pass(14 * time.Minute)
	w.sweep()
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("14 minutes after a use: %s", got)
	}
}

// What is in force in some of its apps only is shown, and undone in time.
func TestABundleThatIsNotInForceEverywhereIsUndone(t *testing.T) {
	w, _ := bundleWorld(t)
	w.apply("mayfly.yaml", "apps: [stripe, reports]", "apps: [stripe]")
	i := w.join("1")
	w.sweep() // mayflyd runs
	q := w.grantedCase()
	w.acked(i)
	shown := w.show(q.ID).Joint
	if shown[0].InForce || len(shown[0].Waits) != 0 || !shown[1].InForce || shown[1].Held != 1 {
		t.Fatalf("shown as %+v", shown)
	}
	w.nack(i, "grant", q.Joint[0].ID.String()) // it does not front the app
	w.pass(29 * time.Second)
	w.beat(i)
	w.sweep()
	if got := w.states(q.ID); got != bothActive {
		t.Fatalf("before its time: %s", got)
	}
	before := len(w.leaves())
	w.pass(2 * time.Second)
	w.beat(i)
	w.sweep()
	if got := w.states(q.ID); got != "reports/read revoked incomplete, stripe/refunds revoked incomplete" {
		t.Errorf("31 s after its start: %s", got)
	}
	leaves := w.leaves()[before:]
	if got := w.types(before); got != "bundle.undone grant.revoked grant.revoked grant.receipts" {
		t.Fatalf("leaves %q", got)
	}
	texts := must(leaves[0].Texts())
	if texts["missing.0.app"] != "reports" || texts["missing.0.why"] != "no gateway of the app is running" || texts["request"] != q.ID.String() {
		t.Errorf("the record says %v", texts)
	}
	w.sweep()
	if got := w.types(before + 4); got != "" {
		t.Errorf("it is undone twice: %s", got)
	}
}

// A gateway that refuses one of its grants ends it at once; a word about another's
// grant ends nothing.
func TestABundleThatAGatewayRefusesIsUndone(t *testing.T) {
	w, i := bundleWorld(t)
	lone := w.granted()
	q := w.grantedCase()
	nack := func(kind, id string) { w.nack(i, kind, id) }
	nack("grant", lone.Grant.String())
	nack("app", q.Joint[0].ID.String())
	nack("grant", "grt_nonsense")
	if got := w.states(q.ID); got != bothActive || w.stateOf(lone.Grant).State != grant.Active {
		t.Fatalf("%s after words that are not about it", got)
	}
	before := len(w.leaves())
	nack("grant", q.Joint[0].ID.String())
	if got := w.states(q.ID); got != "reports/read revoked incomplete, stripe/refunds revoked incomplete" {
		t.Errorf("after the refusal: %s", got)
	}
	if texts := must(w.leaves()[before].Texts()); !strings.Contains(texts["missing.0.why"], i.String()+" refuses it: unsupported_grant") {
		t.Errorf("the record says %v", texts)
	}
	if w.stateOf(lone.Grant).State != grant.Active {
		t.Error("a grant of no bundle ended with it")
	}

	w.files["bundles/other.yaml"] = []byte("bundle: other\nowner: team-data\nentitlements: [reports/read, mayfly/operate]\n")
	w.apply("")
	q = w.grantedCase()
	w.acked(i)
	w.sweep()
	nack("grant", q.Joint[0].ID.String())
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("a bundle that had begun: %s", got)
	}
}

// A gateway that refuses a grant as it comes, before it has a lease, undoes the bundle too:
// its receipt would count as if it held it.
func TestABundleThatANewGatewayRefusesIsUndone(t *testing.T) {
	w, _ := bundleWorld(t)
	q := w.grantedCase()
	other := w.instance("2")
	if _, err := w.Source().Join(t.Context(), other, &feed.Subscribe{Instance: other.String(), Version: "test", Reader: 1}); err != nil {
		t.Fatal(err)
	}
	w.nack(other, "grant", q.Joint[1].ID.String())
	if got := w.states(q.ID); got != "reports/read revoked incomplete, stripe/refunds revoked incomplete" {
		t.Errorf("after the refusal: %s", got)
	}
}

// Gateways come back after mayflyd does: what was beginning while it was away is not
// undone before they could.
func TestABundleIsNotUndoneBeforeGatewaysAreBack(t *testing.T) {
	w, _ := bundleWorld(t)
	q := w.grantedCase()
	w.pass(31 * time.Second) // nobody runs
	w.sweep()
	if got := w.states(q.ID); got != bothActive {
		t.Fatalf("in the first sweep of a process: %s", got)
	}
	w.pass(2 * time.Second)
	back := w.join("2")
	w.acked(back)
	w.sweep()
	before := len(w.leaves())
	w.pass(30 * time.Second)
	w.sweep()
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("a gateway came back, and then: %s", got)
	}
	if got := w.types(before - 1); got != "bundle.began" {
		t.Errorf("leaves %q", got)
	}
}

// An entitlement that takes the name of a bundle does not take over its grants.
func TestABundleEndsWhereAnEntitlementTakesItsName(t *testing.T) {
	w, _ := bundleWorld(t)
	named := func(name, operation string) {
		w.files["entitlements/"+name+".yaml"] = []byte("entitlement: " + name + "\nowner: team-data\napp: reports\nallow: [{operations: [" + operation + "]}]\n" +
			"grant: {max: 8h}\nrequest: {who: [group:idp/engineers], justification: none}\napprove: {auto: {when: \"request.duration <= duration('1h')\"}}\n")
	}
	named("reports/extra", "http.head")
	w.files["bundles/pair.yaml"] = []byte("bundle: pair\nowner: team-data\nentitlements: [reports/read, reports/extra]\n")
	w.apply("")
	q := w.show(w.ask(w.clerk(), access.Ask{Entitlement: "pair", Duration: 20 * time.Minute}, access.Approved).ID)
	delete(w.files, "bundles/pair.yaml")
	named("pair", "http.get")
	w.apply("")
	for _, g := range w.show(q.ID).Joint {
		if g.State != grant.RevokedState || g.EndedEarly != grant.PolicyChanged {
			t.Errorf("%s is %s (%s)", g.Entitlement, g.State, g.EndedEarly)
		}
	}
}

// What was offered as one is not given in parts: a bundle that is another one by the
// time of the approval is not granted.
func TestABundleThatChangedIsNotGranted(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"another entitlement": func(w *world) { w.apply(caseFile, "reports/read", "mayfly/operate") },
		"fewer operations":    func(w *world) { w.apply("entitlements/reports/read.yaml", "[http.get, http.head]", "[http.get]") },
		"more operations": func(w *world) {
			w.apply("entitlements/reports/read.yaml", "[http.get, http.head]", "[http.get, http.head, http.options]")
		},
		"another rule": func(w *world) {
			w.apply("entitlements/reports/read.yaml", "max: 8h, default: 30m", "max: 20m, default: 20m", "'30m'", "'10m'")
		},
		"gone": func(w *world) { delete(w.files, caseFile); w.apply("") },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := bundleWorld(t)
			r := w.ask(w.clerk(), refundCase(), access.Pending)
			change(w)
			r = must(w.Approve(t.Context(), w.as(bob), r.ID, r.OfferDigest, ""))
			if r.State != access.Denied || r.Code != string(grant.PolicyChanged) || !r.Grant.IsZero() {
				t.Errorf("%s %s: %s", r.State, r.Code, r.Sentence)
			}
		})
	}
}

func TestP8_ABundleIsExplainedAndDecidedAgain(t *testing.T) {
	w, _ := bundleWorld(t)
	q := w.grantedCase()
	x := must(w.Explain(t.Context(), w.clerk(), q.ID.String()))
	for _, d := range x.Decisions {
		if d.Replay != access.ReplaySame || d.Trail == nil || len(d.Trail.Members) != 2 || d.Trail.Members[1].App != "reports" || d.Trail.Members[1].Condition == nil {
			t.Fatalf("at %s: %s %s, trail %+v", d.When, d.Replay, d.Detail, d.Trail)
		}
	}
	if x.Owner != "team-payments" || x.Entitlement != "refund-case" {
		t.Errorf("explained as %s of %s", x.Entitlement, x.Owner)
	}
	ask := refundCase()
	ask.Duration = 3 * time.Hour
	r := w.ask(w.clerk(), ask, access.Denied)
	x = must(w.Explain(t.Context(), w.clerk(), r.ID.String()))
	if len(x.Remedies) == 0 || x.Remedies[0].Outcome != policy.NeedsApproval || x.Remedies[0].Input.Duration != 2*time.Hour {
		t.Errorf("what would have made the difference: %+v", x.Remedies)
	}
}

func TestATraceOfABundleHasAllOfIt(t *testing.T) {
	w, _ := bundleWorld(t)
	q := w.grantedCase()
	tr := must(w.Trace(t.Context(), w.clerk(), q.ID.String()))
	if len(tr.Joint) != 2 {
		t.Errorf("%d grants, want 2", len(tr.Joint))
	}
	tr = must(w.Trace(t.Context(), w.clerk(), q.Joint[1].ID.String()))
	if len(tr.Joint) != 0 || tr.Grant.ID != q.Joint[1].ID {
		t.Errorf("the trace of one grant is of %+v", tr.Joint)
	}
	// Whoever may read the traces of one app reads the grant on it, not all of the bundle.
	w.ask(w.as(dave), access.Ask{Entitlement: "mayfly/investigate", Params: map[string]string{"app": "reports"}, Reason: "a refund at night"}, access.Approved)
	tr = must(w.Trace(t.Context(), w.as(dave), q.Joint[0].ID.String()))
	for _, r := range tr.Records {
		if strings.Contains(fmt.Sprint(must(r.Record.Texts())), q.Joint[1].ID.String()) {
			t.Errorf("it tells of the grant on the other app: %s", r.Record.Type)
		}
	}
	if tr.Request != nil || len(tr.Records) == 0 {
		t.Errorf("it tells of the request, which is about both: %d records", len(tr.Records))
	}
	if _, err := w.Trace(t.Context(), w.as(dave), q.Joint[1].ID.String()); err == nil {
		t.Error("the grant on another app is read")
	}
	if tr, err := w.Trace(t.Context(), w.as(dave), q.ID.String()); err == nil && (tr.Grant != nil || len(tr.Joint) > 0) {
		t.Errorf("all of the bundle is read: %+v", tr.Joint)
	}
}

// The log of a bundle is that of its own file, with what it decided.
func TestALogTellsOfABundle(t *testing.T) {
	w, _ := bundleWorld(t)
	w.grantedCase()
	w.apply(caseFile, "owner: team-payments", "owner: team-data")
	l := must(w.LogPolicy(t.Context(), w.as(dave), "refund-case"))
	if len(l.Versions) != 2 || l.Path != caseFile || l.Versions[0].Requests != 1 || l.Versions[1].Requests != 0 {
		t.Errorf("%+v", l)
	}
}

func TestAPlanTellsThatABundleEnds(t *testing.T) {
	w, _ := bundleWorld(t)
	q := w.grantedCase()
	files := w.with("apps/reports.yaml", "reports.internal.acme.example", "reports.other.acme.example")
	if p := must(w.PlanPolicy(t.Context(), w.as(dave), files)); len(p.Ends) != 2 {
		t.Fatalf("%d grants would end, want both: %+v", len(p.Ends), p.Ends)
	}
	files = w.with("entitlements/reports/read.yaml", "group:idp/engineers", "group:idp/analysts")
	var flips []access.Flip
	sum := must(w.ReplayPolicy(t.Context(), w.as(dave), files, w.clock().Add(-time.Hour), func(s access.ReplayStep) error {
		if s.Flip != nil {
			flips = append(flips, *s.Flip)
		}
		return nil
	}))
	if sum.Flips != 1 || len(flips) != 1 || flips[0].Request != q.ID || flips[0].Now != "denied" {
		t.Errorf("replay %+v, %+v", sum, flips)
	}
	w.apply(caseFile, "[stripe/refunds, reports/read]", "[reports/read, stripe/refunds]")
	if got := w.states(q.ID); got != bothActive {
		t.Errorf("the same bundle in another order: %s", got)
	}
}
