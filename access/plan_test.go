package access_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// with returns the policy in force after a replacement in one file.
func (w *world) with(file, old, now string) map[string][]byte {
	w.t.Helper()
	files := maps.Clone(w.files)
	text := string(files[file])
	if !strings.Contains(text, old) {
		w.t.Fatalf("%s does not say %q", file, old)
	}
	files[file] = []byte(strings.Replace(text, old, now, 1))
	return files
}

const refundsFile = "entitlements/stripe/refunds.yaml"

// TestAPlanSaysWhatACommitDoes plans a commit, looks that nothing was done, and makes it.
func TestAPlanSaysWhatACommitDoes(t *testing.T) {
	for _, c := range []struct {
		name, old, now string
		ends           bool
		pending        string // what would become of a request that waits
		waits          bool
	}{
		{"nothing", "# Give money back", "# Return money", false, "", false},
		{"a cap below the parameter", "max: 50000}", "max: 4999}", true, "approval denied", false},
		{"a higher cap", "max: 50000}", "max: 60000}", false, "", true},
		{"more approvals", "count: 1", "count: 2", false, "approval approval", false},
		{"the holder may not ask any more", `, "spiffe://acme.example/ns/pay/sa/refunder"`, "", true, "approval denied", false},
		{"by rule", "approve:\n", "approve:\n  auto: {when: \"true\"}\n", false, "approval granted", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.granted()
			waiting := w.ask(w.as(refunder), refund(), access.Pending)
			before := len(w.leaves())
			p, err := w.PlanPolicy(t.Context(), w.as(dave), w.with(refundsFile, c.old, c.now))
			if err != nil {
				t.Fatal(err)
			}
			if w.types(before) != "administration" {
				t.Errorf("a plan writes %s", w.types(before))
			}
			if g, err := w.ShowGrant(t.Context(), w.as(refunder), r.Grant); err != nil || g.State != grant.Active {
				t.Fatalf("a plan ends grants: %v, %v", g.State, err)
			}
			if p.Waits != c.waits {
				t.Errorf("it waits: %t, %s", p.Waits, p.Why)
			}
			var ends []string
			for _, g := range p.Ends {
				ends = append(ends, g.ID.String())
			}
			if got := len(ends) == 1; got != c.ends {
				t.Errorf("it would end %v", ends)
			}
			var flips []string
			for _, f := range p.Pending {
				if f.Request != waiting.ID {
					t.Errorf("it flips %s, which does not wait", f.Request)
				}
				flips = append(flips, f.Was+" "+f.Now)
			}
			if got := strings.Join(flips, ", "); got != c.pending {
				t.Errorf("of what waits it flips %q, want %q", got, c.pending)
			}
			if out := w.apply(refundsFile, c.old, c.now); !slices.Equal(out.Ended, ends) {
				t.Errorf("the commit ended %v, the plan said %v", out.Ended, ends)
			}
		})
	}
}

func TestAPlanNamesWhoIsKnownToBeInAGroup(t *testing.T) {
	w := newWorld(t)
	p, err := w.PlanPolicy(t.Context(), w.as(dave), w.with(refundsFile, "[group:idp/support,", "[group:idp/support, group:idp/engineers,"))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Reach) != 1 || p.Reach[0].Who != "group:idp/engineers" || !slices.Equal(p.Reach[0].Gains, []string{"stripe charges.retrieve", "stripe refunds.create"}) {
		t.Errorf("reach is %+v", p.Reach)
	}
}

// TestWhoMayPlan: a plan tells who holds and who asked what.
func TestWhoMayPlan(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.files["entitlements/mayfly/plan.yaml"] = []byte(`entitlement: mayfly/plan
owner: team-payments
app: mayfly
allow: [{operations: [policy.plan]}]
grant: {max: 1h}
request: {who: [bob], justification: none}
approve: {auto: {when: "true"}}
`)
	w.apply("")
	plan := func(c access.Caller) error { _, err := w.PlanPolicy(ctx, c, w.files); return err }
	replay := func(c access.Caller) error {
		_, err := w.ReplayPolicy(ctx, c, w.files, w.clock().Add(-time.Hour), func(access.ReplayStep) error { return nil })
		return err
	}
	for _, f := range []func(access.Caller) error{plan, replay, func(c access.Caller) error { return w.MayPlan(ctx, c) }} {
		wantCode(t, f(w.as(bob)), access.CodeNoGrant)
		wantCode(t, f(w.as(refunder)), access.CodeNoGrant)
		wantCode(t, f(access.Caller{}), access.CodeNoGrant)
		wantCode(t, f(w.as(dave)), "")
	}
	held := w.ask(w.as(bob), access.Ask{Entitlement: "mayfly/plan"}, access.Approved)
	for _, f := range []func(access.Caller) error{plan, replay} {
		before := len(w.leaves())
		wantCode(t, f(w.as(bob)), "")
		last, err := w.leaves()[before].Map()
		if err != nil || last["operation"] != policy.OwnPolicyPlan || last["under"] != held.Grant.String() || last["digest"] != policy.Digest(w.files) {
			t.Errorf("on record stands %v, %v", last, err)
		}
	}
	w.pass(2 * time.Hour)
	wantCode(t, plan(w.in(bob, "payments-leads")), access.CodeNoGrant)
	_, err := w.PlanPolicy(ctx, w.in(dave, "security"), map[string][]byte{"mayfly.yaml": []byte("nothing")})
	wantCode(t, err, access.CodeInvalid)
}

// replay decides again what was asked for in the last day.
func (w *world) replay(files map[string][]byte) (access.ReplaySum, []access.Flip) {
	w.t.Helper()
	var flips []access.Flip
	done := -1.0
	sum, err := w.ReplayPolicy(w.t.Context(), w.in(dave, "security"), files, w.clock().Add(-24*time.Hour), func(s access.ReplayStep) error {
		if s.Flip != nil {
			flips = append(flips, *s.Flip)
			return nil
		}
		if s.Done < done {
			w.t.Errorf("it goes back from %f to %f", done, s.Done)
		}
		done = s.Done
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if done != 1 {
		w.t.Errorf("it ends at %f", done)
	}
	return sum, flips
}

func TestReplayTellsWhatWouldNotHaveBeen(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	w.ask(w.as(refunder), refund(), access.Pending)
	r := w.granted()
	try := func(operation string, attributes map[string]audit.Attr) audit.Intent {
		_, b := s.intent(r)
		b.Operation, b.Attributes = operation, attributes
		return b
	}
	charge := map[string]audit.Attr{"charge": {Value: "ch_1"}, "amount": {Value: "4000"}}
	if _, err := w.Source().Ingest(t.Context(), i, s.segment(
		try("refunds.create", charge), try("refunds.create", map[string]audit.Attr{"charge": {Value: "ch_1"}, "amount": {Value: "4800"}}), try("charges.retrieve", map[string]audit.Attr{"charge": {HMAC: "ab"}}),
	)); err != nil {
		t.Fatal(err)
	}
	if sum, flips := w.replay(w.files); len(flips) != 0 || sum.Requests != 2 || sum.Flips+sum.Refused+sum.Unsure+sum.Lost+sum.Engines != 0 {
		t.Errorf("under the policy that decided: %+v, %+v", sum, flips)
	}
	for _, c := range []struct {
		name, old, now   string
		flips            int
		refused, unsure  int
		outcome, instead string // of the request that was granted
		operations       string
	}{
		{"no refunds at all", "max: 50000}", "max: 4999}", 2, 3, 0, "approval", "denied", "stripe charges.retrieve stripe refunds.create"},
		{"one operation less", "  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}\n", "", 1, 1, 0, "approval", "approval", "stripe charges.retrieve"},
		{"more approvals", "count: 1", "count: 2", 2, 0, 0, "approval", "approval", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			sum, flips := w.replay(w.with(refundsFile, c.old, c.now))
			if sum.Flips != c.flips || len(flips) != c.flips || sum.Refused != c.refused || sum.Unsure != c.unsure {
				t.Fatalf("%+v, %+v", sum, flips)
			}
			f := flips[0] // the newest
			if f.Request != r.ID || f.Was != c.outcome || f.Now != c.instead || strings.Join(f.Use.Operations, " ") != c.operations {
				t.Errorf("%+v", f)
			}
		})
	}
	w.pass(25 * time.Hour)
	if sum, _ := w.replay(w.files); sum.Requests != 0 {
		t.Errorf("it goes back further than a day: %+v", sum)
	}
}

// TestReplaySaysWhatItCannotTell: the path of a request is on record by its HMAC only.
func TestReplaySaysWhatItCannotTell(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	r := w.ask(w.in(bob, "engineers"), reports(), access.Approved)
	_, first := s.intent(r)
	first.App, first.Operation, first.Attributes = "reports", "http.get", map[string]audit.Attr{"path": {HMAC: "ab"}}
	_, second := s.intent(r)
	second.App, second.Operation, second.Attributes = "reports", "http.options", nil
	if _, err := w.Source().Ingest(t.Context(), i, s.segment(first, second)); err != nil {
		t.Fatal(err)
	}
	files := w.with("entitlements/reports/read.yaml", "under: $folder", "under: /daily")
	text := string(files["entitlements/reports/read.yaml"])
	a, b := strings.Index(text, "params:"), strings.Index(text, "sensitivity:")
	files["entitlements/reports/read.yaml"] = []byte(text[:a] + text[b:])
	sum, flips := w.replay(files)
	if sum.Flips != 1 || sum.Refused != 1 || sum.Unsure != 1 || flips[0].Use.Actions != 2 || flips[0].Now != "granted" {
		t.Errorf("%+v, %+v", sum, flips)
	}
}

// In development nothing waits, and a plan says so beside what would be elsewhere.
func TestAPlanSaysThatNothingWaitsInDevelopment(t *testing.T) {
	for _, settles := range []bool{false, true} {
		w := newWorld(t)
		w.settles = settles
		w.again(func(s access.Store) access.Store { return s })
		w.commit = firstCommit
		p := must(w.PlanPolicy(t.Context(), w.as(dave), w.with(refundsFile, "[group:idp/support,", "[group:idp/support, group:idp/engineers,")))
		if !p.Waits || p.Dev == settles {
			t.Errorf("settles %t: waits %t, dev %t", settles, p.Waits, p.Dev)
		}
	}
}

func TestAReportOfNoAppIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := w.ObserveReport(t.Context(), w.as(dave), access.ObserveQuery{App: "reprots"})
	wantCode(t, err, access.CodeInvalid)
}
