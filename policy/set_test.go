package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mayflyproxy/mayfly/scope"

	"github.com/mayflyproxy/mayfly/identity"
)

func TestDigestIsThatOfTheContract(t *testing.T) {
	files := map[string][]byte{"b.yaml": []byte("b"), "a/\"x\u2028\x01.yaml": []byte("a")}
	a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	want := sha256.Sum256([]byte(fmt.Sprintf("[[\"a/\\\"x\u2028\\u0001.yaml\",\"%x\"],[\"b.yaml\",\"%x\"]]", a, b)))
	if got := Digest(files); got != hex.EncodeToString(want[:]) {
		t.Errorf("digest %s, want %x", got, want)
	}
}

func TestSetAnswers(t *testing.T) {
	files := exampleFiles(t)
	s, err := Load(files, options(t))
	if err != nil {
		t.Fatal(err)
	}
	files[mainFile][0] = 'X' // the set keeps its own
	if s.Digest() != Digest(s.Files()) || s.Commit() != options(t).Commit || s.Security().String() != "group:idp/security" || s.Caps().PendingPerPrincipal != 5 {
		t.Errorf("digest %s, commit %s, security %s, caps %+v", s.Digest(), s.Commit(), s.Security(), s.Caps())
	}
	a, ok := s.AppByHost("reports.acme.example")
	if !ok || a.Name != "reports" || !a.Direct() || a.Upstream.String() != "https://reports.internal.acme.example" {
		t.Errorf("reports is %+v", a)
	}
	if _, ok := s.AppByHost("Reports.acme.example"); ok {
		t.Error("a host in capitals is an app")
	}
	a, _ = s.App("stripe")
	if len(a.Credentials) != 2 || a.Credentials[0].Secret != "stripe-read" || !reflect.DeepEqual(a.Credentials[0].Operations, []string{"charges.list", "charges.retrieve"}) {
		t.Errorf("stripe has %+v", a.Credentials)
	}
	gateway, listener := principal(t, "spiffe://acme.example/gw/sidecar"), principal(t, "spiffe://acme.example/gw/listener")
	if n, ok := s.NodeOf(gateway); !ok || n.Listener != listener || n.Environment != "prod" {
		t.Errorf("node %+v", n)
	}
	if _, ok := s.NodeOf(listener); ok {
		t.Error("the listener's identity passes for the sidecar's")
	}
	if n, ok := s.NodeByListener(listener); !ok || n.Sidecar != gateway {
		t.Errorf("node %+v", n)
	}
	if got := s.AccountsOf(s.PersonOf(principal(t, "user:idp:alice-admin"))); len(got) != 2 || got[0] != principal(t, "user:idp:alice") {
		t.Errorf("alice's accounts are %v", got)
	}
}

// TestTrustDomainsAndEnvironments has a second trust domain, which counts in staging
// only.
func TestTrustDomainsAndEnvironments(t *testing.T) {
	load := func(edits ...change) *Set {
		t.Helper()
		s, err := Load(edited(t, append(edits, change{mainFile, "trust_domains:", "trust_domains:\n  - {name: partner.example, environments: [staging]}"},
			change{reports, "\"spiffe://acme.example/ns/data/sa/reporter\"]", "\"spiffe://acme.example/ns/data/sa/reporter\", \"spiffe://partner.example/ns/data/sa/reporter\"]"})...), options(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := load()
	ours, theirs, stranger := principal(t, "spiffe://acme.example/ns/data/sa/reporter"), principal(t, "spiffe://partner.example/ns/data/sa/reporter"), principal(t, "spiffe://other.example/a")
	if !s.Knows(ours) || !s.Knows(theirs) || s.Knows(stranger) || !s.Knows(principal(t, "user:idp:alice")) {
		t.Error("who is known is not who is listed")
	}
	if got := s.TrustedIn("prod"); !reflect.DeepEqual(got, []string{"acme.example"}) {
		t.Errorf("prod takes %v", got)
	}
	if got := s.OwnerOf(ours) + s.OwnerOf(theirs); got != "team-data" {
		t.Errorf("owners are %q", got)
	}
	decide := func(s *Set, who identity.Principal) string {
		return s.Decide(Input{Entitlement: "reports/read", Beneficiary: who, Now: noon(), Requester: Requester{Principal: who}}).Code
	}
	if got := decide(s, theirs); got != "" { // the app is in no environment of its own: gateways say where it counts
		t.Errorf("the partner's reporter: %s", got)
	}
	if _, err := Load(edited(t, change{mainFile, "trust_domains:", "trust_domains:\n  - {name: partner.example, environments: [staging]}"},
		change{reports, "app: reports", "app: reports\nenvironments: [prod]"},
		change{reports, "\"spiffe://acme.example/ns/data/sa/reporter\"]", "\"spiffe://partner.example/ns/data/sa/reporter\"]"}), options(t)); err == nil ||
		!strings.Contains(err.Error(), "is not listed for prod, where reports/read counts") {
		t.Errorf("who could never use it: %v", err)
	}
	if got := s.Elsewhere("reports", "prod"); len(got) != 0 {
		t.Errorf("elsewhere: %v", got)
	}
	if got := load(change{reports, "app: reports", "app: reports\nenvironments: [staging]"}).Elsewhere("reports", "prod"); !reflect.DeepEqual(got, []string{"reports/read"}) {
		t.Errorf("elsewhere than prod: %v", got)
	}
	// a domain that leaves the list takes its workloads with it
	gone, err := Load(edited(t, change{mainFile, "trust_domains:\n  - {name: acme.example, environments: [prod, staging]}\n", ""}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if !gone.Knows(stranger) || decide(gone, ours) != "" {
		t.Error("without a list policy leaves somebody out")
	}
}

func TestAskNamesTheSmallestFirst(t *testing.T) {
	s, err := Load(edited(t, change{"entitlements/stripe/look.yaml", "", `
entitlement: stripe/look
owner: team-payments
app: stripe
allow: [{operations: ["@read"]}]
grant: {max: 1h}
request: {who: [alice]}
approve: {steps: [{any: [group:idp/payments-leads], within: 20m}]}
`}, change{"entitlements/stripe/all.yaml", "", `
entitlement: stripe/all
owner: team-payments
app: stripe
allow: [{operations: ["@read", refunds.create]}]
grant: {max: 1h}
request: {who: [alice]}
approve: {steps: [{any: [group:idp/payments-leads], within: 20m}]}
`}), options(t))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Ask("stripe")
	if len(got) != 3 || got[0].Entitlement != "stripe/look" || got[1].Entitlement != "stripe/refunds" || got[2].Entitlement != "stripe/all" {
		t.Fatalf("got %+v", got)
	}
	want := AskEntry{
		Entitlement: "stripe/refunds", Operations: []string{"charges.retrieve", "refunds.create"},
		Bindings: []Binding{{"charges.retrieve", "charge", scope.Is, "charge"}, {"refunds.create", "charge", scope.Is, "charge"}, {"refunds.create", "amount", scope.Max, "amount_max"}},
		Required: []string{"amount_max", "charge"}, Kinds: []string{"user", "workload"},
	}
	if !reflect.DeepEqual(got[1], want) {
		t.Errorf("got  %+v\nwant %+v", got[1], want)
	}
	if len(s.Ask("none")) != 0 {
		t.Error("an unknown app can be asked for")
	}
}
