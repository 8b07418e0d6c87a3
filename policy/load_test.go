package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// change is one edit of the example policy: a file's text, old replaced by new.
// An empty old replaces or adds the whole file.
type change struct{ file, old, new string }

const (
	refunds = "entitlements/stripe/refunds.yaml"
	reports = "entitlements/reports/read.yaml"
	stripe  = "apps/stripe.yaml"
	web     = "apps/reports.yaml"
)

func edited(t testing.TB, changes ...change) map[string][]byte {
	t.Helper()
	files := exampleFiles(t)
	for _, c := range changes {
		if c.old == "" {
			files[c.file] = []byte(c.new)
			continue
		}
		text := string(files[c.file])
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s has no %q", c.file, c.old)
		}
		files[c.file] = []byte(strings.Replace(text, c.old, c.new, 1))
	}
	return files
}

// mistakes are edits that each must be refused, with a code among the errors.
func mistakes() []struct {
	name string
	edit change
	code Code
} {
	return []struct {
		name string
		edit change
		code Code
	}{
		// onward
		{"onward without a workload", change{refunds, "owner: team-payments", "owner: team-payments\nonward: [reports]"}, CodeMissing},
		{"onward to its own app", change{refunds, "owner: team-payments", "owner: team-payments\nonward: [stripe]"}, CodeValue},
		{"onward to nothing", change{refunds, "owner: team-payments", "owner: team-payments\nonward: [wiki]"}, CodeUnknownName},
		{"onward to Mayfly", change{refunds, "owner: team-payments", "owner: team-payments\nonward: [mayfly]"}, CodeValue},
		{"onward to everything", change{refunds, "owner: team-payments", "owner: team-payments\nonward: []"}, CodeValue},
		{"workload that is a person", change{stripe, "owner: team-payments", "owner: team-payments\nworkload: user:idp:alice"}, CodeValue},
		{"workload without a path", change{stripe, "owner: team-payments", "owner: team-payments\nworkload: spiffe://acme.example"}, CodeValue},
		// YAML
		{"not YAML", change{refunds, "owner: team-payments", "owner: [team"}, CodeSyntax},
		{"unknown key", change{refunds, "sensitivity:", "sensitivty:"}, CodeUnknownKey},
		{"key twice", change{refunds, "owner: team-payments", "owner: a\nowner: b"}, CodeDuplicate},
		{"anchor", change{refunds, "owner: team-payments", "owner: &x team"}, CodeSyntax},
		{"alias", change{stripe, "owner: team-payments", "owner: *x"}, CodeSyntax},
		{"merge key", change{stripe, "owner: team-payments", "<<: {owner: a}"}, CodeSyntax},
		{"tag", change{stripe, "kind: stripe", "kind: !!str stripe"}, CodeSyntax},
		{"second document", change{stripe, "kind: stripe", "kind: stripe\n---\nx: y"}, CodeSyntax},
		{"no space after a colon", change{refunds, "count: 1", "count:1"}, CodeSyntax},
		{"tab", change{refunds, "  who:", "\twho:"}, CodeSyntax},
		{"empty file", change{refunds, "", "# nothing\n"}, CodeSyntax},
		{"a list for a file", change{refunds, "", "- a\n"}, CodeValue},
		{"not UTF-8", change{refunds, "team-payments", "team-\xff"}, CodeSyntax},
		{"no value", change{refunds, "owner: team-payments", "owner:"}, CodeMissing},
		{"value where a list is wanted", change{refunds, "for: [self]", "for: self"}, CodeValue},
		// files
		{"misspelt folder", change{"entitlement/x.yaml", "", "a: b\n"}, CodeFile},
		{"wrong ending", change{"apps/x.yml", "", "a: b\n"}, CodeFile},
		{"path outside", change{"../x.yaml", "", "a: b\n"}, CodeFile},
		{"folder of a later version", change{"bundles/x.yaml", "", "a: b\n"}, CodeUnsupported},
		// later keys are refused, never ignored
		{"budget", change{refunds, "default: 30m", "default: 30m, budget: {calls: 50}"}, CodeUnsupported},
		{"renew", change{refunds, "default: 30m", "default: 30m, renew: {times: 1}"}, CodeUnsupported},
		{"idle_after that is no duration", change{refunds, "idle_after: 15m", "idle_after: soon"}, CodeValue},
		{"idle_after within seconds", change{refunds, "idle_after: 15m", "idle_after: 9s"}, CodeCap},
		{"idle_after of Mayfly's own operations", change{"entitlements/mayfly/operate.yaml", "default: 30m", "default: 30m, idle_after: 15m"}, CodeValue},
		{"window", change{refunds, "default: 30m", "default: 30m, window: {per: 24h}"}, CodeUnsupported},
		{"emergency", change{refunds, "sensitivity: money", "emergency: {max: 30m}"}, CodeUnsupported},
		{"agents", change{refunds, "sensitivity: money", "agents: {allow: true}"}, CodeUnsupported},
		{"conflicts", change{refunds, "sensitivity: money", "conflicts: [stripe/payouts]"}, CodeUnsupported},
		{"review", change{refunds, "sensitivity: money", "review: {on: [idle]}"}, CodeUnsupported},
		{"callers strangers", change{web, "callers: [services]", "callers: [strangers]"}, CodeValue},
		{"assert to a provider", change{stripe, "callers: [services]", "callers: [services]\nassert: true"}, CodeValue},
		{"assert in words", change{web, "callers: [services]", "callers: [services]\nassert: perhaps"}, CodeValue},
		{"step_up of nothing", change{refunds, "sensitivity: money", "step_up: {}\nsensitivity: money"}, CodeMissing},
		{"step_up of a workload", change{refunds, "sensitivity: money", "step_up: {max_age: 10m}\nsensitivity: money"}, CodeValue},
		{"people of a kind without pages", change{stripe, "[services]", "[services, people]"}, CodeValue},
		{"identity without people", change{web, "callers: [services]", "callers: [services]\nidentity: {headers: {email: x-auth-email}}"}, CodeValue},
		{"identity header of ours", change{web, "callers: [services]", "callers: [people]\nidentity: {headers: {email: x-mayfly-email}}"}, CodeValue},
		{"identity header without x-", change{web, "callers: [services]", "callers: [people]\nidentity: {headers: {email: cookie}}"}, CodeValue},
		{"identity header twice", change{web, "callers: [services]", "callers: [people]\nidentity: {headers: {email: x-a, name: X-A}}"}, CodeDuplicate},
		{"identity of an unknown fact", change{web, "callers: [services]", "callers: [people]\nidentity: {headers: {phone: x-phone}}"}, CodeUnknownKey},
		{"streams guard behind a credential", change{stripe, "streams: deadline", "streams: guard"}, CodeValue},
		{"streams of another kind", change{stripe, "streams: deadline", "streams: forever"}, CodeValue},
		{"for others", change{refunds, "for: [self]", "for: [others]"}, CodeUnsupported},
		{"kind of a later version", change{web, "kind: web", "kind: aws"}, CodeUnsupported},
		// mayfly.yaml
		{"caps over 24 h", change{mainFile, "grant: 12h", "grant: 25h"}, CodeCap},
		{"no cap on pending", change{mainFile, ", pending_per_principal: 5", ""}, CodeMissing},
		{"no security group", change{mainFile, "security: group:idp/security", ""}, CodeMissing},
		{"node of an unknown app", change{mainFile, "apps: [stripe, reports]", "apps: [strpe]"}, CodeUnknownName},
		{"node's identities are one", change{mainFile, "gw/listener", "gw/sidecar"}, CodeDuplicate},
		{"unknown environment", change{mainFile, "environment: prod", "environment: production"}, CodeUnknownName},
		{"trust domain of an unknown environment", change{mainFile, "environments: [prod, staging]}", "environments: [production]}"}, CodeUnknownName},
		{"trust domain twice", change{mainFile, "trust_domains:", "trust_domains:\n  - {name: acme.example, environments: [prod]}"}, CodeDuplicate},
		{"trust domain that is none", change{mainFile, "name: acme.example", "name: Acme.example"}, CodeValue},
		{"trust domain without an environment", change{mainFile, "{name: acme.example, environments: [prod, staging]}", "{name: acme.example, environments: []}"}, CodeValue},
		{"gateway of an unlisted trust domain", change{mainFile, "spiffe://acme.example/gw/sidecar", "spiffe://partner.example/gw/sidecar"}, CodeUnknownName},
		{"gateway where its trust domain does not count", change{mainFile, "environments: [prod, staging]}", "environments: [staging]}"}, CodeNobody},
		{"workload of an unlisted trust domain", change{reports, "spiffe://acme.example/ns/data/sa/reporter\"]", "spiffe://partner.example/ns/data/sa/reporter\"]"}, CodeUnknownName},
		{"owned workload of an unlisted trust domain", change{mainFile, "spiffe://acme.example/ns/pay/*", "spiffe://partner.example/ns/pay/*"}, CodeUnknownName},
		{"owned workload that is none", change{mainFile, "spiffe://acme.example/ns/pay/*", "spiffe://acme.example/ns/p*"}, CodeValue},
		{"owned workload twice", change{mainFile, "/ns/data/*", "/ns/pay/*"}, CodeDuplicate},
		{"owned workload without an owner", change{mainFile, "/ns/pay/*\", owner: team-payments}", "/ns/pay/*\"}"}, CodeMissing},
		{"app in another environment than its node", change{web, "owner: team-data", "owner: team-data\nenvironments: [staging]"}, CodeValue},
		{"app in an unknown environment", change{web, "owner: team-data", "owner: team-data\nenvironments: [production]"}, CodeUnknownName},
		{"entitlement where its app is not", change{reports, "app: reports", "app: reports\nenvironments: [test]"}, CodeUnknownName},
		{"account of two persons", change{mainFile, "user:idp:bob", "user:idp:alice"}, CodeDuplicate},
		{"workload as an account", change{mainFile, "user:idp:bob", "spiffe://acme.example/bob"}, CodeValue},
		{"signer who is nobody", change{mainFile, "{person: carol, key", "{person: carl, key"}, CodeUnknownName},
		{"signer's key", change{mainFile, "AAAAC3", "AAAAC4"}, CodeValue},
		{"source of groups", change{mainFile, "group:idp/security", "group:ldap/security"}, CodeUnknownName},
		// apps
		{"upper-case host", change{stripe, "stripe.acme.example", "Stripe.acme.example"}, CodeValue},
		{"wildcard host", change{stripe, "stripe.acme.example", "\"*.acme.example\""}, CodeValue},
		{"host of two apps", change{stripe, "stripe.acme.example", "reports.acme.example"}, CodeDuplicate},
		{"plain http", change{web, "https://reports", "http://reports"}, CodeValue},
		{"plain http to loopback without Dev", change{web, "https://reports.internal.acme.example", "http://127.0.0.1:8080"}, CodeValue},
		{"upstream with a path", change{stripe, "api.stripe.com", "api.stripe.com/v1"}, CodeValue},
		{"upstream with a password", change{stripe, "//api", "//u:p@api"}, CodeValue},
		{"upstream that is protected itself", change{stripe, "api.stripe.com", "reports.acme.example"}, CodeValue},
		{"no credential", change{stripe, "credential:\n  - {operations: [\"@read\"], secret: stripe-read}\n  - {operations: [refunds.create], secret: stripe-refunds}\n", ""}, CodeMissing},
		{"credential of a direct app", change{web, "streams: deadline", "credential: [{operations: [http.get], secret: x}]"}, CodeValue},
		{"two secrets for one operation", change{stripe, "[refunds.create]", "[refunds.create, charges.list]"}, CodeOverlap},
		{"no secret for what is allowed", change{stripe, "[refunds.create]", "[payouts.create]"}, CodeConstraint},
		{"stale_after too short", change{stripe, "15s", "4s"}, CodeCap},
		{"stale_after too long", change{web, "1m", "6m"}, CodeCap},
		{"stale_after of an app with money", change{stripe, "15s", "31s"}, CodeCap},
		{"duration without a unit", change{stripe, "15s", "15"}, CodeValue},
		{"duration in parts of a second", change{stripe, "15s", "15.5s"}, CodeValue},
		// entitlements
		{"unknown app", change{refunds, "app: stripe", "app: strip"}, CodeUnknownName},
		{"name of another entitlement", change{refunds, "entitlement: stripe/refunds", "entitlement: reports/read"}, CodeDuplicate},
		{"unknown operation", change{refunds, "[refunds.create]", "[refund.create]"}, CodeUnknownName},
		{"pattern that stands for nothing", change{refunds, "[charges.retrieve]", "[\"disputes.*\"]"}, CodeUnknownName},
		{"constraint on a missing attribute", change{refunds, "amount: {max: $amount_max}", "amont: {max: $amount_max}"}, CodeConstraint},
		{"constraint that one of several operations lacks", change{refunds, "[charges.retrieve]", "[\"charges.*\"]"}, CodeConstraint},
		{"parameter of another type", change{refunds, "type: minor_units, required: true, min: 1, max: 50000", "type: integer, required: true"}, CodeConstraint},
		{"money where the schema has no currency", change{refunds, "type: minor_units, required: true, min: 1, max: 50000", "type: money, required: true, max: 500.00 usd"}, CodeConstraint},
		{"max of a string", change{refunds, "charge: {is: $charge}, amount", "charge: {max: $charge}, amount"}, CodeConstraint},
		{"unknown comparison", change{refunds, "{max: $amount_max}", "{below: $amount_max}"}, CodeUnknownKey},
		{"unknown parameter", change{refunds, "{max: $amount_max}", "{max: $amount}"}, CodeUnknownName},
		{"parameter that bounds nothing", change{refunds, "amount: {max: $amount_max}", "amount: {max: 100}"}, CodeConstraint},
		{"optional parameter that is not any", change{refunds, "charge: {type: string, pattern: \"ch_[A-Za-z0-9_]+\", required: true}", "charge: {type: string}"}, CodeValue},
		{"required and any", change{reports, "any: true", "any: true, required: true"}, CodeValue},
		{"broken pattern", change{refunds, "ch_[A-Za-z0-9_]+", "ch_["}, CodeValue},
		{"pattern that leaves its anchors", change{refunds, "ch_[A-Za-z0-9_]+", "ch_)|(.*"}, CodeValue},
		{"min over max", change{refunds, "min: 1,", "min: 60000,"}, CodeValue},
		{"range that nothing is in", change{refunds, "amount: {max: $amount_max}", "amount: {max: $amount_max, min: 10}}}\n  - {operations: [payouts.create], where: {total: {min: 10.00 usd, max: 5.00 usd}"}, CodeNobody},
		{"two lines for one operation, one wider", change{refunds, "[charges.retrieve], where: {charge: {is: $charge}}}", "[refunds.create], where: {charge: {is: $charge}}}"}, CodeOverlap},
		{"grant over the cap", change{refunds, "max: 2h", "max: 13h"}, CodeCap},
		{"default over max", change{refunds, "default: 30m", "default: 3h"}, CodeCap},
		{"nobody could approve", change{refunds, "  steps:\n    - {any: [group:idp/payments-leads], count: 1, within: 20m}\n", "  {}\n"}, CodeNobody},
		{"more approvals than persons", change{reports, "[group:idp/data-leads, carol], count: 1", "[carol, \"user:idp:carol\"], count: 2"}, CodeNobody},
		{"a workload approves", change{refunds, "[group:idp/payments-leads]", "[\"spiffe://acme.example/bot\"]"}, CodeValue},
		{"a step without an end", change{refunds, ", within: 20m", ""}, CodeMissing},
		{"unknown person", change{reports, "carol]", "carl]"}, CodeUnknownName},
		// CEL
		{"CEL that is no expression", change{reports, "request.duration <= duration('30m')", "request.duration <="}, CodeCEL},
		{"CEL that is no bool", change{reports, "request.duration <= duration('30m')", "request.duration"}, CodeCEL},
		{"CEL over types", change{reports, "request.duration <= duration('30m')", "request.duration <= 30"}, CodeCEL},
		{"CEL parameter that is not declared", change{reports, "request.duration <= duration('30m')", "request.params.folders == '/daily'"}, CodeCEL},
		{"CEL risk, of a later version", change{reports, "request.duration <= duration('30m')", "risk.score <= 30"}, CodeCEL},
		{"CEL clock", change{reports, "request.duration <= duration('30m')", "timestamp('2030-01-01T00:00:00Z') > now()"}, CodeCEL},
		{"CEL has", change{reports, "request.duration <= duration('30m')", "has(request.params.folder)"}, CodeCEL},
		{"CEL optional", change{reports, "request.duration <= duration('30m')", "request.?duration.hasValue()"}, CodeCEL},
		{"CEL regular expression", change{reports, "request.duration <= duration('30m')", "requester.id.matches('.*')"}, CodeCEL},
		{"CEL look-alike", change{reports, "request.duration <= duration('30m')", "requester.id.contains('alice')"}, CodeCEL},
		{"CEL dyn", change{reports, "request.duration <= duration('30m')", "dyn(request.duration) == 1"}, CodeCEL},
		{"a mode that is none", change{web, "kind: web", "kind: web\nmode: watch"}, CodeValue},
		{"observed without an exception", change{web, "kind: web", "kind: web\nmode: observe"}, CodeException},
		// exceptions
		{"wildcard that writes", change{reports, "[http.get, http.head]", "[\"http.*\"]"}, CodeException},
		{"class that writes", change{reports, "[http.get, http.head]", "[http.get, \"@write\"]"}, CodeException},
		{"exception that excuses nothing", exceptionTo("", ""), CodeException},
		{"exception for an unknown entitlement", exceptionTo("reports/read", "reports/raed"), CodeUnknownName},
		{"exception for an unknown app", exceptionTo("allows: wildcard\nentitlement: reports/read", "allows: observe\napp: report"), CodeUnknownName},
		{"exception for an app that needs none", exceptionTo("allows: wildcard\nentitlement: reports/read", "allows: observe\napp: reports"), CodeException},
		{"exception for an app and an entitlement", exceptionTo("entitlement:", "app: reports\nentitlement:"), CodeValue},
		{"exception for nothing", exceptionTo("entitlement: reports/read\n", ""), CodeMissing},
		{"exception from everything", exceptionTo("wildcard", "everything"), CodeValue},
		{"exception without an owner", exceptionTo("owner: team-data\n", ""), CodeMissing},
		{"exception without a reason", exceptionTo("reason: The new client is not classified yet.\n", ""), CodeMissing},
		{"exception for a reason without words", exceptionTo("The new client is not classified yet.", "\"!\""), CodeValue},
		{"exception without an end", exceptionTo("until: 2027-01-31\n", ""), CodeMissing},
		{"exception until some day", exceptionTo("2027-01-31", "soon"), CodeValue},
		{"exception for longer than a calendar has days", exceptionTo("2027-01-31", "2027-02-31"), CodeValue},
		{"exception in a folder of its own", change{"exceptions/data/wide.yaml", "", "exception: wide\n"}, CodeFile},
		// inline tests
		{"test of an unknown parameter", change{refunds, "amount_max: 10000}, expect: approval", "amount: 10000}, expect: approval"}, CodeUnknownName},
		{"test of an unknown code", change{refunds, "because: max_duration", "because: too_long"}, CodeValue},
		{"test of nobody", change{refunds, "as: alice@acme.example", "as: dave"}, CodeValue},
	}
}

const wide = `exception: wide-reports
owner: team-data
allows: wildcard
entitlement: reports/read
until: 2027-01-31
reason: The new client is not classified yet.
`

// exceptionTo adds an exception, with an edit.
func exceptionTo(old, new string) change {
	return change{"exceptions/wide-reports.yaml", "", strings.Replace(wide, old, new, 1)}
}

func TestMistakesAreRefused(t *testing.T) {
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			_, err := Load(edited(t, m.edit), options(t))
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("loaded, want %s (%v)", m.code, err)
			}
			if !slices.ContainsFunc(all, func(e *Error) bool { return e.Code == m.code }) {
				t.Errorf("want %s, got\n%v", m.code, err)
			}
		})
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

// What authors read is held whole: file, line, column and what was expected.
func TestMessagesToAuthors(t *testing.T) {
	var b strings.Builder
	for _, m := range mistakes() {
		if _, err := Load(edited(t, m.edit), options(t)); err != nil {
			fmt.Fprintf(&b, "# %s\n%v\n", m.name, err)
		}
	}
	golden := filepath.Join("testdata", "mistakes.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("messages changed; see the difference with -update\n%s", firstDifference(b.String(), string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	files := edited(t,
		change{refunds, "owner: team-payments", "owner: Team"}, change{refunds, "default: 30m", "default: 3h"},
		change{stripe, "streams: deadline", "streams: dead"}, change{mainFile, "grant: 12h", "grant: 48h"})
	_, err := Load(files, options(t))
	var all Errors
	if !errors.As(err, &all) || len(all) != 4 {
		t.Fatalf("want 4 errors, got %v", err)
	}
	for _, file := range []string{refunds, stripe, mainFile} {
		if !slices.ContainsFunc(all, func(e *Error) bool { return e.File == file && e.Line > 0 && e.Column > 0 }) {
			t.Errorf("no error with line and column of %s in\n%v", file, err)
		}
	}
}

func TestDevAcceptsPlainHTTPOnLoopbackOnly(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://[::1]:8080": true, "https://127.0.0.1": true,
		"http://localhost:8080": false, "http://10.0.0.1": false, "http://127.0.0.1:0": false, "ftp://127.0.0.1": false,
	} {
		o := options(t)
		o.Dev = true
		_, err := Load(edited(t, change{web, "https://reports.internal.acme.example", url}), o)
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, b := range exampleFiles(f) {
		f.Add(string(b))
	}
	for _, s := range []string{"", "---", "{a: [b:c]}", "entitlement: x\nallow: [{operations: [\"@read\"]}]", "a: &b [*b]", "? [", "approve: {auto: {when: \"true\"}}"} {
		f.Add(s)
	}
	o, good := options(f), exampleFiles(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{mainFile, stripe, refunds, reports} {
			files := map[string][]byte{}
			for k, v := range good {
				files[k] = v
			}
			files[name] = []byte(text)
			s, err := Load(files, o)
			if (s == nil) == (err == nil) {
				t.Fatalf("set %v, error %v", s != nil, err)
			}
			if s == nil {
				continue
			}
			for _, e := range s.Entitlements() {
				if e.Max <= 0 || e.Max > s.Caps().Grant || len(e.Who) == 0 || len(e.Operations()) == 0 {
					t.Errorf("entitlement %+v came into force", e)
				}
			}
			RunTests(s)
		}
	})
}
