package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// closerFile is an entitlement whose rule looks at everything that can be said.
const closerFile = `entitlement: stripe/small
owner: team-payments
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $amount_max}}}
  - {operations: [charges.retrieve], where: {charge: {is: $charge}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  amount_max: {type: minor_units, required: true, min: 1, max: 50000}
sensitivity: money
grant: {max: 4h, default: 1h}
request:
  who: [group:idp/support, group:idp/engineers]
  for: [self]
  justification: text
approve:
  auto: {when: "%s"}
  steps:
    - {any: [group:idp/payments-leads], count: 1, within: 20m}
`

func closerSet(t testing.TB, when string) *Set {
	t.Helper()
	files := exampleFiles(t)
	files["entitlements/stripe/small.yaml"] = fmt.Appendf(nil, closerFile, when)
	o := options(t)
	o.InForce = true // a commit could not be as odd
	s, err := Load(files, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rules() []string {
	return []string{
		"request.duration <= duration('30m')",
		"request.duration < duration('1h') - duration('7m') && request.params.amount_max <= 5000",
		"request.params.amount_max < 1000 || (requester.acr == 'mfa' && request.duration <= duration('2h'))",
		"requester.groups.exists(g, g == 'group:idp/support') && request.params.charge.startsWith('ch_')",
		"requester.kind == 'workload' ? request.duration <= duration('4h') : request.duration <= duration('10m')",
		"!(request.params.amount_max > 20000) && request.duration <= duration('15m')",
	}
}

// someAsk is a request of one of many kinds, good and bad.
func someAsk(t testing.TB, r *rand.Rand) Input {
	pick := func(texts ...string) string { return texts[r.IntN(len(texts))] }
	who := principal(t, pick("user:idp:alice", "user:idp:bob", "spiffe://acme.example/ns/pay/sa/refunder"))
	in := Input{
		Entitlement: pick("stripe/small", "stripe/small", "stripe/refunds", "reports/read", "stripe/smal"), Beneficiary: who, Now: noon(),
		Duration:      []time.Duration{0, 5 * time.Minute, 30 * time.Minute, 53 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 9 * time.Hour}[r.IntN(9)],
		Justification: pick("", "a broken cup", strings.Repeat("x", MaxJustification+1)),
		Requester:     Requester{Principal: who, ACR: pick("", "pwd", "mfa"), GroupsAt: noon().Add(-time.Duration(r.IntN(20)) * time.Minute)},
		Params:        map[string]string{},
	}
	if r.IntN(4) > 0 {
		in.Params["charge"] = pick("ch_1", "x")
	}
	if r.IntN(4) > 0 {
		in.Params["amount_max"] = pick("1", "999", "1000", "4200", "50000", "50001", "x")
	}
	if strings.HasPrefix(in.Entitlement, "reports") {
		in.Params = map[string]string{}
	}
	in.Requester.Groups = groups(t, pick("idp/support", "idp/engineers", "idp/all"))
	return in
}

// TestP8_WhatIsSaidToHaveHelpedHelps follows every suggestion.
func TestP8_WhatIsSaidToHaveHelpedHelps(t *testing.T) {
	r, followed := rand.New(rand.NewPCG(7, 7)), map[string]int{}
	for _, when := range rules() {
		s := closerSet(t, when)
		for range 60 {
			in := someAsk(t, r)
			was := s.Decide(in)
			for _, c := range s.Closer(in) {
				d := s.Decide(c.Input)
				if d.Outcome != c.Outcome || rank(d.Outcome) <= rank(was.Outcome) {
					t.Fatalf("%s\n%+v: %s; with %v it is %s (%s), and %s was said", when, in, was.Outcome, c.Edits, d.Outcome, d.Sentence, c.Outcome)
				}
				if len(c.Edits) == 0 || len(c.Edits) > maxEdits {
					t.Fatalf("%d edits", len(c.Edits))
				}
				unchanged(t, in, c)
				for _, e := range c.Edits {
					followed[e.Kind]++
				}
			}
		}
	}
	for _, kind := range []string{EditJustification, EditDuration, EditParam, EditLogin, EditACR, EditEntitlement} {
		if followed[kind] == 0 {
			t.Errorf("nothing of the kind %s was suggested: the test does not see it", kind)
		}
	}
}

// unchanged holds a change to what it says it changes.
func unchanged(t *testing.T, in Input, c Remedy) {
	t.Helper()
	got := c.Input
	back := in.canonical(example(t))
	for _, e := range c.Edits {
		switch e.Kind {
		case EditJustification:
			got.Justification = in.Justification
		case EditDuration:
			if in.Duration > 0 && got.Duration > in.Duration && in.Duration >= time.Second {
				t.Errorf("%s longer than %s is no narrower", got.Duration, in.Duration)
			}
			got.Duration = in.Duration
		case EditLogin:
			got.Requester.GroupsAt = back.Requester.GroupsAt
		case EditACR:
			got.Requester.ACR = in.Requester.ACR
		case EditEntitlement:
			got.Entitlement = in.Entitlement
		case EditParam:
			got.Params = maps.Clone(got.Params)
			if was, ok := in.Params[e.Name]; ok {
				got.Params[e.Name] = was
			} else {
				delete(got.Params, e.Name)
			}
		}
	}
	got.Requester.Person, back.Requester.Person = identity.Person{}, identity.Person{}
	if got.Params == nil {
		got.Params = map[string]string{}
	}
	if !reflect.DeepEqual(got, back) {
		t.Errorf("with %v more was changed:\n%+v\n%+v", c.Edits, got, back)
	}
}

// TestP8_TheChangeIsTheSmallest tries every second and every amount.
func TestP8_TheChangeIsTheSmallest(t *testing.T) {
	for _, c := range []struct {
		when string
		ask  func(*Input)
		want string
	}{
		{"request.duration <= duration('30m')", func(in *Input) { in.Duration = 2 * time.Hour }, "duration 30m"},
		{"request.duration < duration('1h') - duration('7m')", func(in *Input) { in.Duration = 2 * time.Hour }, "duration 52m59s"},
		{"request.params.amount_max < 1000", nil, "param 999"},
		{"request.params.amount_max <= 1000 && request.duration <= duration('90s')", nil, "duration 1m30s, param 1000"},
		{"requester.acr == 'mfa'", nil, "acr mfa"},
		{"request.duration <= duration('5h')", func(in *Input) { in.Duration = 9 * time.Hour }, "duration 4h"}, // the cap
		{"request.duration <= duration('5h')", func(in *Input) { in.Justification = "" }, "justification given"},
		{"requester.groups.exists(g, g == 'group:idp/support')", func(in *Input) { in.Requester.GroupsAt = noon().Add(-time.Hour) }, "login now"},
		{"request.duration <= duration('1m')", func(in *Input) { in.Duration, in.Justification = time.Hour, "" }, "justification given, duration 1m"},
	} {
		in := ask(t)
		in.Entitlement = "stripe/small"
		if c.ask != nil {
			c.ask(&in)
		}
		s := closerSet(t, c.when)
		changes := s.Closer(in)
		if len(changes) == 0 || changes[0].Outcome != Granted {
			t.Errorf("%s: nothing is granted at once: %v", c.when, changes)
			continue
		}
		var got []string
		for _, e := range changes[0].Edits {
			got = append(got, e.Kind+" "+e.To)
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, want %s", c.when, strings.Join(got, ", "), c.want)
		}
		for _, e := range changes[0].Edits {
			if e.Kind != EditDuration {
				continue
			}
			longer := changes[0].Input
			for longer.Duration += time.Second; longer.Duration < in.Duration; longer.Duration += time.Second {
				if s.Decide(longer).Outcome == Granted {
					t.Fatalf("%s: %s is granted at once too", c.when, longer.Duration)
				}
			}
		}
	}
}

func TestNothingIsSuggestedThatPolicyDoesNotLeaveOpen(t *testing.T) {
	s := example(t)
	in := ask(t)
	in.Requester.Groups = groups(t, "idp/all")
	if got := s.Closer(in); len(got) != 0 {
		t.Errorf("somebody of no group is told %v", got)
	}
	in = ask(t)
	in.Beneficiary = principal(t, "user:idp:bob")
	if got := s.Closer(in); len(got) != 0 {
		t.Errorf("for somebody else: %v", got)
	}
	in = ask(t)
	in.Requester.Groups, in.Requester.GroupsAt = nil, time.Time{}
	if got := s.Closer(in); len(got) != 0 {
		t.Errorf("who is of no known group is told %v", got)
	}
	if got := s.Closer(ask(t)); len(got) != 0 { // waits, and nobody but people can help
		t.Errorf("%v", got)
	}
	for _, wider := range []string{"request.duration >= duration('2h')", "request.params.amount_max >= 5000", "request.params.charge == 'ch_9' && request.params.amount_max > 4200"} {
		in = ask(t)
		in.Entitlement = "stripe/small"
		if got := closerSet(t, wider).Closer(in); len(got) != 0 {
			t.Errorf("%s: somebody is told to ask for more: %v", wider, got[0].Edits)
		}
	}
}

// TestP8_TheTrailIsTheDecision holds the trail to Decide: the same findings, in
// order, each under one check.
func TestP8_TheTrailIsTheDecision(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for _, when := range rules() {
		s := closerSet(t, when)
		for range 60 {
			in := someAsk(t, r)
			trail, d := s.Trail(in), s.Decide(in)
			if !reflect.DeepEqual(trail.Decision, d) {
				t.Fatalf("the trail has another decision: %+v, %+v", trail.Decision, d)
			}
			if d.Code == DenyUnknownEntitlement {
				if len(trail.Trials) != 0 || trail.Owner != "" {
					t.Errorf("trials of no entitlement: %v", trail.Trials)
				}
				continue
			}
			var names []string
			failed := ""
			for _, one := range trail.Trials {
				names = append(names, string(one.Check))
				if len(one.Texts) == 0 || one.Texts[0] == "" || one.File == "" || one.Line == 0 {
					t.Fatalf("%+v says nothing, or not where", one)
				}
				if one.Verdict == Failed && one.Code != "" && failed == "" {
					failed = one.Code
				}
			}
			if got := strings.Join(names, " "); got != "who trust_domain exceptions beneficiary params duration justification auto steps" {
				t.Fatalf("checks %s", got)
			}
			if failed != d.Code {
				t.Fatalf("the first that failed is %q, the decision's code is %q", failed, d.Code)
			}
			for _, reason := range d.Reasons {
				if !slices.ContainsFunc(trail.Trials, func(o Trial) bool { return slices.Contains(o.Texts, reason.Text) }) {
					t.Fatalf("%q is under no check", reason.Text)
				}
			}
			if trail.Owner == "" || trail.AppOwner == "" {
				t.Fatal("nobody owns it")
			}
		}
	}
}

func TestAConditionSaysWhatMadeItSo(t *testing.T) {
	for _, c := range []struct {
		when    string
		ask     func(*Input)
		value   string
		because []string
		vars    string
	}{
		{"request.duration <= duration('30m')", nil, "false", []string{`request.duration <= duration("30m") is false`}, "request.duration=1h"},
		{"request.duration <= duration('30m') && request.params.amount_max <= 5000", nil, "false", []string{`request.duration <= duration("30m") is false`}, "request.duration=1h request.params.amount_max=4200"},
		{"request.duration <= duration('30m') || request.params.amount_max <= 100", nil, "false",
			[]string{`request.duration <= duration("30m") is false`, "request.params.amount_max <= 100 is false"}, "request.duration=1h request.params.amount_max=4200"},
		{"!(request.params.amount_max > 100)", nil, "false", []string{"request.params.amount_max > 100 is true"}, "request.params.amount_max=4200"},
		{"requester.acr == 'mfa' && request.duration <= duration('2h')", nil, "unknown", []string{`requester.acr == "mfa" is unknown`}, "request.duration=1h requester.acr=unknown"},
		{"requester.acr == 'mfa'", func(in *Input) { in.Requester.ACR = "pwd" }, "false", []string{`requester.acr == "mfa" is false`}, "requester.acr=pwd"},
		{"requester.groups.exists(g, g == 'group:idp/x')", nil, "false", []string{`requester.groups.exists(g, g == "group:idp/x") is false`}, "requester.groups=[group:idp/all, group:idp/support]"},
		{"requester.kind == 'workload' ? true : request.duration <= duration('10m')", nil, "false",
			[]string{`requester.kind == "workload" is false`, `request.duration <= duration("10m") is false`}, "request.duration=1h requester.kind=user"},
		{"request.params.amount_max + 9223372036854775807 > 0 && request.duration <= duration('2h')", nil, "error", []string{"request.params.amount_max + 9223372036854775807 > 0 is error"}, ""},
		{"request.duration <= duration('2h')", nil, "true", []string{`request.duration <= duration("2h") is true`}, ""},
	} {
		in := ask(t)
		in.Entitlement = "stripe/small"
		if c.ask != nil {
			c.ask(&in)
		}
		s := closerSet(t, c.when)
		got := s.Trail(in).Condition
		if got == nil {
			t.Errorf("%s: not told", c.when)
			continue
		}
		if (s.Decide(in).Outcome == Granted) != (got.Value == "true") {
			t.Errorf("%s: said to be %s, decided %s", c.when, got.Value, s.Decide(in).Outcome)
		}
		var vars []string
		for _, v := range got.Variables {
			vars = append(vars, v.Name+"="+v.Value)
		}
		if got.Value != c.value || !slices.Equal(got.Because, c.because) || c.vars != "" && strings.Join(vars, " ") != c.vars {
			t.Errorf("%s: %s because %q with %v; want %s because %q with %s", c.when, got.Value, got.Because, vars, c.value, c.because, c.vars)
		}
	}
}
