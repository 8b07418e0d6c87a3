package test

import (
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// TestDocsRequestTransitions compares the drawn transitions with every place in
// package access that gives a request a state.
func TestDocsRequestTransitions(t *testing.T) {
	files := parsed(t, "access")
	states := consts(files, "RequestState")
	var inCode, documented []string
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				for _, s := range given(fn.Body, states) {
					inCode = append(inCode, fn.Name.Name+" → "+s)
				}
			}
		}
	}
	leaves := consts(parsed(t, "audit"), "Type")
	var to []string
	for _, r := range readPage(t, "docs/states.md").table(t, "table: request transitions") {
		documented = append(documented, names(r[5])[0]+" → "+names(r[1])[0])
		to = append(to, names(r[1])[0])
		if from := names(r[0]); len(from) > 0 && from[0] != string(access.Pending) {
			t.Errorf("a request moves from %s: it moves only from pending", from[0])
		}
		if !slices.Contains(values(leaves), names(r[4])[0]) {
			t.Errorf("the record has no leaf %s", r[4])
		}
	}
	sameNames(t, "docs/states.md", documented, inCode)
	slices.Sort(to)
	sameNames(t, "docs/states.md, states of a request", slices.Compact(to), values(states))
}

// given lists the states that a function gives: assigned to a field State, put
// into a Request, or passed to finishRequest.
func given(body ast.Node, states map[string]string) []string {
	var out []string
	take := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok && states[id.Name] != "" {
			out = append(out, states[id.Name])
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok && s.Sel.Name == "State" && len(n.Rhs) == len(n.Lhs) {
					take(n.Rhs[i])
				}
			}
		case *ast.CompositeLit:
			if typ, ok := n.Type.(*ast.Ident); !ok || typ.Name != "Request" {
				return true // a filter asks for a state and gives none
			}
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "State" {
					take(kv.Value)
				}
			}
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "finishRequest" {
				take(n.Args[2])
			}
		}
		return true
	})
	return out
}

func values(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// TestDocsGrantStates holds each row of the page to Grant.StateAt and Permits.
func TestDocsGrantStates(t *testing.T) {
	now := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	base := grant.Grant{NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute)}
	with := func(edit func(*grant.Grant)) grant.Grant { g := base; edit(&g); return g }
	cases := map[string][]grant.Grant{
		"revoked":   {with(func(g *grant.Grant) { g.Revoked = now }), with(func(g *grant.Grant) { g.Revoked, g.NotAfter = now, now })},
		"ended":     {with(func(g *grant.Grant) { g.Finished = now }), with(func(g *grant.Grant) { g.NotAfter = now })},
		"scheduled": {with(func(g *grant.Grant) { g.NotBefore = now.Add(time.Second) })},
		"active":    {base, with(func(g *grant.Grant) { g.NotBefore = now })},
	}
	p := readPage(t, "docs/states.md")
	documented := column(p.table(t, "table: grant states"), 0)
	sameNames(t, "docs/states.md, states of a grant", documented, values(consts(parsed(t, "grant"), "State")))
	for _, state := range documented {
		for _, g := range cases[state] {
			if got := g.StateAt(now); string(got) != state {
				t.Errorf("the page says %s, the code %s", state, got)
			}
			if force := g.InForce(now) == nil; force && state != "active" {
				t.Errorf("%s is in force", state)
			}
		}
		if len(cases[state]) == 0 {
			t.Errorf("no case for %s", state)
		}
	}
	for _, r := range p.table(t, "table: grant ends") {
		if !slices.Contains(values(consts(parsed(t, "audit"), "Type")), names(r[4])[0]) {
			t.Errorf("the record has no leaf %s", r[4])
		}
		if !slices.Contains(documented, names(r[3])[0]) || !grant.Reason(names(r[5])[0]).Known() {
			t.Errorf("%s: no such state or reason", r[0])
		}
	}
	if audit.TypeGrantEnded.Where() != audit.WhereLeaf {
		t.Error("grant.ended is no leaf")
	}
}

// TestDocsPromisesNameTestsThatExist fails on a test that was renamed or removed.
func TestDocsPromisesNameTestsThatExist(t *testing.T) {
	exists := testNames(t)
	p := readPage(t, "docs/promises.md")
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(p.text, -1) {
		if !exists[name] {
			t.Errorf("docs/promises.md names %s, which does not exist", name)
		}
	}
	for _, section := range strings.Split(p.text, "\n## ")[1:] {
		promise, _, _ := strings.Cut(section, ":")
		for _, m := range regexp.MustCompile(`\bTest(P\d+)_`).FindAllStringSubmatch(section, -1) {
			if m[1] != promise {
				t.Errorf("%s is listed under %s", m[0], promise)
			}
		}
		if promise != "P10" && !strings.Contains(section, "`Test"+promise+"_") {
			t.Errorf("no test is listed under %s", promise)
		}
	}
}

func testNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", ".cache", "bin"}, name) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(root, name))
		for _, m := range declared.FindAllSubmatch(b, -1) {
			out[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
