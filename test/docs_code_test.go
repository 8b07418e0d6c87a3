package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// parsed returns the Go files of a folder, without tests.
func parsed(t *testing.T, folder string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		t.Fatalf("%s has no Go files", folder)
	}
	return out
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// literals returns the strings of a composite, or of a call's function.
func literals(files []*ast.File, e ast.Expr) []string {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return literalsIn(e)
	}
	var out []string
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if id, named := call.Fun.(*ast.Ident); ok && named && fn.Name.Name == id.Name {
				out = append(out, literalsIn(fn.Body)...)
			}
		}
	}
	return out
}

func literalsIn(n ast.Node) []string {
	var out []string
	ast.Inspect(n, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if s, ok := literal(e); ok {
				out = append(out, s)
			}
		}
		return true
	})
	return out
}

// consts returns the constants of a package whose declared type has that name,
// by their names.
func consts(files []*ast.File, typ string) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typ {
				out[spec.Names[0].Name], _ = literal(spec.Values[0])
			}
			return true
		})
	}
	return out
}

// yamlKeys lists the keys of a configuration struct, as docs/configuration.md
// writes them.
func yamlKeys(files []*ast.File, name, prefix string) []string {
	var out []string
	for _, f := range structOf(files, name).List {
		tag, _ := literal(f.Tag)
		key := prefix + reflect.StructTag(tag).Get("yaml")
		switch typ := f.Type.(type) {
		case *ast.ArrayType:
			out = append(out, key)
			out = append(out, nested(files, typ.Elt, key+"[].")...)
		case *ast.MapType:
			out = append(out, nested(files, typ.Value, key+".<name>.")...)
		default:
			if deeper := nested(files, typ, key+"."); deeper != nil {
				out = append(out, deeper...)
			} else {
				out = append(out, key)
			}
		}
	}
	return out
}

func nested(files []*ast.File, typ ast.Expr, prefix string) []string {
	id, ok := typ.(*ast.Ident)
	if !ok || structOf(files, id.Name) == nil {
		return nil
	}
	return yamlKeys(files, id.Name, prefix)
}

func structOf(files []*ast.File, name string) *ast.FieldList {
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range g.Specs {
				spec, ok := s.(*ast.TypeSpec)
				if !ok || spec.Name.Name != name {
					continue
				}
				if typ, ok := spec.Type.(*ast.StructType); ok {
					return typ.Fields
				}
			}
		}
	}
	return nil
}

func TestDocsConfigurationHasEveryKey(t *testing.T) {
	p := readPage(t, "docs/configuration.md")
	for _, folder := range []string{"cmd/mayflyd", "cmd/mayfly-sidecar"} {
		rows := p.table(t, "keys: "+folder+"/config.go")
		var documented []string
		for _, r := range rows {
			documented = append(documented, names(r[0])...)
			if len(r) != 4 || r[1] == "" || r[3] == "" {
				t.Errorf("%s: %s has no type or meaning", folder, r[0])
			}
		}
		sameNames(t, "docs/configuration.md, "+folder, documented, yamlKeys(parsed(t, folder), "config", ""))
	}
}

// daemon is what a command's main package declares.
type daemon struct{ flags, commands []string }

func daemonOf(t *testing.T, name string) daemon {
	t.Helper()
	var d daemon
	for _, f := range parsed(t, "cmd/"+name) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				fn, ok := n.Fun.(*ast.SelectorExpr)
				if ok && strings.HasSuffix(fn.Sel.Name, "Var") && len(n.Args) == 4 {
					if flag, ok := literal(n.Args[1]); ok {
						d.flags = append(d.flags, "--"+flag)
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" {
					use, _ := literal(n.Value)
					d.commands = append(d.commands, use)
				}
			}
			return true
		})
	}
	return d
}

func TestDocsConfigurationHasEveryFlag(t *testing.T) {
	p := readPage(t, "docs/configuration.md")
	for _, name := range []string{"mayflyd", "mayfly-sidecar"} {
		sameNames(t, "docs/configuration.md, flags of "+name, column(p.table(t, "flags: "+name), 0), daemonOf(t, name).flags)
	}
	var inCode []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[a-z-]+)`).FindAllStringSubmatch(mayflyHelp(t), -1) {
		if m[2] != "--help" && m[2] != "--version" {
			inCode = append(inCode, m[2])
			if m[1] != "" {
				inCode = append(inCode, m[1])
			}
		}
	}
	sameNames(t, "docs/configuration.md, flags of mayfly", column(p.table(t, "flags: mayfly"), 0), inCode)
}

// object is what policy reads one object of YAML with.
type object struct{ known, later []string }

// objects reads each schema{…} of package policy.
func objects(t *testing.T) map[string]object {
	t.Helper()
	files := parsed(t, "policy")
	out := map[string]object{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if id, ok := c.Type.(*ast.Ident); !ok || id.Name != "schema" {
				return true
			}
			what, o := "", object{}
			for _, e := range c.Elts {
				kv := e.(*ast.KeyValueExpr)
				switch kv.Key.(*ast.Ident).Name {
				case "what":
					what = whatOf(kv.Value)
				case "known":
					o.known = literals(files, kv.Value)
				case "later":
					o.later = literals(files, kv.Value)
				}
			}
			out[what] = o
			return true
		})
	}
	return out
}

// whatOf names an object: by its literal, the beginning of one, or a variable.
func whatOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return whatOf(e.X)
	case *ast.Ident:
		return map[string]string{"mainFile": "mayfly.yaml", "what": "param"}[e.Name]
	default:
		s, _ := literal(e)
		return strings.TrimSpace(s)
	}
}

func TestDocsPolicyHasEveryKey(t *testing.T) {
	rows := readPage(t, "docs/policy.md").table(t, "keys: policy")
	inCode := objects(t)
	var all []string
	for name := range inCode {
		all = append(all, name)
	}
	sameNames(t, "docs/policy.md, objects", column(rows, 0), all)
	for _, r := range rows {
		name := names(r[0])[0]
		o := inCode[name]
		sameNames(t, "docs/policy.md, "+name, names(r[1]), o.known)
		if len(o.later) > 0 || r[2] != "" {
			sameNames(t, "docs/policy.md, "+name+" not supported yet", names(r[2]), o.later)
		}
	}
}

func TestDocsPolicyWords(t *testing.T) {
	p := readPage(t, "docs/policy.md")
	sameNames(t, "docs/policy.md, comparisons", column(p.table(t, "words: comparisons"), 0), objects(t)["where"].known)
	files := parsed(t, "policy")
	call := func(name string) ast.Expr { return &ast.CallExpr{Fun: ast.NewIdent(name)} }
	var variables []string
	for _, s := range literals(files, call("variables")) {
		if strings.HasPrefix(s, "request") {
			variables = append(variables, s)
		}
	}
	sameNames(t, "docs/policy.md, variables", column(p.table(t, "words: variables"), 0), variables)
	_, codes, _ := strings.Cut(p.text, "<!-- words: codes -->\n")
	codes, _, _ = strings.Cut(codes, "\n\n")
	var inCode []string
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(s.Names[0].Name, "Deny") && len(s.Values) == 1 {
				text, _ := literal(s.Values[0])
				inCode = append(inCode, text)
			}
			return true
		})
	}
	sameNames(t, "docs/policy.md, codes", names(codes), inCode)
}

func TestDocsAuditNamesEveryProblem(t *testing.T) {
	var inCode []string
	for _, text := range consts(parsed(t, "audit"), "Reason") {
		inCode = append(inCode, text)
	}
	sameNames(t, "docs/audit.md", column(readPage(t, "docs/audit.md").table(t, "words: problems"), 0), inCode)
}

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
