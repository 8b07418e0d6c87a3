package policy

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// strictRefunds is another way to the refunds: two say yes, one operation, for less time.
const strictRefunds = `entitlement: stripe/big-refunds
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $amount_max}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  amount_max: {type: minor_units, required: true, min: 1, max: 900000}
sensitivity: money
grant: {max: 1h, default: 10m}
request:
  who: [group:idp/support, bob]
  justification: text
approve:
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 20m}
    - {any: [group:idp/security], count: 1, within: 20m}
`

const strictRefundsFile = "entitlements/stripe/big-refunds.yaml"

func loaded(t *testing.T, changes ...change) *Set {
	t.Helper()
	s, err := Load(edited(t, changes...), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whoever reads a plan learns who could ask for what from now on, and who no more:
// by operation, under whatever entitlement.
func TestLookSaysWhoGainsAndLoses(t *testing.T) {
	for _, c := range []struct {
		name  string
		edits []change
		want  []Reach
	}{
		{"nothing", nil, nil},
		{"another owner", []change{{reports, "owner: team-data", "owner: team-web"}}, nil},
		{"one operation more", []change{{reports, "http.head]", "http.head, http.post]"}}, []Reach{
			{Who: "group:idp/engineers", Gains: []string{"reports http.post"}},
			{Who: "spiffe://acme.example/ns/data/sa/reporter", Gains: []string{"reports http.post"}},
		}},
		{"somebody less", []change{{refunds, "group:idp/support, ", ""}}, []Reach{
			{Who: "group:idp/support", Loses: []string{"stripe charges.retrieve", "stripe refunds.create"}},
		}},
		// What somebody has by another entitlement already is no gain.
		{"another way to the same", []change{{strictRefundsFile, "", strictRefunds}}, []Reach{
			{Who: "bob", Gains: []string{"stripe refunds.create"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Look(example(t), loaded(t, c.edits...)).Reach
			for i := range got { // none is none, however it is written
				got[i].Gains, got[i].Loses = slices.Clip(append([]string(nil), got[i].Gains...)), slices.Clip(append([]string(nil), got[i].Loses...))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// With nothing before it, everybody who is named gains all that they may ask for.
func TestTheFirstPolicyIsAllGain(t *testing.T) {
	out := Look(nil, example(t))
	if !out.First {
		t.Error("it is not called the first")
	}
	gains := map[string][]string{}
	for _, r := range out.Reach {
		if len(r.Loses) > 0 {
			t.Errorf("%s loses %v", r.Who, r.Loses)
		}
		gains[r.Who] = r.Gains
	}
	if got := gains["group:idp/support"]; !slices.Equal(got, []string{"stripe charges.retrieve", "stripe refunds.create"}) {
		t.Errorf("support gains %v", got)
	}
}

// Two entitlements that lead the same people to the same operation are told, with what
// makes one of them the stricter: people take the easier one.
func TestLookSaysWhichWaysLeadToTheSame(t *testing.T) {
	was := example(t)
	out := Look(was, loaded(t, change{strictRefundsFile, "", strictRefunds}))
	want := []Overlap{{
		App: "stripe", Operations: []string{"refunds.create"}, Who: []string{"group:idp/support"}, One: "stripe/big-refunds", Other: "stripe/refunds",
		Stricter: []string{
			"grant.max: stripe/big-refunds has 1h, the other 2h",
			"approvals: stripe/big-refunds has 2, the other 1",
		},
	}}
	if !reflect.DeepEqual(out.Overlaps, want) {
		t.Errorf("got  %+v\nwant %+v", out.Overlaps, want)
	}
	// What was so before, and is not touched, is nobody's news.
	both := loaded(t, change{strictRefundsFile, "", strictRefunds})
	if out := Look(both, loaded(t, change{strictRefundsFile, "", strictRefunds}, change{reports, "max: 8h", "max: 7h"})); len(out.Overlaps) != 0 {
		t.Errorf("beside another change: %+v", out.Overlaps)
	}
	if out := Look(both, loaded(t, change{strictRefundsFile, "", strictRefunds}, change{refunds, "max: 2h", "max: 1h"})); len(out.Overlaps) != 1 {
		t.Errorf("where the other one changes: %+v", out.Overlaps)
	}
}

func TestWhatMakesAnEntitlementTheStricter(t *testing.T) {
	const second = `entitlement: reports/other
owner: team-data
app: reports
allow:
  - {operations: [http.get], where: {path: {under: $folder}}}
params:
  folder: {type: path, any: true, pattern: "/(daily|monthly)(/.*)?"}
sensitivity: read
grant: {max: 8h, default: 30m}
request:
  who: [group:idp/engineers]
  justification: none
approve:
  auto: {when: "request.duration <= duration('30m')"}
  steps:
    - {any: [group:idp/data-leads, carol], count: 1, within: 4h}
`
	rule := "the rule request.duration <= duration('30m')"
	for _, c := range []struct {
		name, was, now, want string
		undercut             bool
	}{
		{"the same", "", "", "", false},
		{"class", "sensitivity: read", "sensitivity: write", "class: reports/other has write, the other read", false},
		{"longer", "max: 8h", "max: 9h", "grant.max: reports/read has 8h, the other 9h", false},
		{"a reason", "justification: none", "justification: text", "justification: reports/other has text, the other none", false},
		{"people only", "  auto: {when: \"request.duration <= duration('30m')\"}\n", "", "approve: reports/other has 1 approval of group:idp/data-leads, carol within 4h, the other " + rule, true},
		{"more of them", "count: 1", "count: 2", "approvals: reports/other has 2, the other 1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			excuse := exceptionTo("allows: wildcard", "allows: undercut")
			if !c.undercut {
				excuse = change{web, "owner: team-data", "owner: team-data"}
			}
			out := Look(example(t), loaded(t, excuse, change{"entitlements/reports/other.yaml", "", strings.Replace(second, c.was, c.now, 1)}))
			if len(out.Overlaps) != 1 {
				t.Fatalf("overlaps: %+v", out.Overlaps)
			}
			if got := strings.Join(out.Overlaps[0].Stricter, "; "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What an app can do and nobody may ask for is told: that is what stays shut.
func TestLookSaysWhatNobodyMayAskFor(t *testing.T) {
	unreached := func(s *Set) map[string][]string {
		out := map[string][]string{}
		for _, u := range Look(example(t), s).Unreached {
			out[u.App] = u.Operations
		}
		return out
	}
	got := unreached(example(t))
	if !slices.Equal(got["stripe"], []string{"charges.list", "payouts.create"}) || !slices.Equal(got["reports"], []string{"http.post"}) {
		t.Errorf("unreached: %v", got)
	}
	if got := unreached(loaded(t, change{reports, "http.head]", "http.head, http.post]"})); got["reports"] != nil || got["stripe"] == nil {
		t.Errorf("with all operations of reports given: %v", got)
	}
}
