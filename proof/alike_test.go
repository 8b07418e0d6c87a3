package proof_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/proof"
	"github.com/mayflyproxy/mayfly/proof/prooftest"
	"github.com/mayflyproxy/mayfly/scope"
)

// load reads files as mayflyd does.
func load(files map[string]string) (*policy.Set, error) {
	raw := map[string][]byte{}
	for name, text := range files {
		raw[name] = []byte(text)
	}
	return policy.Load(raw, policy.Options{
		Catalogue:   func(string) (*scope.Catalogue, bool) { return prooftest.Catalogue(), true },
		ApproverKey: proof.KeyName,
	})
}

// alike fails unless a gateway reads the entitlements of a set as mayflyd does.
func alike(t *testing.T, set *policy.Set) {
	t.Helper()
	accounts, keys, err := proof.SeePeople(set.Files()["mayfly.yaml"])
	if err != nil {
		t.Fatalf("mayfly.yaml is good, and the gateway says: %v", err)
	}
	for account, name := range accounts {
		if got := set.PersonOf(account).String(); got != name {
			t.Errorf("%s is %s, and to the gateway %s", account, got, name)
		}
		person, err := identity.NamedPerson(name)
		if err != nil || len(set.ApproverKeys(person)) != keys[name] {
			t.Errorf("%s has %d keys, and to the gateway %d", name, len(set.ApproverKeys(person)), keys[name])
		}
		if len(set.AccountsOf(person)) == 0 {
			t.Errorf("%s has no accounts", name)
		}
	}
	for _, e := range set.Entitlements() {
		if !e.Signed {
			continue
		}
		seen, expand, err := proof.SeeEntitlement(set.Files()[e.File])
		if err != nil {
			t.Errorf("%s is good, and the gateway says: %v", e.File, err)
			continue
		}
		want := proof.Seen{Name: e.Name, App: e.App, Max: e.Max}
		for _, s := range e.Steps {
			want.Any, want.Counts = append(want.Any, s.Any), append(want.Counts, s.Count)
		}
		if !reflect.DeepEqual(seen, want) {
			t.Errorf("%s says %+v, and to the gateway %+v", e.File, want, seen)
		}
		for _, params := range []map[string]string{{}, {"folder": "/daily"}, {"folder": "/other"}, {"folder": "x"}} {
			x, err := set.Expand(e.Name, params)
			s, class, err2 := expand(params, prooftest.Catalogue())
			if (err == nil) != (err2 == nil) {
				t.Errorf("%s with %v: %v, and to the gateway %v", e.Name, params, err, err2)
			}
			if err != nil || err2 != nil {
				continue
			}
			a, _ := json.Marshal(x.Scope)
			b, _ := json.Marshal(s)
			if string(a) != string(b) || x.Class != class {
				t.Errorf("%s with %v is %s %s, and to the gateway %s %s", e.Name, params, x.Class, a, class, b)
			}
		}
	}
}

// TestTheGatewayReadsPolicyAlike: what mayflyd takes from a file, a gateway takes too.
func TestTheGatewayReadsPolicyAlike(t *testing.T) {
	set, err := load(prooftest.New(t).Files(t))
	if err != nil {
		t.Fatal(err)
	}
	alike(t, set)
}

// FuzzTheGatewayReadsPolicyAlike: any file that mayflyd takes.
func FuzzTheGatewayReadsPolicyAlike(f *testing.F) {
	files := prooftest.New(f).Files(f)
	f.Add(files["entitlements/reports/read.yaml"])
	f.Add("entitlement: reports/read\nowner: a\napp: reports\nallow: [{operations: ['@read']}]\ngrant: {max: 1h}\nrequest: {who: [bob]}\napprove: {signed: true, steps: [{any: [bob], within: 1m}]}\nsensitivity: money\n")
	f.Add("entitlement: reports/read\nowner: a\napp: reports\nallow:\n- operations: [http.*]\n  where: {path: {in: [/a, $folder]}}\nparams: {folder: {type: path, required: true, values: [/daily]}}\ngrant: {max: 1h}\nrequest: {who: [bob]}\napprove: {signed: true, steps: [{any: [erin], within: 1m, count: 1}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := load(map[string]string{"mayfly.yaml": files["mayfly.yaml"], "apps/reports.yaml": files["apps/reports.yaml"], "entitlements/it.yaml": text})
		if err == nil {
			alike(t, set)
		}
	})
}

// FuzzTheGatewayReadsPeopleAlike: any mayfly.yaml that mayflyd takes.
func FuzzTheGatewayReadsPeopleAlike(f *testing.F) {
	files := prooftest.New(f).Files(f)
	f.Add(files["mayfly.yaml"])
	f.Fuzz(func(t *testing.T, text string) {
		set, err := load(map[string]string{"mayfly.yaml": text, "apps/reports.yaml": files["apps/reports.yaml"]})
		if err == nil && len(set.AccountsOf(bob(t))) > 0 {
			alike(t, set)
		}
	})
}

func bob(t *testing.T) identity.Person {
	t.Helper()
	p, err := identity.NamedPerson(prooftest.Approver)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTheGatewayReadsSpoiltFilesAlike takes one byte after the other out of a file.
func TestTheGatewayReadsSpoiltFilesAlike(t *testing.T) {
	files := prooftest.New(t).Files(t)
	const name = "entitlements/reports/read.yaml"
	taken := 0
	for i := range files[name] {
		text := files[name][:i] + files[name][i+1:]
		set, err := load(map[string]string{"mayfly.yaml": files["mayfly.yaml"], "apps/reports.yaml": files["apps/reports.yaml"], name: text})
		if err == nil {
			taken++
			alike(t, set)
		}
	}
	if taken < 20 {
		t.Errorf("only %d spoilt files were taken: this test would pass on anything", taken)
	}
}
