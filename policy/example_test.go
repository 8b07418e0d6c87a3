package policy

import (
	"io/fs"
	"os"
	"testing"

	"github.com/mayflyproxy/mayfly/scope"
)

// The catalogues of the tests: as the kinds stripe and web have them, in small.
func catalogues(t testing.TB) func(string) (*scope.Catalogue, bool) {
	t.Helper()
	charge := scope.AttributeSpec{Name: "charge", Type: scope.TypeString, Recordable: true}
	amount := scope.AttributeSpec{Name: "amount", Type: scope.TypeMinorUnits, Recordable: true}
	path := scope.AttributeSpec{Name: "path", Type: scope.TypePath, Required: true}
	made := map[string]*scope.Catalogue{}
	for kind, specs := range map[string][]scope.Spec{
		"stripe": {
			{Name: "refunds.create", Class: scope.ClassMoney, Attributes: []scope.AttributeSpec{charge, amount}},
			{Name: "charges.retrieve", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{charge}},
			{Name: "charges.list", Class: scope.ClassRead},
			{Name: "payouts.create", Class: scope.ClassMoney, Attributes: []scope.AttributeSpec{{Name: "total", Type: scope.TypeMoney, Required: true}, {Name: "instant", Type: scope.TypeBoolean}}},
		},
		"web": {
			{Name: "http.get", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{path}},
			{Name: "http.head", Class: scope.ClassRead, Attributes: []scope.AttributeSpec{path}},
			{Name: "http.post", Class: scope.ClassWrite, Attributes: []scope.AttributeSpec{path}},
		},
	} {
		c, err := scope.NewCatalogue(specs)
		if err != nil {
			t.Fatal(err)
		}
		made[kind] = c
	}
	return func(kind string) (*scope.Catalogue, bool) {
		c, ok := made[kind]
		return c, ok
	}
}

func options(t testing.TB) Options {
	return Options{
		Catalogue:    catalogues(t),
		Credentialed: func(kind string) bool { return kind == "stripe" },
		GroupSources: []string{"idp"},
		Commit:       "0123456789012345678901234567890123456789",
	}
}

// exampleFiles reads the policy that the documentation shows.
// exampleFiles are those of the example without its bundle, with which its entitlements
// could not go, or change.
func exampleFiles(t testing.TB) map[string][]byte {
	files := wholeExample(t)
	delete(files, bundleFile)
	return files
}

func wholeExample(t testing.TB) map[string][]byte {
	t.Helper()
	root, files := os.DirFS("../examples/policy"), map[string][]byte{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func example(t testing.TB) *Set {
	t.Helper()
	s, err := Load(exampleFiles(t), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExamplePolicyPassesItsOwnTests(t *testing.T) {
	s, err := Load(wholeExample(t), options(t))
	if err != nil {
		t.Fatal(err)
	}
	results := RunTests(s)
	if len(results) != 23 {
		t.Errorf("ran %d inline tests, want 23", len(results))
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s:%d: %s as %s: got %s, want %s: %s", r.File, r.Line, r.Entitlement, r.As, r.Got, r.Want, r.Message)
		}
	}
}
