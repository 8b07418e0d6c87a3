package access_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// observe puts the app stripe in observe mode for a day.
func (w *world) observe() time.Time {
	w.t.Helper()
	until := w.clock().Add(24 * time.Hour).Truncate(time.Second)
	w.files["exceptions/observe-stripe.yaml"] = []byte("exception: observe-stripe\nowner: team-migration\nallows: observe\napp: stripe\nuntil: " + until.UTC().Format(time.RFC3339) + "\nreason: The old way is still open.\n")
	w.apply("apps/stripe.yaml", "kind: stripe", "kind: stripe\nmode: observe")
	return until
}

// The feed tells gateways until when, and asks for one that understands it; the record
// says which apps a policy observes; and nobody is told of one that is over.
func TestAnObservedAppAsksForANewerReader(t *testing.T) {
	w := newWorld(t)
	if list, err := w.Observations(t.Context()); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	until := w.observe()
	s, err := snapshotOf(t.Context(), w.Source(), []string{"stripe"})
	if err != nil || len(s.Resources) != 1 {
		t.Fatal(s, err)
	}
	if r := s.Resources[0]; r.GetMinReader() != 5 || r.GetApp().GetObserve().GetUntilUs() != until.UnixMicro() {
		t.Errorf("min_reader %d, %v", r.GetMinReader(), r.GetApp().GetObserve())
	}
	leaves := w.leaves()
	var told bool
	for _, l := range leaves {
		body, err := l.Map()
		if err != nil {
			t.Fatal(err)
		}
		if list, ok := body["observed"].([]any); ok && l.Type == audit.TypePolicyApplied && len(list) == 1 && list[0].(map[string]any)["app"] == "stripe" {
			told = true
		}
	}
	if !told {
		t.Error("the record does not say which apps the policy observes")
	}
	list, err := w.Observations(t.Context())
	if err != nil || len(list) != 1 || list[0].App != "stripe" || list[0].Owner != "team-migration" || !list[0].Until.Equal(until) {
		t.Errorf("%+v, %v", list, err)
	}
	w.pass(24 * time.Hour)
	if list, err := w.Observations(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("over: %+v, %v", list, err)
	}
}

// A commit that would observe for longer than 30 days does not enter into force.
func TestObservingForLongKeepsACommitOut(t *testing.T) {
	w := newWorld(t)
	w.observe()
	w.files["exceptions/observe-stripe.yaml"] = []byte(strings.Replace(string(w.files["exceptions/observe-stripe.yaml"]), "until: ", "until: "+w.clock().Add(31*24*time.Hour).UTC().Format(time.DateOnly)+" #", 1))
	_, err := w.ApplyPolicy(t.Context(), access.PolicyCommit{Files: w.files, Commit: strings.Repeat("2", 40), After: w.commit})
	var all policy.Errors
	if !errors.As(err, &all) || all[0].Code != policy.CodeCap {
		t.Errorf("%v", err)
	}
}

// tried is a record of what passed undecided.
func tried(s *spool, who, operation, code string, under grant.GrantID, attributes map[string]audit.Attr) audit.Observed {
	o := audit.Observed{Code: code, Try: audit.Try{Action: s.minter.NewActionID(epoch).String(), Principal: who, App: "stripe", Operation: operation, Attributes: attributes}}
	if !under.IsZero() {
		o.Grant = under.String()
	}
	return o
}

func values(pairs ...string) map[string]audit.Attr {
	out := map[string]audit.Attr{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = audit.Attr{Value: pairs[i+1]}
	}
	return out
}

const shop = "spiffe://acme.example/ns/web/sa/shop"

// The report names who would be cut off, by the record, and proposes exactly what was
// seen: policy check takes it, and with it they would not be denied.
func TestObserveReportProposesWhatWasSeen(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	r := w.granted()
	w.observe()
	s := newSpool(t)
	w.ship(s, tried(s, shop, "refunds.create", "no_grant", grant.GrantID{}, values("charge", "ch_7", "amount", "100", "reason", "duplicate")),
		tried(s, shop, "refunds.create", "no_grant", grant.GrantID{}, values("charge", "ch_8", "amount", "200", "reason", "duplicate")),
		tried(s, shop, "charges.retrieve", "scope", grant.GrantID{}, values("charge", "ch_7")), tried(s, shop, "", "unknown_operation", grant.GrantID{}, nil))
	w.ship(s, tried(s, refunder, "refunds.create", "", r.Grant, values("charge", "ch_1")))
	report, err := w.ObserveReport(t.Context(), w.as(dave), access.ObserveQuery{App: "stripe", Owner: "team-payments"})
	if err != nil || len(report.Apps) != 1 || len(report.Rows) != 4 {
		t.Fatalf("%+v, %v", report, err)
	}
	first := report.Rows[0]
	if last := report.Rows[3]; first.Name != shop || first.Code == "" || last.Code != "" || last.Principal.String() != refunder {
		t.Errorf("rows %+v", report.Rows)
	}
	for _, row := range report.Rows {
		if row.Operation == "refunds.create" && row.Code == "no_grant" && (row.Count != 2 || row.Last.IsZero()) {
			t.Errorf("counted %+v", row)
		}
	}
	if len(report.Unmet) != 1 || !strings.Contains(report.Unmet[0], shop) {
		t.Errorf("unmet: %q", report.Unmet)
	}
	if len(report.Proposals) != 1 || len(report.Problems) != 0 {
		t.Fatalf("proposals %+v, problems %v", report.Proposals, report.Problems)
	}
	p := report.Proposals[0]
	if !strings.Contains(p.YAML, "{operations: [charges.retrieve], where: {charge: {is: \"ch_7\"}}}") || strings.Contains(p.YAML, "*") || strings.Contains(p.YAML, "@") ||
		strings.Contains(p.YAML, "ch_8") || strings.Contains(p.YAML, "amount") || strings.Contains(p.YAML, refunder) || !strings.Contains(p.YAML, "owner: team-payments") {
		t.Errorf("%s:\n%s", p.Path, p.YAML)
	}
	w.files[p.Path] = []byte(p.YAML)
	w.apply("")
	if e, ok := func() (*policy.Entitlement, bool) {
		set, _ := w.Policy(t.Context())
		return set.Entitlement("stripe/observed-1")
	}(); !ok || e.Owner != "team-payments" {
		t.Errorf("the proposal is not in force: %v", ok)
	}
}

// Who may not read what others did learns nothing; who may, by a grant, leaves a leaf.
func TestObserveReportIsForThoseWhoMayReadTraces(t *testing.T) {
	w := newWorld(t)
	w.join("1")
	w.observe()
	s := newSpool(t)
	w.ship(s, tried(s, shop, "refunds.create", "no_grant", grant.GrantID{}, nil))
	for _, c := range []access.Caller{w.as(erin), w.as(refunder), w.in(dave, "support")} {
		if report, err := w.ObserveReport(t.Context(), c, access.ObserveQuery{}); err == nil {
			t.Errorf("%s sees %+v", c.Principal, report)
		}
	}
	held := w.mayInvestigate(nil)
	before := len(w.leaves())
	report, err := w.ObserveReport(t.Context(), w.in(dave, "support"), access.ObserveQuery{})
	if err != nil || len(report.Rows) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	leaves := w.leaves()[before:]
	if len(leaves) != 1 || leaves[0].Type != audit.TypeAdministration || leaves[0].Subject != held.Grant.String() {
		t.Errorf("on record: %+v", leaves)
	}
	if _, err := w.ObserveReport(t.Context(), w.as(dave), access.ObserveQuery{Owner: "x\nowner: y"}); access.CodeOf(err) != access.CodeInvalid {
		t.Errorf("an owner of two lines: %v", err)
	}
}
