package policy

import (
	"errors"
	"strings"
	"testing"
)

// quick gives what stripe/refunds gives, for less.
const quick = `entitlement: stripe/quick
owner: team-web
app: stripe
allow:
  - {operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $limit}}}
params:
  charge: {type: string, pattern: "ch_[A-Za-z0-9_]+", required: true}
  limit: {type: minor_units, required: true, max: 50000}
grant: {max: 2h}
request: {who: [group:idp/support], for: [self]}
approve: {auto: {when: "true"}}
`

const quickFile = "entitlements/stripe/quick.yaml"

const quickExcused = `exception: quick
owner: team-web
allows: undercut
entitlement: stripe/quick
until: 2031-01-01
reason: The desk is short of people.
`

// What gives less, to others, or for no less is no undercut: a false alarm would have
// people excuse what is well.
func TestUndercutIsOnlyWhatSurelyIs(t *testing.T) {
	steps := `{steps: [{any: [group:idp/payments-leads], count: 1, within: 20m}]}`
	for _, c := range []struct {
		name, old, new string
		more           []change
		undercut       bool
	}{
		{"as it is", "", "", nil, true},
		{"to others", "group:idp/support", "group:idp/payments-leads", nil, false},
		{"for a shorter time", "max: 2h", "max: 1h", nil, false},
		{"for longer", "max: 2h", "max: 4h", nil, true},
		{"up to a smaller amount", "max: 50000", "max: 49999", nil, false},
		{"up to a smaller amount, written out", "{max: $limit}}}\nparams:", "{max: 100}}}\nparams:", nil, false},
		{"up to a larger amount", "max: 50000", "max: 50001", nil, true},
		{"any amount, at one's choice", "required: true, max: 50000", "any: true, max: 10", nil, true},
		{"of listed amounts", "required: true, max: 50000", "required: true, values: [1, 2]", nil, false},
		{"of other charges", "ch_[A-Za-z0-9_]+", "ch_test_[A-Za-z0-9_]+", nil, false},
		{"of any charge", "pattern: \"ch_[A-Za-z0-9_]+\", ", "", nil, true},
		{"with a lower limit of its own", "amount: {max: $limit}", "amount: {max: $limit, min: 100}", nil, false},
		{"another operation", "[refunds.create], where: {charge: {is: $charge}, amount: {max: $limit}}}\nparams:\n  charge: {type: string, pattern: \"ch_[A-Za-z0-9_]+\", required: true}\n  limit: {type: minor_units, required: true, max: 50000}", "[charges.retrieve]}", nil, false},
		{"for the same approval", `{auto: {when: "true"}}`, steps, nil, false},
		{"for the same approval, sooner", `{auto: {when: "true"}}`, strings.Replace(steps, "20m", "5m", 1), nil, false},
		{"for the approval of fewer", `{auto: {when: "true"}}`, strings.Replace(steps, "group:idp/payments-leads", "carol", 1), nil, false},
		{"for one approval more", `{auto: {when: "true"}}`, strings.Replace(steps, "count: 1", "count: 2", 1), nil, false},
		{"for two steps", `{auto: {when: "true"}}`, strings.Replace(steps, "20m}", "20m}, {any: [carol], within: 20m}", 1), nil, false},
		{"by a condition only", `"true"`, `"request.duration <= duration('1h')"`, nil, false},
		{"to whoever logged in just now", "approve:", "step_up: {max_age: 5m}\napprove:", nil, false},
		{"elsewhere", "app: stripe", "app: stripe\nenvironments: [staging]", nil, false},
		{"elsewhere, and the other one too", "app: stripe", "app: stripe\nenvironments: [staging]", []change{{refunds, "app: stripe", "app: stripe\nenvironments: [staging]"}}, true},
		{"everywhere", "app: stripe", "app: stripe\nenvironments: [staging, prod]", []change{{refunds, "app: stripe", "app: stripe\nenvironments: [staging]"}}, true},
		{"to one account of a person whom the other one names", "group:idp/support", `"user:idp:alice-admin"`, []change{{refunds, "group:idp/support", "alice"}}, true},
		{"to a person of whom the other one names an account", "group:idp/support", "alice", []change{{refunds, "group:idp/support", `"user:idp:alice-admin"`}}, true},
		{"to another account of the same person", "group:idp/support", `"user:idp:alice"`, []change{{refunds, "group:idp/support", `"user:idp:alice-admin"`}}, true},
		{"to another person's account", "group:idp/support", `"user:idp:bob"`, []change{{refunds, "group:idp/support", "alice"}}, false},
		{"to an account that is nobody's yet", "group:idp/support", `"user:idp:dan"`, []change{{refunds, "group:idp/support", `"user:idp:erin"`}}, false},
		{"what is excused", "", "", []change{{"exceptions/quick.yaml", "", quickExcused}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := quick
			if !strings.Contains(text, c.old) {
				t.Fatalf("no %q", c.old)
			}
			text = strings.Replace(text, c.old, c.new, 1)
			if !strings.Contains(text, "$limit") {
				text = strings.Replace(text, "  limit: {type: minor_units, required: true, max: 50000}\n", "", 1)
			}
			_, err := Load(edited(t, append(c.more, change{quickFile, "", text})...), options(t))
			want := ""
			if c.undercut {
				want = quickFile
			}
			if strings.HasPrefix(c.name, "for one approval more") || strings.HasPrefix(c.name, "for two steps") {
				want = refunds // it is the other one that asks for less
			}
			if got := undercutBy(t, err); got != want {
				t.Errorf("%q undercuts, want %q: %v", got, want, err)
			}
		})
	}
}

// A stronger login or a signature is more, too.
func TestUndercutCountsLoginsAndSignatures(t *testing.T) {
	people := change{refunds, "[group:idp/support, \"spiffe://acme.example/ns/pay/sa/refunder\"]", "[group:idp/support]"}
	leads := strings.Replace(quick, `{auto: {when: "true"}}`, `{steps: [{any: [group:idp/payments-leads], within: 20m}]}`, 1)
	for _, c := range []struct {
		strong, weak string
		undercut     string
	}{
		{"step_up: {max_age: 10m}", "", quickFile},
		{"step_up: {max_age: 10m}", "step_up: {max_age: 20m}", quickFile},
		{"step_up: {max_age: 20m}", "step_up: {max_age: 10m}", refunds},
		{"step_up: {acr: [mfa]}", "step_up: {acr: [mfa, hwk]}", quickFile},
		{"step_up: {acr: [mfa, hwk]}", "step_up: {acr: [mfa]}", refunds},
		{"step_up: {acr: [mfa]}", "step_up: {max_age: 10m}", ""},
		{"step_up: {acr: [mfa], max_age: 10m}", "step_up: {max_age: 10m}", quickFile},
	} {
		_, err := Load(edited(t, people, change{refunds, "sensitivity: money", "sensitivity: money\n" + c.strong}, change{quickFile, "", leads + c.weak + "\n"}), options(t))
		if got := undercutBy(t, err); got != c.undercut {
			t.Errorf("%s and %s: %v", c.strong, c.weak, err)
		}
	}
	a, b := Step{Any: []string{"carol"}, Count: 1, Signed: true}, Step{Any: []string{"carol"}, Count: 1}
	if !a.atLeast(b) || b.atLeast(a) {
		t.Error("a signature does not count")
	}
}

// undercutBy returns the file whose entitlement undercuts, "" if err is nil.
func undercutBy(t *testing.T, err error) string {
	t.Helper()
	var all Errors
	if err == nil {
		return ""
	}
	if !errors.As(err, &all) || len(all) != 1 || all[0].Code != CodeException || !strings.Contains(all[0].Message, "undercuts") {
		t.Fatal(err)
	}
	return all[0].File
}
