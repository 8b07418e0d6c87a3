package policy

import (
	"slices"
	"strings"
	"testing"
)

func need(t *testing.T, app, operation, who string, attributes ...string) Need {
	t.Helper()
	n := Need{App: app, Operation: operation, Who: principal(t, who), Attributes: map[string]string{}}
	for i := 0; i+1 < len(attributes); i += 2 {
		n.Attributes[attributes[i]] = attributes[i+1]
	}
	return n
}

const (
	shop     = "spiffe://acme.example/ns/pay/sa/shop"
	reporter = "spiffe://acme.example/ns/data/sa/reporter"
)

// accepted puts proposals into the example policy, as its author would.
func accepted(t *testing.T, proposals []Proposal) *Set {
	t.Helper()
	var changes []change
	for _, p := range proposals {
		changes = append(changes, change{p.Path, "", p.YAML})
	}
	return loaded(t, changes...)
}

// A proposal is a file that loads as it stands, and gives exactly what was seen: not
// another operation, not another value, to nobody else, and only once somebody agrees.
func TestAProposalGivesExactlyWhatWasSeen(t *testing.T) {
	out, unmet := example(t).Propose("team-data", []Need{
		need(t, "stripe", "charges.retrieve", shop, "charge", "ch_1"),
		need(t, "stripe", "charges.list", shop),
		need(t, "stripe", "charges.retrieve", shop, "charge", "ch_1"),
	})
	if len(unmet) > 0 || len(out) != 1 || out[0].Path != "entitlements/stripe/observed-1.yaml" {
		t.Fatalf("proposals %+v, unmet %v", out, unmet)
	}
	e, ok := accepted(t, out).Entitlement("stripe/observed-1")
	if !ok {
		t.Fatal("the set has no such entitlement")
	}
	if got := e.Operations(); !slices.Equal(got, []string{"charges.list", "charges.retrieve"}) {
		t.Errorf("operations %v", got)
	}
	if len(e.Who) != 1 || e.Who[0].String() != shop || e.Auto != "" || !e.Justify {
		t.Errorf("asked for by %v, rule %q, a reason wanted: %t", e.Who, e.Auto, e.Justify)
	}
	if len(e.Steps) != 1 || e.Steps[0].Count != 1 || len(e.Steps[0].Any) != 1 || e.Steps[0].Any[0] != "group:idp/security" {
		t.Errorf("approved by %+v", e.Steps)
	}
	for _, line := range []string{"{operations: [charges.list]}", `{operations: [charges.retrieve], where: {charge: {is: "ch_1"}}}`} {
		if !strings.Contains(out[0].YAML, "  - "+line+"\n") {
			t.Errorf("no line %s in\n%s", line, out[0].YAML)
		}
	}
}

// A value binds only where it was the only one, is shown in the record, and is plain
// text: everything else would be a line that no request matches, or one that means
// something else.
func TestAProposalBindsOnlyWhatWasAlwaysSo(t *testing.T) {
	for _, c := range []struct {
		name  string
		needs []Need
		want  string
	}{
		{"two values", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", "ch_1"), need(t, "stripe", "charges.retrieve", shop, "charge", "ch_2")}, "{operations: [charges.retrieve]}"},
		{"several at once", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", "")}, "{operations: [charges.retrieve]}"},
		{"what the record hides", []Need{need(t, "reports", "http.get", shop, "path", "/a")}, "{operations: [http.get]}"},
		{"none in the second", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", "ch_1"), need(t, "stripe", "charges.retrieve", shop)}, "{operations: [charges.retrieve]}"},
		{"one value", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", "ch_1")}, `{operations: [charges.retrieve], where: {charge: {is: "ch_1"}}}`},
		{"what reads as a parameter", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", "$charge")}, "{operations: [charges.retrieve]}"},
		{"what would end the text", []Need{need(t, "stripe", "charges.retrieve", shop, "charge", `ch_1"}, x: {is: "`)}, "{operations: [charges.retrieve]}"},
		{"an amount", []Need{need(t, "stripe", "refunds.create", shop, "charge", "ch_1", "amount", "500")}, `{operations: [refunds.create], where: {charge: {is: "ch_1"}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, unmet := example(t).Propose("team-data", c.needs)
			if len(out) != 1 || len(unmet) > 0 || !strings.Contains(out[0].YAML, "  - "+c.want+"\n") {
				t.Errorf("want the line %s, got %v\n%+v", c.want, unmet, out)
			}
		})
	}
}

// Whoever does the same stands in one file; accounts of one person are that person; a
// name that is taken is not taken again.
func TestProposalsAreByNeedAndByApp(t *testing.T) {
	s := example(t)
	out, _ := s.Propose("team-data", []Need{
		need(t, "reports", "http.get", shop, "path", "/a"),
		need(t, "reports", "http.get", reporter, "path", "/a"),
		need(t, "reports", "http.post", "user:idp:alice", "path", "/a"),
		need(t, "reports", "http.post", "user:idp:alice-admin", "path", "/a"),
		need(t, "stripe", "charges.list", shop),
	})
	if len(out) != 3 {
		t.Fatalf("%d proposals: %+v", len(out), out)
	}
	for i, who := range []string{`who: ["` + reporter + `", "` + shop + `"]`, `who: ["alice"]`, `who: ["` + shop + `"]`} {
		if !strings.Contains(out[i].YAML, who) {
			t.Errorf("%s has no %s:\n%s", out[i].Path, who, out[i].YAML)
		}
	}
	again, _ := accepted(t, out[:1]).Propose("team-data", []Need{need(t, "reports", "http.post", shop)})
	if len(again) != 1 || again[0].Path == out[0].Path {
		t.Errorf("a second proposal takes the place of the first: %+v", again)
	}
}

func TestWhatNoEntitlementCovers(t *testing.T) {
	const look = "entitlement: stripe/refunds\nowner: team-payments\napp: stripe\nallow: [{operations: [charges.list]}]\ngrant: {max: 1h}\nrequest: {who: [bob]}\napprove: {steps: [{any: [carol], within: 1h}]}\n"
	slow := loaded(t, change{web, "stale_after: 1m", "stale_after: 2m"}, change{stripe, "stale_after: 15s", "stale_after: 2m"}, change{refunds, "", look})
	for _, c := range []struct {
		name string
		set  *Set
		need Need
		want string
	}{
		{"an app that is gone", example(t), need(t, "wiki", "http.get", shop), "wiki is no app of the policy in force"},
		{"what has no name", example(t), need(t, "reports", "", shop), "what " + shop + " did on reports has no name: the app's catalogue does not know it, or its parser does not understand it"},
		{"an operation that is gone", example(t), need(t, "reports", "http.trace", shop), "http.trace is no operation of reports any more"},
		{"without a credential", example(t), need(t, "stripe", "payouts.create", shop), "stripe names no credential for payouts.create"},
		{"money where an end is heard of late", slow, need(t, "stripe", "refunds.create", shop), "refunds.create is of class money, and stripe has stale_after 2m: want at most 30s"},
	} {
		out, unmet := c.set.Propose("team-data", []Need{c.need, c.need})
		if len(out) != 0 || !slices.Equal(unmet, []string{c.want}) {
			t.Errorf("%s: proposals %v, unmet %q", c.name, out, unmet)
		}
	}
	if out, unmet := slow.Propose("team-data", []Need{need(t, "reports", "http.post", shop)}); len(out) != 1 || len(unmet) != 0 {
		t.Errorf("a write of a slow app: %v, %v", out, unmet)
	}
}
