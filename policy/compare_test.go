package policy

import (
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

const newWeb = `
app: notes
kind: web
owner: team-data
hosts: [notes.acme.example]
callers: [services]
upstream: {url: "https://notes.internal.acme.example"}
`

const newNotes = `
entitlement: notes/read
owner: team-data
app: notes
allow: [{operations: ["@read"]}]
grant: {max: 1h}
request: {who: [group:idp/engineers]}
approve: {auto: {when: "true"}}
`

// TestWhatWidens has, for edits of the example policy, whether the commit that makes
// them has to wait. Taken back, it is the other way round where back says so.
func TestWhatWidens(t *testing.T) {
	addApp := func(edits ...change) []change {
		return append([]change{{"apps/notes.yaml", "", newWeb}, {"entitlements/notes/read.yaml", "", newNotes}, {mainFile, "apps: [stripe, reports]", "apps: [stripe, reports, notes]"}}, edits...)
	}
	one := func(file, was, now string) []change { return []change{{file, was, now}} }
	const keep, narrows, widens = "keep", "narrows", "widens"
	for _, tt := range []struct {
		name       string
		edits      []change
		want, back string
	}{
		{"nothing", nil, keep, keep},
		{"another owner", one(reports, "owner: team-data", "owner: team-web"), keep, keep},
		{"an inline test", one(reports, "expect: granted}", "expect: granted}\n  - {as: carol, ask: {folder: /secret}, expect: denied}"), keep, keep},
		{"a comment", one(reports, "# Read reports.", "# Reads reports."), keep, keep},
		{"an owner of workloads", one(mainFile, "owner: team-pay", "owner: team-money"), keep, keep},
		{"a declared environment", one(mainFile, "[prod, staging]\n", "[prod, staging, test]\n"), keep, keep},
		{"somebody else may ask", one(reports, "who: [group:idp/engineers,", "who: [group:idp/engineers, bob,"), widens, narrows},
		{"a longer grant", one(reports, "max: 8h", "max: 9h"), widens, narrows},
		{"a longer default", one(reports, "default: 30m", "default: 31m"), widens, narrows},
		{"never idle", one(refunds, ", idle_after: 15m", ""), widens, narrows},
		{"idle later", one(refunds, "idle_after: 15m", "idle_after: 16m"), widens, narrows},
		{"no justification", one(refunds, "justification: text", "justification: none"), widens, narrows},
		{"a weaker class", one(refunds, "sensitivity: money", "sensitivity: secret"), narrows, widens},
		{"one more operation", one(reports, "http.head]", "http.head, http.post]"), widens, narrows},
		{"a pattern that means the same", one(reports, "[http.get, http.head]", `["@read"]`), keep, keep},
		{"a constraint less", one(refunds, ", amount: {max: $amount_max}", ", amount: {max: $amount_max, min: 1}"), narrows, widens},
		{"a literal further up", one(reports, "{under: $folder}", "{under: $folder, is: /daily}"), narrows, widens},
		{"a higher bound of a parameter", one(refunds, "max: 50000", "max: 50001"), widens, narrows},
		{"a parameter that may be left out", one(reports, "any: true, ", "required: true, "), narrows, widens},
		{"another pattern", one(reports, "(daily|monthly)", "(daily|yearly)"), widens, widens},
		{"no pattern", one(reports, `, pattern: "/(daily|monthly)(/.*)?"`, ""), widens, narrows},
		{"an operation with what must be said for it", []change{{reports, "params:", "  - {operations: [http.post], where: {path: {is: $page}}}\nparams:\n  page: {type: path, required: true}"}}, widens, widens},
		{"some values only", one(reports, `any: true,`, `any: true, values: [/daily],`), narrows, widens},
		{"another condition", one(reports, "<= duration('30m')", "<= duration('29m')"), widens, widens},
		{"no rule", one(reports, "  auto: {when: \"request.duration <= duration('30m')\"}\n", ""), narrows, widens},
		{"no steps beside a rule", one(reports, "  steps:\n    - {any: [group:idp/data-leads, carol], count: 1, within: 4h}\n", ""), narrows, widens},
		{"more approvals", one(refunds, "count: 1", "count: 2"), narrows, widens},
		{"less time to approve", one(refunds, "within: 20m", "within: 19m"), narrows, widens},
		{"fewer approvers", one(reports, "[group:idp/data-leads, carol]", "[carol]"), narrows, widens},
		{"another approver", one(reports, "[group:idp/data-leads, carol]", "[carol, bob]"), widens, widens},
		{"a step before", one(refunds, "steps:\n", "steps:\n    - {any: [bob], within: 1h}\n"), narrows, widens},
		{"a login at least as strong", one(mayflyFile, "grant: {max: 4h", "step_up: {max_age: 1h}\ngrant: {max: 4h"), narrows, widens},
		{"an entitlement", []change{{"entitlements/reports/more.yaml", "", strings.Replace(strings.Replace(newNotes, "notes/read", "reports/more", 1), "app: notes", "app: reports", 1)}}, widens, narrows},
		{"its own operations", []change{{"entitlements/mayfly/more.yaml", "", strings.NewReplacer("notes/read", "mayfly/more", "app: notes", "app: mayfly", `["@read"]`, "[traces.read]").Replace(newNotes)}}, widens, narrows},
		{"an app", addApp(), narrows, narrows},
		{"an app with a host of another's upstream", addApp(change{"apps/notes.yaml", "https://notes.internal", "https://reports.internal"}), widens, narrows},
		{"an app that takes a host over", addApp(change{"apps/notes.yaml", "hosts: [notes", "hosts: [reports"}, change{web, "hosts: [reports", "hosts: [old"}), widens, widens},
		{"an app in front of an upstream of old", addApp(change{"apps/notes.yaml", "https://notes.internal.acme.example", "https://10.0.0.9"}, change{web, "https://reports.internal.acme.example", "https://10.0.0.8"}), widens, widens},
		{"an app with a secret of another", addApp(change{"apps/notes.yaml", "kind: web", "kind: stripe\ncredential: [{operations: [\"@read\"], secret: stripe-read}]"}), widens, narrows},
		{"an app that may pass access on", addApp(change{"apps/notes.yaml", "kind: web", "kind: web\nworkload: spiffe://acme.example/notes"}, change{"entitlements/notes/read.yaml", "app: notes", "app: notes\nonward: [reports]"}), widens, narrows},
		{"another upstream", one(web, "reports.internal", "reports2.internal"), widens, widens},
		{"another host", one(web, "hosts: [reports.acme.example]", "hosts: [reports.acme.example, r.acme.example]"), widens, narrows},
		{"another door", one(web, "callers: [services]", "callers: [services, clients]"), widens, narrows},
		{"told of people", one(web, "callers: [services]", "callers: [services, people]\nidentity: {headers: {email: x-mail}}"), widens, widens},
		{"another secret", one(stripe, "secret: stripe-read", "secret: stripe-refunds"), widens, widens},
		{"told later", one(web, "stale_after: 1m", "stale_after: 2m"), widens, narrows},
		{"longer streams", one(web, "max_stream: 2m", "max_stream: 3m"), widens, narrows},
		{"guarded streams", one(web, "streams: deadline", "streams: guard"), widens, widens},
		{"one environment only", one(web, "kind: web", "kind: web\nenvironments: [prod]"), narrows, widens},
		{"an entitlement of one environment", one(reports, "app: reports", "app: reports\nenvironments: [prod]"), narrows, widens},
		{"a person who was nobody", one(mainFile, "people:", "people:\n  - {person: dave, accounts: [\"user:idp:dave\"]}"), keep, widens},
		{"an account of somebody whom no rule names", one(mainFile, `["user:idp:bob"]`, `["user:idp:bob", "user:idp:bob2"]`), keep, widens},
		{"an account of somebody whom a rule names", one(mainFile, `["user:idp:carol"]`, `["user:idp:carol", "user:idp:carol2"]`), widens, widens},
		{"a key to approve with", one(mainFile, `["user:idp:bob"]`, `["user:idp:bob"], keys: [{ssh: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83"}]`), widens, narrows},
		{"another security group", one(mainFile, "group:idp/security", "group:idp/all"), widens, widens},
		{"another signer", one(mainFile, "{person: carol, key", "{person: bob, key: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83\"}\n  - {person: carol, key"), widens, widens},
		{"lower caps", one(mainFile, "grant: 12h", "grant: 11h"), narrows, widens},
		{"a gateway", one(mainFile, "nodes:", "nodes:\n  - {sidecar: \"spiffe://acme.example/gw2/s\", listener: \"spiffe://acme.example/gw2/l\", role: gateway, apps: [reports], environment: prod}"), widens, narrows},
		{"an app less on a gateway", one(mainFile, "apps: [stripe, reports]", "apps: [stripe]"), narrows, widens},
		{"no list of trust domains", one(mainFile, "trust_domains:\n  - {name: acme.example, environments: [prod, staging]}\n", ""), widens, narrows},
		{"a trust domain", one(mainFile, "trust_domains:", "trust_domains:\n  - {name: partner.example, environments: [staging]}"), widens, narrows},
		{"a trust domain in fewer environments", one(mainFile, "{name: acme.example, environments: [prod, staging]}", "{name: acme.example, environments: [prod]}"), narrows, widens},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, err := Load(exampleFiles(t), options(t))
			if err != nil {
				t.Fatal(err)
			}
			after, err := Load(edited(t, tt.edits...), options(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, way := range []struct {
				words, want   string
				before, after *Set
			}{{"forth", tt.want, before, after}, {"back", tt.back, after, before}} {
				c := Compare(way.before, way.after)
				if c.Widens() != (way.want == widens) {
					t.Errorf("%s: widens is %t, want %s: %+v", way.words, c.Widens(), way.want, c.Changes)
				}
				if way.want == narrows && !slices.ContainsFunc(c.Changes, func(c Change) bool { return c.Effect != Differs }) {
					t.Errorf("%s: nothing is told: %+v", way.words, c.Changes)
				}
				for _, change := range c.Changes {
					if change.Text == unknownDifference {
						t.Errorf("%s: %+v", way.words, change)
					}
				}
			}
		})
	}
}

const mayflyFile = "entitlements/mayfly/investigate.yaml"

func TestTheFirstPolicyWidensNothing(t *testing.T) {
	c := Compare(nil, example(t))
	if c.Widens() || !c.First || len(c.Changes) == 0 {
		t.Errorf("widens is %t, first %t, %d changes", c.Widens(), c.First, len(c.Changes))
	}
	if !Compare(example(t), nil).Widens() {
		t.Error("no policy at all does not widen")
	}
}

// TestAnAppIsNotReplacedInTwoSteps removes an app, which narrows, and brings it back
// with other rules, which by itself only adds an app.
func TestAnAppIsNotReplacedInTwoSteps(t *testing.T) {
	load := func(files map[string][]byte) *Set {
		t.Helper()
		s, err := Load(files, options(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	was := load(exampleFiles(t))
	gone := edited(t, change{mainFile, "apps: [stripe, reports]", "apps: [stripe]"})
	delete(gone, web)
	delete(gone, reports)
	without := load(gone)
	if Compare(was, without).Widens() {
		t.Fatal("removing an app widens")
	}
	for name, app := range map[string]string{
		"the same name":     strings.NewReplacer("app: notes", "app: reports").Replace(newWeb),
		"the same host":     strings.NewReplacer("notes.acme", "reports.acme").Replace(newWeb),
		"the same upstream": strings.NewReplacer("notes.internal", "reports.internal").Replace(newWeb),
	} {
		files := edited(t, change{mainFile, "apps: [stripe, reports]", "apps: [stripe]"}, change{"apps/notes.yaml", "", app})
		delete(files, reports)
		delete(files, web)
		if name == "the same name" {
			files[web] = files["apps/notes.yaml"]
			delete(files, "apps/notes.yaml")
		}
		again := load(files)
		c := Compare(without, again)
		if c.Widens() {
			t.Errorf("%s: it widens by itself", name)
		}
		if !c.ReAdds(was) || c.ReAdds(without) || c.ReAdds(nil) {
			t.Errorf("%s: an app that was there is not told: %t %t", name, c.ReAdds(was), c.ReAdds(without))
		}
	}
}

// rich is a policy in which every field of what comes first is set.
func rich(t testing.TB) map[string][]byte {
	return edited(t,
		change{"apps/a.yaml", "", `
app: a
kind: web
owner: team-data
hosts: [a.acme.example]
callers: [services, people]
upstream: {url: "https://a.internal.acme.example", protocol: http/2}
stale_after: 1m
max_stream: 2m
streams: guard
identity: {headers: {email: x-mail}}
assert: true
workload: spiffe://acme.example/a
environments: [prod, staging]
`}, change{"apps/0.yaml", "", `
app: "0"
kind: stripe
owner: team-payments
hosts: [zero.acme.example]
callers: [services]
upstream: {url: "https://api.stripe.com"}
credential: [{operations: ["@read"], secret: zero}]
`}, change{"entitlements/a/a.yaml", "", `
entitlement: a/a
owner: team-data
app: a
allow: [{operations: [http.get], where: {path: {under: $folder}}}]
params: {folder: {type: path, required: true, pattern: "/.*", values: [/a, /b]}}
sensitivity: write
grant: {max: 8h, default: 30m, idle_after: 20m}
request: {who: [group:idp/engineers, alice]}
approve: {steps: [{any: [bob, carol], count: 2, within: 4h}], signed: true}
onward: [reports]
step_up: {acr: [strong], max_age: 1h}
environments: [prod]
tests: [{as: bob, ask: {folder: /a}, expect: denied}]
`}, change{"entitlements/a/b.yaml", "", `
entitlement: a/b
owner: team-data
app: "0"
allow: [{operations: [charges.retrieve], where: {charge: {in: [ch_1, $c]}}}]
params: {c: {type: string, required: true}}
grant: {max: 8h}
request: {who: [bob]}
approve: {auto: {when: "true"}}
`}, change{"exceptions/a.yaml", "", `
exception: a
owner: team-data
allows: wildcard
entitlement: a/c
until: 2999-01-01
reason: Everything, for once.
`}, change{"entitlements/a/c.yaml", "", `
entitlement: a/c
owner: team-data
app: a
allow: [{operations: ["http.*"]}]
grant: {max: 8h}
request: {who: [bob]}
approve: {steps: [{any: [carol], within: 1h}]}
`}, change{"bundles/both.yaml", "", `
bundle: both
owner: team-data
entitlements: [a/b, a/d]
`}, change{"entitlements/a/d.yaml", "", `
entitlement: a/d
owner: team-data
app: "0"
allow: [{operations: [charges.retrieve]}]
grant: {max: 8h}
request: {who: [bob]}
approve: {auto: {when: "true"}}
`}, change{"personas/p.yaml", "", "persona: p\nowner: team-data\nentitlements: [a/a]\nwho: [bob]\n"},
		change{mainFile, `accounts: ["user:idp:bob"]`, `accounts: ["user:idp:bob"], keys: [{ssh: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83"}]`},
		change{mainFile, `accounts: ["user:idp:carol"]`, `accounts: ["user:idp:carol"], keys: [{ssh: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3GzFIB4RbiRdErGYITrk8h74w5aq1haygsWNmDyI83"}]`})
}

// fieldsThatSayNothing are left out of a comparison, each for a reason.
func fieldsThatSayNothing() map[string]string {
	return map[string]string{
		"Set.digest": "of the files", "Set.commit": "where they are from", "Set.files": "what is in them counts",
		"Set.hosts": "of the apps", "Set.accounts": "people, the other way round",
		"App.File": "where it stands", "App.Line": "where it stands", "App.Name": "its key in the set",
		"Credential.Patterns": "as written; Operations counts",
		"Entitlement.File":    "where it stands", "Entitlement.Line": "where it stands", "Entitlement.lines": "where it stands", "Entitlement.Name": "its key in the set",
		"Entitlement.Tests": "asks nobody", "Entitlement.auto": "compiled from Auto", "Entitlement.capped": "of Auto and the caps", "Entitlement.bound": "of expanded",
		"Allow.Operations": "as written; expanded counts", "Allow.Where": "as written; expanded counts", "Allow.Line": "where it stands",
		"Bound.Line": "where it stands", "Bound.column": "where it stands",
		"Set.excuses":    "exceptions, by what they are about",
		"Exception.File": "where it stands", "Exception.Line": "where it stands", "Exception.untilLine": "where it stands", "Exception.untilColumn": "where it stands",
		"Bundle.File": "where it stands", "Bundle.Line": "where it stands", "Bundle.Name": "its key in the set", "Bundle.Tests": "asks nobody",
		"Persona.File": "where it stands", "Persona.Line": "where it stands", "Persona.Name": "its key in the set",
		"Param.Line": "where it stands", "Param.pattern": "compiled from Pattern",
	}
}

// fieldsThatDecideNothing are told, and widen in neither direction.
func fieldsThatDecideNothing() []string {
	return []string{"Set.environments", "Owned.Owner", "Owned.ID", "Set.owned", "App.Owner", "Entitlement.Owner", "Entitlement.Sensitivity", "Exception.Name", "Exception.Owner", "Exception.Reason", "Set.personas", "Bundle.Owner", "Persona.Owner", "Persona.Entitlements", "Persona.Who"}
}

// fieldsThatDependOnOthers are told, and widen by what else is there: a parameter that
// somebody may leave out, by the operations that it bounds.
func fieldsThatDependOnOthers() []string { return []string{"Entitlement.Params", "Param.Name"} }

// TestEveryFieldIsCompared alters every field of everything in a Set, one at a time:
// Compare must tell it, and widen one way or the other. Somebody who adds a field has
// to say here, or there, what it means.
func TestEveryFieldIsCompared(t *testing.T) {
	load := func() *Set {
		s, err := Load(rich(t), options(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before, altered := load(), load()
	if got := Compare(before, altered).Changes; len(got) != 0 {
		t.Fatalf("two loads of the same files differ: %+v", got)
	}
	seen := map[string]bool{}
	w := &walk{t: t, nothing: fieldsThatSayNothing(), seen: seen, filled: map[string]bool{}}
	w.check = func(field, path string) {
		changes := append(Compare(before, altered).Changes, Compare(altered, before).Changes...)
		widens := slices.ContainsFunc(changes, func(c Change) bool { return c.Widens })
		told := slices.ContainsFunc(changes, func(c Change) bool { return c.Text == unknownDifference })
		neutral := slices.Contains(fieldsThatDecideNothing(), field)
		switch {
		case len(changes) == 0:
			t.Errorf("%s: another value is not told", path)
		case told:
			t.Errorf("%s: Compare does not know this field: teach it what a change of it means", path)
		case strings.Contains(path, " without ") || slices.Contains(fieldsThatDependOnOthers(), field):
		case widens == neutral:
			t.Errorf("%s: widens is %t: %+v", path, widens, changes)
		}
	}
	w.visit(reflect.ValueOf(altered).Elem(), "Set", "Set", func() {})
	for field := range fieldsThatSayNothing() {
		if !seen[field] {
			t.Errorf("%s is not there any more", field)
		}
	}
	if n := reflect.TypeFor[Subject]().NumField(); n != 3 {
		t.Errorf("a Subject has %d fields: see that its text still says all of them", n)
	}
	for field, filled := range w.filled {
		if !filled {
			t.Errorf("%s is empty everywhere in the policy of this test: put one into it", field)
		}
	}
	for _, want := range []string{"StepUp.ACR", "Step.Any", "Operand.Param", "Node.Apps", "Credential.Secret", "ApproverKey.Text", "IdentityHeader.Fact", "Param.Values", "TrustDomain.Name", "Signer.Key", "rule.where"} {
		if !seen[want] {
			t.Errorf("%s was not reached", want)
		}
	}
	if got := Compare(before, altered).Changes; len(got) != 0 {
		t.Errorf("the alterations were not taken back: %+v", got)
	}
}

// walk alters a value's parts one at a time.
type walk struct {
	t       *testing.T
	nothing map[string]string
	seen    map[string]bool
	filled  map[string]bool // lists and maps by field: whether one was not empty
	check   func(field, path string)
}

// visit alters v, which is settable, and everything in it. commit puts v where it
// belongs after a change.
func (w *walk) visit(v reflect.Value, field, path string, commit func()) {
	if other, ok := w.other(v); ok {
		w.alter(v, other, field, path, commit)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			w.seen[name] = true
			if w.nothing[name] == "" {
				f := v.Field(i)
				w.visit(reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), name, path+"."+v.Type().Field(i).Name, commit)
			}
		}
	case reflect.Slice:
		w.filled[field] = w.filled[field] || v.Len() > 0
		if v.Len() == 0 {
			return
		}
		if field != "Entitlement.Allow" { // as written; expanded counts
			w.alter(v, v.Slice(1, v.Len()), field, path, commit)
		}
		for i := range v.Len() {
			w.visit(v.Index(i), field, path+"[]", commit)
		}
	case reflect.Map:
		w.filled[field] = w.filled[field] || v.Len() > 0
		for _, key := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(key))
			put := func() { v.SetMapIndex(key, elem); commit() }
			w.visit(elem, field, path+"["+key.String()+"]", put)
			v.SetMapIndex(key, reflect.Value{})
			commit()
			w.check(field, path+" without "+key.String())
			put()
		}
	case reflect.Pointer:
		w.filled[field] = w.filled[field] || !v.IsNil()
		if !v.IsNil() {
			w.visit(v.Elem(), field, path, commit)
		}
	default:
		w.t.Errorf("%s: the test alters no %s", path, v.Type())
	}
}

func (w *walk) alter(v, other reflect.Value, field, path string, commit func()) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	v.Set(other)
	commit()
	w.check(field, path)
	v.Set(was)
	commit()
}

// other returns another value of a type that is changed as a whole.
func (w *walk) other(v reflect.Value) (reflect.Value, bool) {
	another := func(made any) (reflect.Value, bool) { return reflect.ValueOf(made), true }
	switch value := v.Interface().(type) {
	case identity.Principal:
		return another(principal(w.t, "spiffe://acme.example/other"))
	case identity.Person:
		p, err := identity.NamedPerson("other")
		if err != nil {
			w.t.Fatal(err)
		}
		return another(p)
	case identity.Group:
		return another(groups(w.t, "idp/other")[0])
	case Subject:
		return another(Subject{principal: principal(w.t, "user:idp:other")})
	case scope.Value:
		if value.IsZero() || value.Type() == scope.TypeMinorUnits {
			return another(scope.MinorUnits(value.Int() + 1))
		}
		return another(scope.Path("/other"))
	case time.Time:
		return another(value.Add(time.Hour))
	case *url.URL:
		return another(&url.URL{Scheme: "https", Host: "other.example"})
	case *regexp.Regexp:
		return another(regexp.MustCompile("other"))
	case *scope.Catalogue:
		c, err := scope.NewCatalogue(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		return another(c)
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.String:
		out.SetString(v.String() + "x")
	case reflect.Bool:
		out.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		out.SetInt(v.Int() + 1e9)
	case reflect.Uint8:
		out.SetUint(v.Uint() + 1)
	default:
		return reflect.Value{}, false
	}
	return out, true
}

// TestAFieldThatNobodyTaughtWidens stands for one that somebody adds later.
func TestAFieldThatNobodyTaughtWidens(t *testing.T) {
	type grown struct{ Known, Added string }
	c := &comparing{}
	at{c: c, what: "app a"}.rest(grown{Added: "x"}, grown{Added: "x"})
	if len(c.out) != 0 {
		t.Errorf("what is the same differs: %+v", c.out)
	}
	at{c: c, what: "app a"}.rest(grown{}, grown{Added: "x"})
	if !(Comparison{Changes: c.out}).Widens() {
		t.Error("it does not widen")
	}
}
