package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/scope"
)

const bundleFile = "bundles/refund-case.yaml"

// bundled is the example with a bundle of a refund and the reports.
func bundled(t testing.TB, more ...change) *Set {
	t.Helper()
	changes := append([]change{{bundleFile, "", "bundle: refund-case\nowner: team-payments\nentitlements: [stripe/refunds, reports/read]\n"}}, more...)
	s, err := Load(edited(t, changes...), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// askCase is a request of alice, who is in the groups of both.
func askCase(t testing.TB) Input {
	in := ask(t)
	in.Entitlement = "refund-case"
	in.Params["folder"] = "/daily"
	in.Requester.Groups = groups(t, "idp/support", "idp/engineers")
	return in
}

func TestABundleIsDecidedByTheStrictestRule(t *testing.T) {
	s := bundled(t)
	for _, c := range []struct {
		name string
		edit func(*Input)
		want Outcome
		code string
		says string
	}{
		{"as it is", func(*Input) {}, NeedsApproval, "", "1 approval of group:idp/payments-leads within 20m"},
		{"in the group of one", func(in *Input) { in.Requester.Groups = groups(t, "idp/support") }, Denied, DenyNotEligible, "reports/read"},
		{"in the group of the other", func(in *Input) { in.Requester.Groups = groups(t, "idp/engineers") }, Denied, DenyNotEligible, "stripe/refunds"},
		{"with old groups", func(in *Input) { in.Requester.GroupsAt = noon().Add(-time.Hour) }, Denied, DenyLoginAgain, "log in again"},
		{"longer than one of them", func(in *Input) { in.Duration = 3 * time.Hour }, Denied, DenyMaxDuration, "stripe/refunds allows at most 2h"},
		{"as long as the shortest cap", func(in *Input) { in.Duration = 2 * time.Hour }, NeedsApproval, "", "payments-leads"},
		{"without a reason", func(in *Input) { in.Justification = "" }, Denied, DenyJustification, "stripe/refunds"},
		{"a value that one does not take", func(in *Input) { in.Params["folder"] = "/secret" }, Denied, DenyParam, "folder"},
		{"a required value is missing", func(in *Input) { delete(in.Params, "charge") }, Denied, DenyParam, "charge is missing"},
		{"a value that nobody takes", func(in *Input) { in.Params["colour"] = "red" }, Denied, DenyParam, `refund-case has no parameter "colour"`},
		{"for somebody else", func(in *Input) { in.Beneficiary = principal(t, "user:idp:bob") }, Denied, DenyBeneficiary, "same principal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := askCase(t)
			c.edit(&in)
			d := s.Decide(in)
			if d.Outcome != c.want || d.Code != c.code || !strings.Contains(d.Sentence, c.says) {
				t.Errorf("%s %q: %s", d.Outcome, d.Code, d.Sentence)
			}
			if d.Outcome == Denied && (len(d.Members) != 0 || d.Duration != 0) {
				t.Errorf("what is denied would give %+v for %s", d.Members, d.Duration)
			}
		})
	}
}

// What would be granted is what each entitlement would give alone, and the strictest
// values over all of it.
func TestABundleGivesWhatItsEntitlementsGive(t *testing.T) {
	s := bundled(t)
	d := s.Decide(askCase(t))
	if len(d.Members) != 2 || d.Duration != 30*time.Minute || d.Expansion.App != "" || len(d.Expansion.Scope.Rules) != 0 {
		t.Fatalf("%+v", d)
	}
	for _, m := range d.Members {
		in := askCase(t)
		e, _ := s.Entitlement(m.Entitlement)
		in.Entitlement, in.Params = m.Entitlement, e.Takes(in.Params)
		alone := s.Decide(in).Expansion
		alone.IdleAfter = 15 * time.Minute // of the refund
		if fmt.Sprint(alone) != fmt.Sprint(m.Expansion) {
			t.Errorf("%s gives\n%+v\nalone\n%+v", m.Entitlement, m.Expansion, alone)
		}
	}
	if x := d.Expansion; x.Class.String() != "money" || x.IdleAfter != 15*time.Minute || len(x.Params) != 3 || x.Catalogue != s.CatalogueOf("refund-case") {
		t.Errorf("over all of it: %+v", x)
	}
	in := askCase(t)
	delete(in.Params, "folder")
	if d := s.Decide(in); !slices.Equal(d.Expansion.ShownAny, []string{"folder"}) {
		t.Errorf("left open: %v", d.Expansion.ShownAny)
	}
	terms, _ := s.Terms("refund-case")
	if terms.Max != 2*time.Hour || terms.Default != 30*time.Minute || !terms.Justify || len(terms.Params) != 3 || terms.Owner != "team-payments" {
		t.Errorf("terms %+v", terms)
	}
}

// By the rules of all it is granted at once; where one of them is not true its steps
// are asked for, and of those that are true none.
func TestABundleAsksForTheStepsOfThoseThatNoRuleApproves(t *testing.T) {
	other := change{"entitlements/reports/extra.yaml", "", `entitlement: reports/extra
owner: team-data
app: reports
allow: [{operations: [http.get]}]
grant: {max: 8h}
request: {who: [group:idp/engineers]}
approve: {auto: {when: "request.duration <= duration('1h')"}, steps: [{any: [carol], within: 1h}]}
`}
	two := change{"bundles/two.yaml", "", "bundle: two\nowner: team-data\nentitlements: [reports/read, reports/extra]\n"}
	s := bundled(t, other, two)
	for length, want := range map[time.Duration]string{
		30 * time.Minute: "",
		40 * time.Minute: "1 approval of group:idp/data-leads, carol within 4h",
		2 * time.Hour:    "1 approval of carol within 1h", // in which the other one is held
	} {
		in := askCase(t)
		in.Entitlement, in.Duration, in.Params = "two", length, nil
		d := s.Decide(in)
		var got []string
		for _, step := range d.Steps {
			got = append(got, step.Words())
		}
		if strings.Join(got, "; ") != want || (d.Outcome == Granted) != (want == "") {
			t.Errorf("%s: %s %q, want %q", length, d.Outcome, got, want)
		}
	}
}

// Whoever wants two persons for one of its entitlements alone gets two of its bundle,
// though the one step holds the other in itself.
func TestP6_ABundleAsksForAsManyPersonsAsEachEntitlement(t *testing.T) {
	for steps, want := range map[string]string{
		"[{any: [group:idp/payments-leads, carol], within: 1h}, {any: [group:idp/payments-leads, carol], within: 1h}]": "1 approval of group:idp/payments-leads within 20m; 1 approval of group:idp/payments-leads, carol within 1h",
		"[{any: [group:idp/payments-leads, carol], within: 1h}, {any: [carol], within: 1h}]":                           "1 approval of group:idp/payments-leads within 20m; 1 approval of carol within 1h",
		"[{any: [group:idp/payments-leads, carol], within: 10m}]":                                                      "1 approval of group:idp/payments-leads within 10m",
	} {
		s := bundled(t, change{"entitlements/reports/extra.yaml", "", `entitlement: reports/extra
owner: team-data
app: reports
allow: [{operations: [http.get]}]
grant: {max: 8h}
request: {who: [group:idp/support]}
approve: {steps: ` + steps + `}
`}, change{"bundles/two.yaml", "", "bundle: two\nowner: team-data\nentitlements: [stripe/refunds, reports/extra]\n"})
		in := askCase(t)
		in.Entitlement = "two"
		delete(in.Params, "folder")
		var got []string
		for _, step := range s.Decide(in).Steps {
			got = append(got, step.Words())
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: %q, want %q", steps, got, want)
		}
	}
}

// TestMergedStepsHoldEachStep: whoever satisfies the steps of a bundle has satisfied
// those of each of its entitlements, whoever they are, with as many persons and in
// whatever time.
func TestMergedStepsHoldEachStep(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	people := []string{"alice", "bob", "carol", "dan"}
	for range 20_000 {
		each := make([][]Step, 1+r.IntN(3))
		some := false
		for i := range each {
			for range r.IntN(3) {
				s := Step{Count: 1 + r.IntN(2), Within: time.Duration(1+r.IntN(3)) * time.Hour}
				for _, p := range people {
					if r.IntN(2) == 0 {
						s.Any = append(s.Any, p)
					}
				}
				if len(s.Any) >= s.Count {
					each[i], some = append(each[i], s), true
				}
			}
		}
		joint := mergeSteps(each)
		if some && len(joint) == 0 {
			t.Fatalf("%v: nothing is left", each)
		}
		for _, steps := range each {
			if !heldApart(joint, steps) {
				t.Fatalf("%v merged into %v, which does not hold %v", each, joint, steps)
			}
		}
	}
}

// heldApart reports whether each of steps is held by one of joint of its own, which has
// no more time.
func heldApart(joint, steps []Step) bool {
	if len(steps) == 0 {
		return true
	}
	s := steps[0]
	for i, m := range joint {
		among := 0
		for _, who := range m.Any {
			if slices.Contains(s.Any, who) {
				among++
			}
		}
		if among == len(m.Any) && m.Count >= s.Count && m.Within <= s.Within && heldApart(slices.Delete(slices.Clone(joint), i, i+1), steps[1:]) {
			return true
		}
	}
	return false
}

func TestABundleIsDecidedAgainFromWhatWasStored(t *testing.T) {
	s := bundled(t)
	d := s.Decide(askCase(t))
	again, err := s.Replay(d.Inputs)
	if err != nil || fmt.Sprint(again.Steps) != fmt.Sprint(d.Steps) || fmt.Sprint(again.Members) != fmt.Sprint(d.Members) {
		t.Fatalf("%v: %+v, was %+v", err, again, d)
	}
	in := d.Inputs
	in.Catalogue = s.CatalogueOf("reports/read")
	if _, err := s.Replay(in); err == nil {
		t.Error("another catalogue is not told")
	}
	tr := s.Trail(askCase(t))
	if len(tr.Members) != 2 || tr.Owner != "team-payments" || tr.Members[0].Owner != "team-payments" || tr.Members[1].AppOwner != "team-data" || len(tr.Trials) != 2 {
		t.Errorf("trail %+v", tr)
	}
	bad := askCase(t)
	bad.Params["colour"] = "red"
	if tr := s.Trail(bad); tr.Trials[0].Verdict != Failed || tr.Trials[0].Code != DenyParam || tr.Trials[0].File != bundleFile {
		t.Errorf("a parameter of nobody: %+v", tr.Trials)
	}
}

func TestARemedyOfABundleNarrowsAllOfIt(t *testing.T) {
	s := bundled(t)
	in := askCase(t)
	in.Duration, in.Justification = 5*time.Hour, ""
	got := s.Closer(in)
	if len(got) != 1 || got[0].Outcome != NeedsApproval || len(got[0].Edits) != 2 || got[0].Input.Duration != 2*time.Hour {
		t.Errorf("%+v", got)
	}
	in = askCase(t)
	in.Entitlement = "refund-cas"
	if got := s.Closer(in); len(got) != 1 || got[0].Edits[0].To != "refund-case" {
		t.Errorf("a misspelt bundle: %+v", got)
	}
	if d := s.Decide(in); !strings.Contains(d.Sentence, "did you mean refund-case?") {
		t.Errorf("%s", d.Sentence)
	}
}

// A bundle that is new or another one waits; one that is taken away does not.
func TestWhatABundleWidens(t *testing.T) {
	without, with := example(t), bundled(t)
	turned := bundled(t, change{bundleFile, "[stripe/refunds, reports/read]", "[reports/read, stripe/refunds]"})
	renamed := bundled(t, change{bundleFile, "team-payments", "team-data"})
	for name, c := range map[string]struct {
		before, after *Set
		widens        bool
		changes       int
	}{
		"new": {without, with, true, 1}, "gone": {with, without, false, 1}, "another order": {with, turned, true, 1},
		"another owner": {with, renamed, false, 1}, "the same": {with, bundled(t), false, 0},
	} {
		got := Compare(c.before, c.after)
		if got.Widens() != c.widens || len(got.Changes) != c.changes {
			t.Errorf("%s: widens %t, %+v", name, got.Widens(), got.Changes)
		}
	}
}

func TestBundlesHaveInlineTests(t *testing.T) {
	s := bundled(t, change{bundleFile, "reports/read]", `reports/read]
tests:
  - {as: alice@acme.example, groups: [idp/support, idp/engineers], ask: {charge: ch_1, amount_max: 5}, expect: approval}
  - {as: alice@acme.example, groups: [idp/support], ask: {charge: ch_1, amount_max: 5}, expect: granted}`})
	var got []string
	for _, r := range RunTests(s) {
		if r.Entitlement == "refund-case" {
			got = append(got, fmt.Sprintf("%d %t %s", r.Line, r.Passed, r.Got))
		}
	}
	if !slices.Equal(got, []string{"5 true approval", "6 false denied (not_eligible)"}) {
		t.Errorf("%q", got)
	}
	for _, w := range s.Warnings(time.Time{}) {
		if w.File == bundleFile {
			t.Errorf("a tested bundle is warned of: %s", w)
		}
	}
	if !slices.ContainsFunc(bundled(t).Warnings(time.Time{}), func(w Warning) bool { return w.File == bundleFile && w.Code == WarnUntested }) {
		t.Error("a bundle without a test is not warned of")
	}
}

// An exception that is over denies every bundle that has what it excused.
func TestABundleLapsesWithAnExceptionOfOneOfItsEntitlements(t *testing.T) {
	s := bundled(t, change{reports, "[http.get, http.head]", `["@write", http.get]`}, exceptionTo("2027-01-31", "2030-04-30"),
		change{"entitlements/reports/extra.yaml", "", `entitlement: reports/extra
owner: team-data
app: reports
allow: [{operations: [http.get]}]
grant: {max: 8h}
request: {who: [group:idp/engineers]}
approve: {steps: [{any: [bob], within: 1h}]}
`}, change{"bundles/two.yaml", "", "bundle: two\nowner: team-data\nentitlements: [stripe/refunds, reports/extra]\n"})
	in := askCase(t)
	if d := s.Decide(in); d.Code != DenyExceptionOver {
		t.Errorf("%s %s: %s", d.Outcome, d.Code, d.Sentence)
	}
	if r := s.Lapsed("refund-case", in.Now); r == nil || s.Lapsed("two", in.Now) != nil {
		t.Errorf("lapsed: %v", r)
	}
}

// A parameter of several entitlements is shown with what all of them take.
func TestTermsShowWhatEveryEntitlementTakes(t *testing.T) {
	n := scope.MinorUnits
	texts := func(list ...string) (out []scope.Value) {
		for _, s := range list {
			out = append(out, scope.Text(s))
		}
		return out
	}
	amount := func(low, high int64) Param {
		p := Param{Name: "p", Type: scope.TypeMinorUnits, Required: true}
		if low > 0 {
			p.Min = n(low)
		}
		if high > 0 {
			p.Max = n(high)
		}
		return p
	}
	listed := func(list ...string) Param {
		return Param{Name: "p", Type: scope.TypeString, Required: true, Values: texts(list...)}
	}
	matching := func(pattern string) Param {
		return Param{Name: "p", Type: scope.TypeString, Required: true, Pattern: pattern}
	}
	anyOf := Param{Name: "p", Type: scope.TypeString, Any: true}
	must := Param{Name: "p", Type: scope.TypeString, Required: true}
	for name, c := range map[string]struct{ one, other, want Param }{
		"a lower maximum counts":  {amount(0, 10), amount(0, 5), amount(0, 5)},
		"a maximum and none":      {amount(0, 10), amount(0, 0), amount(0, 10)},
		"a higher minimum counts": {amount(2, 0), amount(3, 0), amount(3, 0)},
		"a minimum and none":      {amount(2, 0), amount(0, 0), amount(2, 0)},
		"both":                    {amount(2, 9), amount(1, 8), amount(2, 8)},
		"values of both":          {listed("a", "b", "c"), listed("b", "c", "d"), listed("b", "c")},
		"values and none":         {listed("a", "b"), listed(), listed("a", "b")},
		"a pattern and none":      {matching("x+"), matching(""), matching("x+")},
		"two patterns":            {matching("x+"), matching("y+"), matching("x+")},
		"one must be given":       {anyOf, must, must},
		"none must be given":      {anyOf, anyOf, anyOf},
	} {
		for _, turned := range []bool{false, true} {
			e := &Entitlement{}
			if turned {
				c.one, c.other = c.other, c.one
			}
			e.addParam(c.one)
			e.addParam(Param{Name: "q", Type: scope.TypeString, Any: true})
			e.addParam(c.other)
			if name == "two patterns" && turned {
				c.want = matching("y+") // the first is shown, and each asks for its own
			}
			if len(e.Params) != 2 || fmt.Sprint(e.Params[0]) != fmt.Sprint(c.want) || e.Params[1].Name != "q" {
				t.Errorf("%s (turned %t): %+v, want %+v", name, turned, e.Params, c.want)
			}
		}
	}
	for _, c := range []struct{ a, b, want time.Duration }{{0, 0, 0}, {0, 5, 5}, {5, 0, 5}, {3, 5, 3}, {5, 3, 3}} {
		if got := least(c.a, c.b); got != c.want {
			t.Errorf("least(%d, %d) = %d", c.a, c.b, got)
		}
	}
	if _, ok := bundled(t).Terms("nothing/here"); ok {
		t.Error("there are terms of what is not there")
	}
	if bundled(t).CatalogueOf("nothing/here") != "" {
		t.Error("there is a catalogue of what is not there")
	}
}

// Two entitlements that want the same approval are approved once, by the shorter time.
func TestAStepThatTwoEntitlementsWantIsAskedForOnce(t *testing.T) {
	step := func(within time.Duration) Step { return Step{Any: []string{"carol"}, Count: 1, Within: within} }
	got := mergeSteps([][]Step{{step(2 * time.Hour)}, {step(time.Hour)}})
	if len(got) != 1 || got[0].Within != time.Hour {
		t.Errorf("%+v", got)
	}
}
