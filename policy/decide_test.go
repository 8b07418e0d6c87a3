package policy

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

func principal(t testing.TB, s string) identity.Principal {
	t.Helper()
	p, err := identity.ParsePrincipal(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func groups(t testing.TB, names ...string) []identity.Group {
	t.Helper()
	var out []identity.Group
	for _, n := range names {
		g, err := identity.ParseGroup("group:" + n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

func noon() time.Time { return time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC) }

// ask is a request of alice of support that needs one approval.
func ask(t testing.TB) Input {
	alice := principal(t, "user:idp:alice")
	return Input{
		Entitlement: "stripe/refunds", Params: map[string]string{"charge": "ch_1", "amount_max": "4200"},
		Justification: "ticket 4711: broken cup", Beneficiary: alice, Now: noon(),
		Requester: Requester{Principal: alice, Groups: groups(t, "idp/support", "idp/all"), GroupsAt: noon().Add(-time.Minute)},
	}
}

func TestDecide(t *testing.T) {
	s := example(t)
	bob := principal(t, "user:idp:bob")
	for _, c := range []struct {
		name string
		edit func(*Input)
		want Outcome
		code string
		says string // the sentence names what is allowed
	}{
		{"as it is", func(*Input) {}, NeedsApproval, "", "1 approval of group:idp/payments-leads within 20m"},
		{"by a listed workload", func(in *Input) {
			in.Requester = Requester{Principal: principal(t, "spiffe://acme.example/ns/pay/sa/refunder")}
			in.Beneficiary = in.Requester.Principal
		}, NeedsApproval, "", ""},
		{"by another workload", func(in *Input) {
			in.Requester = Requester{Principal: principal(t, "spiffe://acme.example/ns/pay/sa/refunder2")}
			in.Beneficiary = in.Requester.Principal
		}, Denied, DenyNotEligible, "only group:idp/support, spiffe://"},
		{"by a workload that says it is in a group", func(in *Input) {
			in.Requester.Principal = principal(t, "spiffe://acme.example/ns/web/sa/shop")
			in.Beneficiary = in.Requester.Principal
		}, Denied, DenyNotEligible, ""},
		{"by nobody", func(in *Input) { in.Requester.Principal, in.Beneficiary = identity.Principal{}, identity.Principal{} }, Denied, DenyNotEligible, "nobody"},
		{"in another group", func(in *Input) { in.Requester.Groups = groups(t, "idp/all") }, Denied, DenyNotEligible, ""},
		{"in the group of that name at another provider", func(in *Input) { in.Requester.Groups = groups(t, "other/support", "other/idp/support") }, Denied, DenyNotEligible, ""},
		{"groups just not too old", func(in *Input) { in.Requester.GroupsAt = noon().Add(-MaxGroupAge) }, NeedsApproval, "", ""},
		{"groups too old", func(in *Input) { in.Requester.GroupsAt = noon().Add(-MaxGroupAge - time.Microsecond) }, Denied, DenyLoginAgain, "15m"},
		{"groups of never", func(in *Input) { in.Requester.GroupsAt = time.Time{} }, Denied, DenyLoginAgain, ""},
		{"groups of a clock that is a minute ahead", func(in *Input) { in.Requester.GroupsAt = noon().Add(time.Minute) }, NeedsApproval, "", ""},
		{"groups of a clock that is more ahead", func(in *Input) { in.Requester.GroupsAt = noon().Add(time.Minute + time.Microsecond) }, Denied, DenyLoginAgain, ""},
		{"groups of the future", func(in *Input) { in.Requester.GroupsAt = noon().Add(time.Hour) }, Denied, DenyLoginAgain, ""},
		{"for somebody else", func(in *Input) { in.Beneficiary = bob }, Denied, DenyBeneficiary, ""},
		{"unknown entitlement", func(in *Input) { in.Entitlement = "stripe/refund" }, Denied, DenyUnknownEntitlement, "did you mean stripe/refunds?"},
		{"as long as allowed", func(in *Input) { in.Duration = 2 * time.Hour }, NeedsApproval, "", ""},
		{"a second longer", func(in *Input) { in.Duration = 2*time.Hour + time.Second }, Denied, DenyMaxDuration, "at most 2h"},
		{"for a second", func(in *Input) { in.Duration = time.Second }, NeedsApproval, "", ""},
		{"parts of a second", func(in *Input) { in.Duration = 1500 * time.Millisecond }, Denied, DenyDuration, "whole seconds"},
		{"backwards", func(in *Input) { in.Duration = -time.Hour }, Denied, DenyDuration, ""},
		{"without words", func(in *Input) { in.Justification = " \t…" }, Denied, DenyJustification, ""},
		{"with as many words as may be", func(in *Input) { in.Justification = strings.Repeat("x", MaxJustification) }, NeedsApproval, "", ""},
		{"with too many words", func(in *Input) { in.Justification = strings.Repeat("x", MaxJustification+1) }, Denied, DenyJustification, "2000"},
		{"parameter missing", func(in *Input) { delete(in.Params, "charge") }, Denied, DenyParam, "charge is missing: string matching ch_"},
		{"parameter unknown", func(in *Input) { in.Params["currency"] = "usd" }, Denied, DenyParam, "it takes charge, amount_max"},
		{"over the amount", func(in *Input) { in.Params["amount_max"] = "50001" }, Denied, DenyParam, "at most 50000 (minor_units)"},
		{"wrong unit", func(in *Input) { in.Params["amount_max"] = "42.00 usd" }, Denied, DenyParam, "minor_units"},
		{"another spelling of a number", func(in *Input) { in.Params["amount_max"] = "+42" }, Denied, DenyParam, ""},
		{"pattern met in the middle only", func(in *Input) { in.Params["charge"] = "xch_1" }, Denied, DenyParam, "does not match"},
		{"pattern met by one of two lines", func(in *Input) { in.Params["charge"] = "ch_1\nch_2" }, Denied, DenyParam, ""},
		{"everything wrong", func(in *Input) {
			in.Duration, in.Params, in.Justification, in.Requester.Groups = 9*time.Hour, nil, "", nil
		}, Denied, DenyNotEligible, ""},
		{"by rule", func(in *Input) {
			*in = Input{Entitlement: "reports/read", Beneficiary: bob, Now: noon(), Requester: Requester{Principal: bob, Groups: groups(t, "idp/engineers"), GroupsAt: noon()}}
		}, Granted, "", "request.duration <="},
		{"by rule, a day after they signed the policy", func(in *Input) {
			*in = Input{Entitlement: "reports/read", Beneficiary: bob, Now: noon(), Requester: Requester{Principal: bob, Groups: groups(t, "idp/engineers"), GroupsAt: noon(), SignedAt: noon().Add(-SignerRest)}}
		}, Granted, "", "request.duration <="},
		{"not by rule, less than a day after they signed the policy", func(in *Input) {
			*in = Input{Entitlement: "reports/read", Beneficiary: bob, Now: noon(), Requester: Requester{Principal: bob, Groups: groups(t, "idp/engineers"), GroupsAt: noon(), SignedAt: noon().Add(time.Microsecond - SignerRest)}}
		}, NeedsApproval, "", "group:idp/data-leads, carol"},
		{"not by rule", func(in *Input) {
			*in = Input{Entitlement: "reports/read", Duration: time.Hour, Beneficiary: bob, Now: noon(), Requester: Requester{Principal: bob, Groups: groups(t, "idp/engineers"), GroupsAt: noon()}}
		}, NeedsApproval, "", "group:idp/data-leads, carol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := ask(t)
			c.edit(&in)
			d := s.Decide(in)
			if d.Outcome != c.want || d.Code != c.code || !strings.Contains(d.Sentence, c.says) {
				t.Fatalf("got %s %q: %q; want %s %q saying %q", d.Outcome, d.Code, d.Sentence, c.want, c.code, c.says)
			}
			if d.Outcome == Denied && (len(d.Expansion.Scope.Rules) > 0 || len(d.Steps) > 0 || d.Duration != 0) {
				t.Errorf("a denial carries something that could be granted: %+v", d)
			}
			if d.Outcome != Denied && (len(d.Expansion.Scope.Rules) == 0 || d.Duration <= 0) {
				t.Errorf("a yes without scope or end: %+v", d)
			}
			if (d.Outcome == NeedsApproval) != (len(d.Steps) > 0) {
				t.Errorf("%s with steps %v", d.Outcome, d.Steps)
			}
		})
	}
}

// A step that does not say how many approve it needs one person, not none.
func TestAStepWithoutACountNeedsOne(t *testing.T) {
	s, err := Load(edited(t, change{refunds, "count: 1, ", ""}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Decide(ask(t)); d.Outcome != NeedsApproval || len(d.Steps) != 1 || d.Steps[0].Count != 1 {
		t.Errorf("%s: %+v", d.Outcome, d.Steps)
	}
}

func TestDecideNamesEveryFinding(t *testing.T) {
	in := ask(t)
	in.Duration, in.Params, in.Justification, in.Requester.Groups = 9*time.Hour, nil, "", nil
	var codes []string
	for _, r := range example(t).Decide(in).Reasons {
		codes = append(codes, r.Code)
		if r.File != refunds || r.Line == 0 || r.Text == "" {
			t.Errorf("finding without its place: %+v", r)
		}
	}
	if want := []string{DenyNotEligible, DenyParam, DenyMaxDuration, DenyJustification}; !slices.Equal(codes, want) {
		t.Errorf("found %v, want %v", codes, want)
	}
}

func TestP8_DecisionsAreMadeAgainFromWhatIsStored(t *testing.T) {
	s := example(t)
	for _, edit := range []func(*Input){
		func(*Input) {},
		func(in *Input) { in.Now = in.Now.Add(123456 * time.Nanosecond) },
		func(in *Input) { slices.Reverse(in.Requester.Groups) },
		func(in *Input) { in.Justification = "" },
		func(in *Input) { in.Justification = strings.Repeat("y", MaxJustification+1) },
		func(in *Input) { in.Params["a\"\u2028"] = "\x00" },
		func(in *Input) { in.Requester.GroupsAt = time.Time{} },
		func(in *Input) { in.Requester, in.Beneficiary = Requester{}, identity.Principal{} },
		func(in *Input) { in.Entitlement = "none" },
		func(in *Input) { in.Entitlement, in.Params = "reports/read", nil },
	} {
		in := ask(t)
		edit(&in)
		want := s.Decide(in)
		var stored Inputs
		if err := json.Unmarshal(want.Inputs.Canonical(), &stored); err != nil {
			t.Fatal(err)
		}
		got, err := s.Replay(stored)
		if err != nil {
			t.Fatal(err)
		}
		want.Sentence, got.Sentence = "", "" // a too long justification is stored without its length
		for i := range min(len(want.Reasons), len(got.Reasons)) {
			want.Reasons[i].Text, got.Reasons[i].Text = "", ""
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("decided\n%+v, then\n%+v", want, got)
		}
		if strings.Contains(string(want.Inputs.Canonical()), "cup") {
			t.Error("the stored inputs hold the words of the justification")
		}
	}
	in, shuffled := s.Decide(ask(t)).Inputs, ask(t)
	slices.Reverse(shuffled.Requester.Groups)
	if a, b := in.Canonical(), s.Decide(shuffled).Inputs.Canonical(); string(a) != string(b) {
		t.Errorf("the order of groups shows:\n%s\n%s", a, b)
	}
	other, err := Load(edited(t, change{refunds, "max: 2h", "max: 3h"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Replay(in); err == nil || !strings.Contains(err.Error(), "policy differs") {
		t.Errorf("replayed under another policy: %v", err)
	}
	in.Engine = "mayfly-policy/0"
	if _, err := s.Replay(in); err == nil || !strings.Contains(err.Error(), "engine differs") {
		t.Errorf("replayed by another engine: %v", err)
	}
}

func TestExpand(t *testing.T) {
	s := example(t)
	x, err := s.Expand("stripe/refunds", map[string]string{"charge": "ch_1", "amount_max": "4200"})
	if err != nil {
		t.Fatal(err)
	}
	if x.Class != scope.ClassMoney || x.App != "stripe" || x.Catalogue != s.Catalogue("stripe").Digest() || !slices.Equal(x.Scope.Operations(), []string{"charges.retrieve", "refunds.create"}) {
		t.Errorf("expanded to %+v", x)
	}
	op := func(name, charge string, amount int64) scope.Operation {
		return scope.Operation{App: "stripe", Name: name, Attributes: scope.Attributes{"charge": scope.Text(charge), "amount": scope.MinorUnits(amount)}}
	}
	for _, c := range []struct {
		op scope.Operation
		ok bool
	}{
		{op("refunds.create", "ch_1", 4200), true},
		{op("refunds.create", "ch_1", 4201), false},
		{op("refunds.create", "ch_2", 1), false},
		{op("charges.retrieve", "ch_1", 0), true},
		{op("charges.list", "ch_1", 0), false},
		// an optional attribute must be there to satisfy a constraint
		{scope.Operation{App: "stripe", Name: "refunds.create", Attributes: scope.Attributes{"charge": scope.Text("ch_1")}}, false},
	} {
		if err := x.Scope.Covers(c.op); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.op, err)
		}
	}
}

func TestAnAbsentParameterOpensOnlyWhatItsAnyAllows(t *testing.T) {
	s := example(t)
	get := func(path string) scope.Operation {
		return scope.Operation{App: "reports", Name: "http.get", Attributes: scope.Attributes{"path": scope.Path(path)}}
	}
	open, err := s.Expand("reports/read", nil)
	if err != nil || !slices.Equal(open.ShownAny, []string{"folder"}) || open.Scope.Covers(get("/secret")) != nil {
		t.Errorf("without folder: %+v, %v", open, err)
	}
	shut, err := s.Expand("reports/read", map[string]string{"folder": "/daily"})
	if err != nil || len(shut.ShownAny) != 0 || shut.Scope.Covers(get("/daily/1")) != nil || shut.Scope.Covers(get("/dailyx")) == nil {
		t.Errorf("with folder: %+v, %v", shut, err)
	}
	for _, bad := range []string{"", "/", "/secret", "daily", "/daily/../secret", "/daily//x", "/daily/%2e%2e", "/daily/x;y", "/daily?x"} {
		if x, err := s.Expand("reports/read", map[string]string{"folder": bad}); err == nil {
			t.Errorf("folder %q expands to %+v", bad, x.Scope)
		}
	}
}

func TestClassIsTheStricter(t *testing.T) {
	for sensitivity, want := range map[string]scope.Class{"sensitivity: admin": scope.ClassAdmin, "sensitivity: read": scope.ClassMoney, "": scope.ClassMoney} {
		s, err := Load(edited(t, change{refunds, "sensitivity: money", sensitivity}), options(t))
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := s.Entitlement("stripe/refunds"); e.Class != want {
			t.Errorf("%q gives %s, want %s", sensitivity, e.Class, want)
		}
	}
}

func TestAlternativesOfOneOperation(t *testing.T) {
	s, err := Load(edited(t, change{reports, "  - {operations: [http.get, http.head], where: {path: {under: $folder}}}",
		"  - {operations: [http.get], where: {path: {under: $folder}}}\n  - {operations: [http.get], where: {path: {under: /static}}}"}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Expand("reports/read", map[string]string{"folder": "/daily"})
	if err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{"/daily/1": true, "/static/a.css": true, "/monthly": false} {
		op := scope.Operation{App: "reports", Name: "http.get", Attributes: scope.Attributes{"path": scope.Path(path)}}
		if err := x.Scope.Covers(op); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if e, _ := s.Entitlement("reports/read"); !slices.Equal(e.Operations(), []string{"http.get"}) {
		t.Errorf("operations %v", e.Operations())
	}
}

func TestEngineVersionNamesTheLinkedCEL(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(EngineVersion(), "cel-go/")
	if !strings.Contains(string(b), "cel.dev/cel-go "+version+"\n") && !strings.Contains(string(b), "cel.dev/cel-go "+version+" ") {
		t.Errorf("%s is not the version in go.mod; change it, and the number in front if decisions can differ", EngineVersion())
	}
}
