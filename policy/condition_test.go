package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/identity"
)

// The entitlement that conditions are judged for.
const judged = `entitlement: stripe/judged
owner: team-payments
app: stripe
allow: [{operations: [refunds.create], where: {charge: {is: $charge}, amount: {max: $limit}}}, {operations: [payouts.create], where: {total: {max: $total}, instant: {is: $instant}}}]
params:
  charge: {type: string, any: true, pattern: "ch_[a-c]"}
  limit: {type: minor_units, required: true, min: 1, max: 4}
  total: {type: money, required: true, max: 0.03 usd}
  instant: {type: boolean, required: true}
grant: {max: 4h, default: 2h}
request: {who: [carol, bob, "spiffe://acme.example/ns/pay/sa/refunder"], justification: none}
approve:
  auto: {when: %q}
  steps: [{any: [group:idp/payments-leads], within: 20m}]
`

func loadJudged(t fataler, when string, inForce bool, o Options, files map[string][]byte) (*Set, error) {
	t.Helper()
	all := map[string][]byte{"entitlements/stripe/judged.yaml": fmt.Appendf(nil, judged, when)}
	for name, b := range files {
		all[name] = b
	}
	all[stripe] = []byte(strings.Replace(string(files[stripe]), "[refunds.create]", "[refunds.create, payouts.create]", 1))
	o.InForce = inForce
	return Load(all, o)
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// A condition is called never or always true only if it is, whatever is asked for: a
// false alarm would keep good policy out.
func TestConditionsAreJudgedSoundly(t *testing.T) {
	o, files := options(t), exampleFiles(t)
	judgedNever, judgedAlways, capped, let := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		when := drawCondition(t, 3)
		if rapid.SampledFrom([]bool{true, false, false, false}).Draw(t, "under a cap") {
			when = fmt.Sprintf("request.duration <= duration('%dh')", rapid.SampledFrom([]int{3, 4, 6, 24, 25}).Draw(t, "cap"))
		}
		fresh, err := loadJudged(t, when, false, o, files)
		var all Errors
		if err != nil && (!errors.As(err, &all) || len(all) != 1 || all[0].Code != CodeCondition) {
			t.Fatalf("%s: %v", when, err)
		}
		s, err2 := loadJudged(t, when, true, o, files)
		if err2 != nil {
			t.Fatalf("%s: %v", when, err2)
		}
		never, always := false, false
		switch {
		case err == nil && slices.ContainsFunc(fresh.Warnings(time.Time{}), func(w Warning) bool { return w.Code == WarnAlways }):
			always = true
			capped++
		case err == nil:
			let++
		case strings.Contains(err.Error(), "never be true"):
			never = true
			judgedNever++
		case strings.Contains(err.Error(), "always true"):
			always = true
			judgedAlways++
		}
		for range 12 {
			in := drawJudgedAsk(t)
			d := s.Decide(in)
			if d.Outcome == Denied {
				t.Fatalf("denied: %s", d.Sentence)
			}
			if granted := d.Outcome == Granted; granted && never || !granted && always {
				t.Fatalf("%s: %v, and with %+v it is %s", when, err, in, d.Outcome)
			}
		}
	})
	t.Logf("%d never, %d always, %d by a cap, %d let pass", judgedNever, judgedAlways, capped, let)
	if judgedNever == 0 || judgedAlways == 0 || capped == 0 || let == 0 {
		t.Errorf("%d never, %d always, %d by a cap, %d let pass: one of them was not looked at", judgedNever, judgedAlways, capped, let)
	}
}

func drawCondition(t *rapid.T, depth int) string {
	if depth > 0 {
		switch rapid.SampledFrom([]string{"and", "or", "not", "choice", "atom", "atom", "atom"}).Draw(t, "shape") {
		case "and":
			return "(" + drawCondition(t, depth-1) + " && " + drawCondition(t, depth-1) + ")"
		case "or":
			return "(" + drawCondition(t, depth-1) + " || " + drawCondition(t, depth-1) + ")"
		case "not":
			return "!(" + drawCondition(t, depth-1) + ")"
		case "choice":
			return "(" + drawCondition(t, depth-1) + " ? " + drawCondition(t, depth-1) + " : " + drawCondition(t, depth-1) + ")"
		}
	}
	order := rapid.SampledFrom([]string{"<", "<=", ">", ">=", "==", "!="}).Draw(t, "order")
	equal := rapid.SampledFrom([]string{"==", "!="}).Draw(t, "equal")
	n := rapid.IntRange(-1, 6).Draw(t, "n")
	id := rapid.SampledFrom([]string{"'user:idp:carol'", "'user:idp:bob'", "'user:idp:dan'", "'spiffe://acme.example/ns/pay/sa/refunder'", "'x'"}).Draw(t, "id")
	return rapid.SampledFrom([]string{
		fmt.Sprintf("request.duration %s duration('%dh')", order, n),
		fmt.Sprintf("duration('%dh') %s request.duration", n, order),
		fmt.Sprintf("request.params.limit %s %d", order, n),
		fmt.Sprintf("request.params.limit in [%d, %d]", n, n+2),
		fmt.Sprintf("request.params.total.minor %s %d", order, n),
		fmt.Sprintf("request.params.total.currency %s 'usd'", equal),
		fmt.Sprintf("request.params.charge %s 'ch_%s'", equal, string(rune('a'+max(n, 0)))),
		"request.params.instant", "!request.params.instant",
		fmt.Sprintf("request.params.instant %s true", equal),
		fmt.Sprintf("requester.kind %s 'user'", equal),
		"requester.kind in ['user', 'workload']",
		fmt.Sprintf("requester.id %s %s", equal, id),
		fmt.Sprintf("requester.id in [%s, 'user:idp:carol']", id),
		"requester.id.startsWith('user:')", "requester.id.startsWith('spiffe://')",
		fmt.Sprintf("request.entitlement %s 'stripe/judged'", equal),
		fmt.Sprintf("request.app %s 'reports'", equal),
		"'group:idp/support' in requester.groups", "size(requester.groups) > 0", "requester.acr == 'mfa'", "requester.acr.startsWith('m')",
		fmt.Sprintf("%d %s 2", n, order), "true", "false",
	}).Draw(t, "atom")
}

func drawJudgedAsk(t *rapid.T) Input {
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	p, err := identity.ParsePrincipal(rapid.SampledFrom([]string{"user:idp:carol", "user:idp:bob", "spiffe://acme.example/ns/pay/sa/refunder"}).Draw(t, "who"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	in := Input{
		Entitlement: "stripe/judged", Beneficiary: p, Now: now, Requester: Requester{Principal: p},
		Duration: time.Duration(rapid.IntRange(1, 16).Draw(t, "quarters")) * 15 * time.Minute,
		Params: map[string]string{
			"limit": fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "limit")), "total": fmt.Sprintf("0.0%d usd", rapid.IntRange(0, 3).Draw(t, "total")),
			"instant": fmt.Sprint(rapid.Bool().Draw(t, "instant")),
		},
	}
	if rapid.Bool().Draw(t, "charge?") {
		in.Params["charge"] = "ch_" + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "charge")
	}
	if rapid.Bool().Draw(t, "groups?") {
		g, _ := identity.ParseGroup("group:idp/support")
		in.Requester.GroupsAt, in.Requester.Groups = now, append(in.Requester.Groups, g)
	}
	if rapid.Bool().Draw(t, "acr?") {
		in.Requester.ACR = rapid.SampledFrom([]string{"mfa", "password"}).Draw(t, "acr")
	}
	return in
}

// What cannot be told is let pass: a condition that is always true but can be unknown,
// and one with more cases than are looked at.
func TestConditionsThatCannotBeToldPass(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("(request.params.limit == %d || request.params.limit == %d)", i, i+100))
	}
	for _, when := range []string{
		"requester.acr != 'x' || requester.acr == 'x'",
		"request.params.charge == 'ch_a' || request.params.charge != 'ch_a'",
		"duration(requester.id) > duration('1h') || true",
		"requester.groups.all(g, g == 'x') || request.duration <= duration('4h')",
		strings.Join(many, " && "),
		"request.duration <= duration('2h')", "requester.id.startsWith('user:idp:b')", "request.params.limit + 1 > 100",
		"true",
	} {
		_, err := loadJudged(t, when, false, options(t), exampleFiles(t))
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}
