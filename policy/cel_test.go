package policy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// Only true counts: every other end of a condition leaves the steps to people.
func TestOnlyATrueConditionApproves(t *testing.T) {
	for _, c := range []struct {
		name, when string
		edit       func(*Input)
		want       Outcome
		says       string // in the finding
	}{
		{"true", "true", nil, Granted, ""},
		{"false", "false", nil, NeedsApproval, "which is false"},
		{"a given parameter", "request.params.folder == '/daily'", func(in *Input) { in.Params = map[string]string{"folder": "/daily"} }, Granted, ""},
		{"an absent parameter", "request.params.folder == '/daily'", nil, NeedsApproval, "unknown (it depends on something that is not known: request.params.folder"},
		{"not equal to an absent parameter", "request.params.folder != '/secret'", nil, NeedsApproval, "unknown"},
		{"not an unknown", "!(request.params.folder == '/secret')", nil, NeedsApproval, "unknown"},
		{"unknown or true", "request.params.folder == '/daily' || request.duration <= duration('1h')", nil, Granted, ""},
		{"unknown and true", "request.params.folder == '/daily' && true", nil, NeedsApproval, "unknown"},
		{"a choice by an unknown", "request.params.folder == '/daily' ? true : true", nil, NeedsApproval, "unknown"},
		{"unknown acr", "requester.acr != 'password'", nil, NeedsApproval, "requester.acr"},
		{"known acr", "requester.acr == 'mfa'", func(in *Input) { in.Requester.ACR = "mfa" }, Granted, ""},
		{"in a group", "'group:idp/engineers' in requester.groups", nil, Granted, ""},
		{"in a group whose name only looks alike", "'group:idp/engineer' in requester.groups", nil, NeedsApproval, "false"},
		{"not in a group", "!('group:idp/interns' in requester.groups)", nil, Granted, ""},
		{"groups that are too old", "!('group:idp/interns' in requester.groups)", func(in *Input) {
			in.Requester = Requester{Principal: in.Requester.Principal, Person: in.Requester.Person, Groups: in.Requester.Groups, GroupsAt: noon().Add(-time.Hour)}
		}, NeedsApproval, "requester.groups"},
		{"a macro", "requester.groups.exists(g, g.startsWith('group:idp/eng'))", nil, Granted, ""},
		{"overflow", "9223372036854775807 + size(requester.groups) > 0", nil, NeedsApproval, "an error"},
		{"a broken duration", "request.duration < duration(requester.id)", nil, NeedsApproval, "an error"},
		{"who", "requester.kind == 'user' && requester.id == 'user:idp:carol' && request.for == 'self' && request.app == 'reports' && request.entitlement == 'reports/read'", nil, Granted, ""},
		{"more than it may cost", "[" + strings.Repeat("1,", 300) + "1].all(a, [" + strings.Repeat("1,", 300) + "1].all(b, a == b))", nil, NeedsApproval, "cost limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// carol is listed by name, so that old groups do not decide who may ask
			o := options(t)
			o.InForce = true // some of them are never true, and would not enter into force
			s, err := Load(edited(t, change{reports, "request.duration <= duration('30m')", c.when}, change{reports, "[group:idp/engineers,", "[group:idp/engineers, carol,"}), o)
			if err != nil {
				t.Fatal(err)
			}
			carol := principal(t, "user:idp:carol")
			in := Input{Entitlement: "reports/read", Beneficiary: carol, Now: noon(), Requester: Requester{Principal: carol, Groups: groups(t, "idp/engineers"), GroupsAt: noon()}}
			if c.edit != nil {
				c.edit(&in)
			}
			d := s.Decide(in)
			if d.Outcome != c.want {
				t.Fatalf("got %s (%s), want %s: %+v", d.Outcome, d.Code, c.want, d.Reasons)
			}
			if c.says != "" && !strings.Contains(d.Reasons[1].Text, c.says) {
				t.Errorf("%q does not say %q", d.Reasons[1].Text, c.says)
			}
		})
	}
}

func TestARuleWithoutStepsDeniesWhenItIsNotTrue(t *testing.T) {
	s, err := Load(edited(t, change{reports, "  steps:\n    - {any: [group:idp/data-leads, carol], count: 1, within: 4h}\n", ""},
		change{reports, "ask: {duration: 31m}, expect: approval", "ask: {duration: 31m}, expect: denied, because: nobody_approves"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range RunTests(s) {
		if !r.Passed {
			t.Errorf("%+v", r)
		}
	}
}

func TestMoneyParametersAreAmountAndCurrency(t *testing.T) {
	const file = `
entitlement: stripe/payouts
owner: team-payments
app: stripe
allow: [{operations: [payouts.create], where: {total: {max: $limit}, instant: {is: $instant}}}]
params:
  limit: {type: money, required: true, max: 500.00 usd}
  instant: {type: boolean, required: true}
grant: {max: 1h}
request: {who: [carol], justification: none}
approve: {auto: {when: "request.params.limit.currency == 'usd' && request.params.limit.minor <= 100 && !request.params.instant"}, steps: [{any: [alice, bob], count: 2, within: 1h}]}
tests:
  - {as: carol, ask: {limit: 1.00 usd, instant: false}, expect: granted}
  - {as: carol, ask: {limit: 1.01 usd, instant: false}, expect: approval}
  - {as: carol, ask: {limit: 1.00 usd, instant: true}, expect: approval}
  - {as: carol, ask: {limit: 1.00 eur, instant: false}, expect: denied, because: param}
  - {as: carol, ask: {limit: 500.01 usd, instant: false}, expect: denied, because: param}
  - {as: alice, ask: {limit: 1.00 usd, instant: false}, expect: denied, because: not_eligible}
`
	s, err := Load(edited(t, change{"entitlements/stripe/payouts.yaml", "", file}, change{stripe, "[refunds.create]", "[\"@money\"]"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range RunTests(s) {
		if !r.Passed {
			t.Errorf("%s:%d: got %s, want %s: %s", r.File, r.Line, r.Got, r.Want, r.Message)
		}
	}
}

func TestInlineTestsFail(t *testing.T) {
	s, err := Load(edited(t, change{refunds, "expect: approval", "expect: granted"}, change{refunds, "because: max_duration", "because: justification"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, r := range RunTests(s) {
		if !r.Passed {
			failed = append(failed, r.File+":"+strconv.Itoa(r.Line)+" "+r.Got+" "+r.Want)
		}
	}
	if got := strings.Join(failed, "; "); got != refunds+":21 approval granted; "+refunds+":23 denied (max_duration) denied (justification)" {
		t.Errorf("failed: %s", got)
	}
}

func TestApprovers(t *testing.T) {
	s, now := example(t), noon()
	carol, bob := principal(t, "user:idp:carol"), principal(t, "user:idp:bob")
	step := Step{Any: []string{"group:idp/data-leads", "carol", "not a subject", ""}, Count: 1}
	for _, c := range []struct {
		name string
		who  Approver
		code string
	}{
		{"by name", Approver{Principal: carol, Person: s.PersonOf(carol)}, ""},
		{"by group", Approver{Principal: bob, Person: s.PersonOf(bob), Groups: groups(t, "idp/data-leads"), GroupsAt: now}, ""},
		{"by a group of an hour ago", Approver{Principal: bob, Person: s.PersonOf(bob), Groups: groups(t, "idp/data-leads"), GroupsAt: now.Add(-time.Hour)}, DenyLoginAgain},
		{"by another group", Approver{Principal: bob, Person: s.PersonOf(bob), Groups: groups(t, "idp/leads"), GroupsAt: now}, DenyNotEligible},
		{"by the group of that name at another provider", Approver{Principal: bob, Person: s.PersonOf(bob), Groups: groups(t, "other/data-leads", "other/idp/data-leads", "idp/idp/data-leads"), GroupsAt: now}, DenyNotEligible},
		{"by a group within it", Approver{Principal: bob, Person: s.PersonOf(bob), Groups: groups(t, "idp/data-leads/trainees"), GroupsAt: now}, DenyNotEligible},
		{"an account called carol", Approver{Principal: principal(t, "user:other:carol"), Person: s.PersonOf(principal(t, "user:other:carol")), GroupsAt: now}, DenyNotEligible},
		{"a workload", Approver{Principal: principal(t, "spiffe://acme.example/x"), Person: s.PersonOf(carol), Groups: groups(t, "idp/data-leads"), GroupsAt: now}, DenyNotEligible},
		{"nobody", Approver{Groups: groups(t, "idp/data-leads"), GroupsAt: now}, DenyNotEligible},
	} {
		err := MayApprove(step, c.who, now)
		r, _ := err.(*Refusal)
		if (err == nil) != (c.code == "") || r != nil && r.Code != c.code {
			t.Errorf("%s: got %v, want %q", c.name, err, c.code)
		}
	}
}

func TestP6_AccountsOfOneHumanAreOnePerson(t *testing.T) {
	s := example(t)
	account := func(p, email string) Account {
		if p == "" {
			return Account{Email: email}
		}
		return Account{Principal: principal(t, p), Email: email}
	}
	for _, c := range []struct {
		name string
		a, b Account
		same bool
	}{
		{"one account", account("user:idp:x", ""), account("user:idp:x", ""), true},
		{"two accounts of a listed person", account("user:idp:alice", ""), account("user:idp:alice-admin", ""), true},
		{"two persons", account("user:idp:alice", ""), account("user:idp:bob", ""), false},
		{"one address in two spellings", account("user:idp:x", "Dan@acme.example"), account("user:other:y", "dan@ACME.example"), true},
		{"two addresses", account("user:idp:x", "dan@acme.example"), account("user:other:y", "erin@acme.example"), false},
		{"no addresses", account("user:idp:x", ""), account("user:other:x", ""), false},
		{"nobody", account("", "a@acme.example"), account("user:idp:bob", ""), true},
	} {
		if s.SamePerson(c.a, c.b) != c.same || s.SamePerson(c.b, c.a) != c.same {
			t.Errorf("%s: want %v", c.name, c.same)
		}
	}
	if !s.PersonOf(identity.Principal{}).IsZero() {
		t.Error("nobody is a person")
	}
}
