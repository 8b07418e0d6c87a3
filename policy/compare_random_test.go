package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// drawn is one random policy, as text fragments by what they are for.
type drawn map[string]string

// fragments are what each part of a random policy is drawn from. The first is the
// plainest.
func fragments() map[string][]string {
	who := []string{"group:idp/a", "group:idp/b", "alice", "\"user:idp:bob1\"", "\"spiffe://acme.example/w\""}
	any := []string{"group:idp/leads", "group:idp/a", "carol", "\"user:idp:dave1\""}
	out := map[string][]string{
		"caps":        {"grant: 12h, pending_per_principal: 5", "grant: 8h, pending_per_principal: 5", "grant: 12h, pending_per_principal: 3"},
		"domains":     {"", "trust_domains: [{name: acme.example, environments: [prod, staging]}]", "trust_domains: [{name: acme.example, environments: [prod]}]"},
		"alice":       {"\"user:idp:alice1\"", "\"user:idp:alice1\", \"user:idp:alice2\""},
		"carol":       {"\"user:idp:carol1\"", "\"user:idp:carol1\", \"user:idp:dave1\"", "\"user:idp:dave1\""},
		"bob":         {"", "  - {person: bob, accounts: [\"user:idp:bob1\"]}", "  - {person: bob, accounts: [\"user:idp:bob1\", \"user:idp:alice2\"]}"},
		"app.env":     {"", "environments: [prod, staging]", "environments: [prod]"},
		"app.stale":   {"15s", "5s"},
		"new":         {"", "wiki2.internal.acme.example", "wiki.internal.acme.example"},
		"sensitivity": {"", "sensitivity: write", "sensitivity: admin"},
		"env":         {"", "environments: [prod, staging]", "environments: [staging]"},
		"max":         {"1h", "2h", "30m"},
		"default":     {"30m", "10m", "20m"},
		"idle":        {"", ", idle_after: 15m", ", idle_after: 30m"},
		"justify":     {"text", "none"},
		"auto":        {"", "auto: {when: \"request.duration <= duration('20m')\"}", "auto: {when: \"requester.kind == 'workload'\"}"},
		"ops":         {"http.get", "http.get, http.head", "http.get, http.post", "http.post", "http.get, http.head, http.post"},
		"bound":       {"is: $p", "under: $p", "under: /a", "under: /a/b", "is: /a/b", "in: [/a, /a/b]", "under: /a, is: $p", "in: [/a]", "under: \"/\""},
		"p.given":     {"required: true", "any: true"},
		"p.pattern":   {"", ", pattern: \"/a(/.*)?\"", ", pattern: \"/.*\""},
		"p.values":    {"", ", values: [/a]", ", values: [/a, /a/b]"},
		"second":      {"", "yes"},
	}
	out["who"], out["any"] = subsets(who), subsets(any)
	out["any2"] = append([]string{""}, subsets(any)...)
	out["count"], out["count2"] = []string{"1", "2"}, []string{"1", "2"}
	out["within"], out["within2"] = []string{"1h", "30m"}, []string{"1h", "30m"}
	return out
}

func subsets(names []string) []string {
	var out []string
	for mask := 1; mask < 1<<len(names); mask++ {
		var some []string
		for i, name := range names {
			if mask&(1<<i) != 0 {
				some = append(some, name)
			}
		}
		out = append(out, strings.Join(some, ", "))
	}
	return out
}

func (d drawn) files() map[string][]byte {
	files := map[string][]byte{}
	nodeApps := "wiki"
	if d["new"] != "" {
		nodeApps = "wiki, wiki2"
		files["apps/wiki2.yaml"] = []byte("app: wiki2\nkind: web\nowner: t\nhosts: [wiki2.acme.example]\ncallers: [services]\nupstream: {url: \"https://" + d["new"] + "\"}\n")
		files["entitlements/wiki2/x.yaml"] = []byte(d.entitlement("wiki2/x", "wiki2"))
	}
	files[mainFile] = []byte(fmt.Sprintf(`organisation: acme
caps: {%s}
environments: [prod, staging]
%s
nodes: [{sidecar: "spiffe://acme.example/gw/s", listener: "spiffe://acme.example/gw/l", role: gateway, apps: [%s], environment: prod}]
people:
  - {person: alice, accounts: [%s]}
  - {person: carol, accounts: [%s]}
%s
security: group:idp/security
`, d["caps"], d["domains"], nodeApps, d["alice"], d["carol"], d["bob"]))
	files["apps/wiki.yaml"] = []byte(fmt.Sprintf("app: wiki\nkind: web\nowner: t\nhosts: [wiki.acme.example]\ncallers: [services]\nupstream: {url: \"https://wiki.internal.acme.example\"}\nstale_after: %s\n%s\n", d["app.stale"], d["app.env"]))
	files["entitlements/wiki/x.yaml"] = []byte(d.entitlement("wiki/x", "wiki"))
	if d["second"] != "" {
		files["entitlements/wiki/y.yaml"] = []byte(d.entitlement("wiki/y", "wiki"))
	}
	return files
}

func (d drawn) entitlement(name, app string) string {
	params, approve := "", d["auto"]
	if strings.Contains(d["bound"], "$p") {
		params = fmt.Sprintf("params: {p: {type: path, %s%s%s}}", d["p.given"], d["p.pattern"], d["p.values"])
	}
	steps := fmt.Sprintf("{any: [%s], count: %s, within: %s}", d["any"], d["count"], d["within"])
	if d["any2"] != "" {
		steps += fmt.Sprintf(", {any: [%s], count: %s, within: %s}", d["any2"], d["count2"], d["within2"])
	}
	if approve != "" {
		approve += ", "
	}
	return fmt.Sprintf(`entitlement: %s
owner: t
app: %s
allow: [{operations: [%s], where: {path: {%s}}}]
%s
%s
%s
grant: {max: %s, default: %s%s}
request: {who: [%s], justification: %s}
approve: {%ssteps: [%s]}
`, name, app, d["ops"], d["bound"], params, d["sensitivity"], d["env"], d["max"], d["default"], d["idle"], d["who"], d["justify"], approve, steps)
}

// TestWhatDoesNotWidenGivesNothing asks random pairs of policies random things. Where
// Compare says that the second does not widen, everything that it gives was to be had
// under the first: for no fewer approvals, by no others, for no more.
func TestWhatDoesNotWidenGivesNothing(t *testing.T) {
	parts, o := fragments(), options(t)
	o.InForce = true // rules that only keep a commit out are not what is compared
	names := keys(parts)
	narrowed, gave := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		d := drawn{}
		for _, name := range names {
			d[name] = rapid.SampledFrom(parts[name]).Draw(t, name)
		}
		after := drawn{}
		for name, text := range d {
			after[name] = text
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			name := rapid.SampledFrom(names).Draw(t, "changed")
			after[name] = rapid.SampledFrom(parts[name]).Draw(t, "now "+name)
		}
		was, err := Load(d.files(), o)
		if err != nil {
			t.Skip("not a policy") // two approvals of one person, and the like
		}
		now, err := Load(after.files(), o)
		if err != nil {
			t.Skip("not a policy") // the same: rapid draws another one
		}
		c := Compare(was, now)
		if c.Widens() {
			return
		}
		narrowed++
		for range 40 {
			gave += givesNothing(t, was, now, c, drawAsk(t, now))
		}
		for _, a := range everybody(t) {
			for _, b := range everybody(t) {
				x, y := Account{Principal: a}, Account{Principal: b}
				if was.SamePerson(x, y) && !now.SamePerson(x, y) {
					t.Fatalf("%s and %s are no longer one person: %+v", a, b, c.Changes)
				}
			}
		}
	})
	t.Logf("%d pairs that do not widen, %d things given under the second", narrowed, gave)
	if narrowed < 10 || gave < 20 {
		t.Errorf("only %d pairs do not widen, and only %d things were given: this shows nothing", narrowed, gave)
	}
}

func everybody(t rapidOrTest) []identity.Principal {
	var out []identity.Principal
	for _, s := range []string{"user:idp:alice1", "user:idp:alice2", "user:idp:bob1", "user:idp:carol1", "user:idp:dave1", "user:idp:nobody", "spiffe://acme.example/w"} {
		p, err := identity.ParsePrincipal(s)
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, p)
	}
	return out
}

type rapidOrTest interface{ Fatalf(string, ...any) }

func drawAsk(t *rapid.T, s *Set) Input {
	var names []string
	for _, e := range s.Entitlements() {
		names = append(names, e.Name)
	}
	who := rapid.SampledFrom(everybody(t)).Draw(t, "who")
	in := Input{
		Entitlement: rapid.SampledFrom(names).Draw(t, "entitlement"), Beneficiary: who, Now: noon(),
		Duration:      rapid.SampledFrom([]time.Duration{0, 5 * time.Minute, 25 * time.Minute, time.Hour, 2 * time.Hour}).Draw(t, "duration"),
		Justification: rapid.SampledFrom([]string{"because", "because", ""}).Draw(t, "justification"),
		Requester:     Requester{Principal: who, GroupsAt: noon()}, Params: map[string]string{},
	}
	for _, g := range []string{"group:idp/a", "group:idp/b"} {
		if who.Kind() == identity.KindUser && rapid.Bool().Draw(t, g) {
			group, err := identity.ParseGroup(g)
			if err != nil {
				t.Fatal(err)
			}
			in.Requester.Groups = append(in.Requester.Groups, group)
		}
	}
	if e, ok := s.Entitlement(in.Entitlement); ok && len(e.Params) > 0 {
		if p := rapid.SampledFrom([]string{"/a", "/a/b", "/a/b/c", "/c", "/", ""}).Draw(t, "p"); p != "" {
			in.Params["p"] = p
		}
	}
	return in
}

// givesNothing returns 1 if now gives something on an app that was there, which was
// then gives too.
func givesNothing(t *rapid.T, was, now *Set, c Comparison, in Input) int {
	got := now.Decide(in)
	e, _ := now.Entitlement(in.Entitlement)
	if _, there := was.App(e.App); got.Outcome == Denied || !there {
		return 0
	}
	fail := func(format string, args ...any) {
		t.Fatalf("%s: %+v\nchanges: %+v\n%s\n---\n%s", fmt.Sprintf(format, args...), in, c.Changes, was.Files()["entitlements/wiki/x.yaml"], now.Files()["entitlements/wiki/x.yaml"])
	}
	// Asked for in so many words, and without what could not be said then.
	in.Duration = got.Duration
	old, ok := was.Entitlement(in.Entitlement)
	if !ok {
		fail("given under an entitlement that was not there")
	}
	if _, ok := old.Param("p"); !ok {
		delete(in.Params, "p")
	}
	had := was.Decide(in)
	switch {
	case had.Outcome == Denied:
		fail("given, and was denied: %s", had.Sentence)
	case got.Outcome == Granted && had.Outcome != Granted:
		fail("given at once, and was not")
	case had.Outcome == NeedsApproval && !approvalsWithin(t, was, now, had.Steps, got.Steps):
		fail("given for fewer approvals, or by others")
	case got.Expansion.Class < had.Expansion.Class && e.Sensitivity < old.Sensitivity:
		fail("given in class %s, was %s", got.Expansion.Class, had.Expansion.Class)
	case had.Expansion.IdleAfter != 0 && (got.Expansion.IdleAfter == 0 || got.Expansion.IdleAfter > had.Expansion.IdleAfter):
		fail("given for longer without use")
	}
	for _, name := range []string{"http.get", "http.head", "http.post"} {
		for _, path := range []string{"/", "/a", "/a/b", "/a/b/c", "/c"} {
			op := scope.Operation{App: e.App, Name: name, Attributes: scope.Attributes{"path": scope.Path(path)}}
			if got.Expansion.Scope.Covers(op) == nil && had.Expansion.Scope.Covers(op) != nil {
				fail("given %s %s, and was not", name, path)
			}
		}
	}
	for _, environment := range []string{"prod", "staging"} {
		counts := func(s *Set, e *Entitlement) bool {
			in := s.EnvironmentsOf(e)
			return len(in) == 0 || slices.Contains(in, environment)
		}
		if counts(now, e) && !counts(was, old) {
			fail("counts in %s, and did not", environment)
		}
	}
	return 1
}

// approvalsWithin reports whether whoever completes the steps that are asked for now
// completes those that were: one for one, in order, everybody who may speak now may
// have spoken then.
func approvalsWithin(t *rapid.T, was, now *Set, had, got []Step) bool {
	speakers := func(s *Set, step Step) map[string]bool {
		out := map[string]bool{}
		for _, p := range everybody(t) {
			for _, g := range []string{"", "group:idp/leads", "group:idp/a", "group:idp/b"} {
				a := Approver{Principal: p, Person: s.PersonOf(p), GroupsAt: noon()}
				if g != "" {
					group, err := identity.ParseGroup(g)
					if err != nil {
						t.Fatal(err)
					}
					a.Groups = []identity.Group{group}
				}
				if MayApprove(step, a, noon()) == nil {
					out[p.String()+g] = true
				}
			}
		}
		return out
	}
	for _, step := range had {
		i := slices.IndexFunc(got, func(n Step) bool {
			then := speakers(was, step)
			for who := range speakers(now, n) {
				if !then[who] {
					return false
				}
			}
			return n.Count >= step.Count && n.Within <= step.Within
		})
		if i < 0 {
			return false
		}
		got = got[i+1:]
	}
	return true
}
