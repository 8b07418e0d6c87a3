package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type goPackage struct {
	ImportPath string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

// list runs go list on the module's packages.
func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Imports,Deps,GoFiles"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImportsOnlyGoDown(t *testing.T) {
	var imports []Import
	for _, p := range list(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			if to, ours := strings.CutPrefix(i, module); ours {
				imports = append(imports, Import{from, to})
			}
		}
	}
	if len(imports) == 0 {
		t.Fatal("go list saw no imports of ours: this test would pass on anything")
	}
	for _, sentence := range CheckImports(imports) {
		t.Error(sentence)
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	for _, p := range list(t, "./...") {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package documentation", p.ImportPath)
		}
	}
}

// TestSidecarStaysSmall holds design §4: what decides requests links nothing
// that stores, serves people or evaluates policy.
func TestSidecarStaysSmall(t *testing.T) {
	banned := []string{
		module + "access", module + "policy", module + "risk", module + "store", module + "server", module + "console",
		module + "channel", module + "xds", module + "oauth", module + "test",
		"cel.dev/cel-go", "github.com/google/cel-go", "github.com/go-git/go-git", "modernc.org/sqlite",
	}
	for _, p := range list(t, "./cmd/mayfly-sidecar") {
		for _, dep := range p.Deps {
			for _, b := range banned {
				if dep == b || strings.HasPrefix(dep, b+"/") {
					t.Errorf("the sidecar links %s", dep)
				}
			}
		}
	}
}

// TestProductLinksNoDevelopmentKit: whoever links the development CA could trust it.
func TestProductLinksNoDevelopmentKit(t *testing.T) {
	for _, p := range list(t, "./cmd/mayfly", "./cmd/mayflyd", "./cmd/mayfly-sidecar") {
		if i := slices.IndexFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, module+"test/") }); i >= 0 {
			t.Errorf("%s links %s", p.ImportPath, p.Deps[i])
		}
	}
}

// TestCheckImportsFindsPlantedOnes shows that the checker above can say no.
func TestCheckImportsFindsPlantedOnes(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		allowed        bool
	}{
		{"edge to domain", "server", "access", true},
		{"grant to scope", "grant", "scope", true},
		{"child to parent", "app/stripe", "app", true},
		{"domain to leaf", "access", "policy", true},
		{"command to anything", "cmd/mayflyd", "store/sqlite", true},
		{"development command to the kit", "cmd/mayfly-dev", "test/dev", true},
		{"scope to grant", "scope", "grant", false},
		{"leaf to leaf", "policy", "audit", false},
		{"leaf to domain", "feed", "access", false},
		{"domain to adapter", "access", "store/sqlite", false},
		{"edge to edge", "proxy", "xds", false},
		{"edge to the store", "server", "store/sqlite", false},
		{"parent to child", "app", "app/stripe", false},
		{"sibling to sibling", "proxy/hop", "proxy/spool", false},
		{"product to the kit", "cmd/mayflyd", "test/dev", false},
		{"command to command", "cmd/mayfly", "cmd/mayflyd", false},
		{"anything to a command", "server", "cmd/mayflyd", false},
		{"a folder in no row", "helpers", "grant", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := CheckImports([]Import{{c.from, c.to}})
			if (len(got) == 0) != c.allowed {
				t.Errorf("CheckImports(%s → %s) = %q, want allowed %v", c.from, c.to, got, c.allowed)
			}
		})
	}
}
