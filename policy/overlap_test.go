package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// overlapping is the example with stripe/quick beside stripe/refunds: for longer, up to
// more and by rule, as an exception allows.
func overlapping(t *testing.T) *Set {
	t.Helper()
	text := strings.NewReplacer("grant: {max: 2h}", "grant: {max: 4h}", "max: 50000", "max: 60000", "for: [self]", "justification: none").Replace(quick)
	s, err := Load(edited(t, change{quickFile, "", text}, change{"exceptions/quick.yaml", "", quickExcused}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whoever may ask for the same under two rules gets what the one allows that they name:
// its caps, its parameters, its approvals, and nothing of the other.
func TestOverlapsAreNotMerged(t *testing.T) {
	s := overlapping(t)
	refunds := map[string]string{"charge": "ch_1", "amount_max": "50000"}
	quickly := map[string]string{"charge": "ch_1", "limit": "60000"}
	for _, c := range []struct {
		name, entitlement string
		params            map[string]string
		duration          time.Duration
		want              Outcome
		code              string
	}{
		{"the strict one", "stripe/refunds", refunds, 2 * time.Hour, NeedsApproval, ""},
		{"the strict one for as long as the other", "stripe/refunds", refunds, 4 * time.Hour, Denied, DenyMaxDuration},
		{"the strict one up to as much as the other", "stripe/refunds", map[string]string{"charge": "ch_1", "amount_max": "60000"}, time.Hour, Denied, DenyParam},
		{"the strict one by the parameters of the other", "stripe/refunds", quickly, time.Hour, Denied, DenyParam},
		{"the weak one", "stripe/quick", quickly, 4 * time.Hour, Granted, ""},
		{"the weak one by the parameters of the other", "stripe/quick", refunds, time.Hour, Denied, DenyParam},
	} {
		in := ask(t)
		in.Entitlement, in.Params, in.Duration = c.entitlement, c.params, c.duration
		d := s.Decide(in)
		if d.Outcome != c.want || d.Code != c.code {
			t.Errorf("%s: %s %q: %s; want %s %q", c.name, d.Outcome, d.Code, d.Sentence, c.want, c.code)
		}
		if c.want != Denied && d.Duration != c.duration {
			t.Errorf("%s: for %s", c.name, d.Duration)
		}
		if c.want == NeedsApproval && (len(d.Steps) != 1 || !slices.Equal(d.Steps[0].Any, []string{"group:idp/payments-leads"})) {
			t.Errorf("%s: approved by %+v", c.name, d.Steps)
		}
	}
	in := ask(t)
	in.Requester.Principal = principal(t, "spiffe://acme.example/ns/pay/sa/refunder")
	in.Beneficiary, in.Entitlement, in.Params = in.Requester.Principal, "stripe/quick", quickly
	if d := s.Decide(in); d.Outcome != Denied || d.Code != DenyNotEligible {
		t.Errorf("who may ask for the other one only: %s %q", d.Outcome, d.Code)
	}
}

// What a reviewer of a commit is told: which pairs overlap, for whom, and which of the
// two is the stricter in what; and what no rule gives to anybody.
func TestLookTellsOverlapsAndWhatNoRuleGives(t *testing.T) {
	s := overlapping(t)
	look := Look(example(t), s)
	if len(look.Overlaps) != 1 {
		t.Fatalf("%+v", look.Overlaps)
	}
	o := look.Overlaps[0]
	if o.App != "stripe" || o.One != "stripe/quick" || o.Other != "stripe/refunds" || !slices.Equal(o.Operations, []string{"refunds.create"}) || !slices.Equal(o.Who, []string{"group:idp/support"}) {
		t.Errorf("%+v", o)
	}
	want := []string{
		"grant.max: stripe/refunds has 2h, the other 4h",
		"approve: stripe/refunds has 1 approval of group:idp/payments-leads within 20m, the other the rule true",
		"justification: stripe/refunds has text, the other none",
	}
	if !slices.Equal(o.Stricter, want) {
		t.Errorf("stricter:\n%s\nwant\n%s", strings.Join(o.Stricter, "\n"), strings.Join(want, "\n"))
	}
	if again := Look(s, s).Overlaps; len(again) != 0 {
		t.Errorf("a commit that touches neither tells of %+v", again)
	}
	missing := map[string]string{}
	for _, u := range look.Unreached {
		missing[u.App] = strings.Join(u.Operations, " ")
	}
	if len(missing) != 2 || missing["stripe"] != "charges.list payouts.create" || missing["reports"] != "http.post" {
		t.Errorf("without a rule: %v", missing)
	}
}
