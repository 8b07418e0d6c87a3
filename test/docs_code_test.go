package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
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
func yamlKeys(t *testing.T, files []*ast.File, name, prefix string) []string {
	var out []string
	for _, f := range structOf(files, name).List {
		tag, _ := literal(f.Tag)
		key := prefix + reflect.StructTag(tag).Get("yaml")
		switch typ := f.Type.(type) {
		case *ast.ArrayType:
			out = append(out, key)
			out = append(out, nested(t, files, typ.Elt, key+"[].")...)
		case *ast.MapType:
			out = append(out, nested(t, files, typ.Value, key+".<name>.")...)
		default:
			if deeper := nested(t, files, typ, key+"."); deeper != nil {
				out = append(out, deeper...)
			} else {
				out = append(out, key)
			}
		}
	}
	return out
}

func nested(t *testing.T, files []*ast.File, typ ast.Expr, prefix string) []string {
	if s, ok := typ.(*ast.SelectorExpr); ok { // a struct of another package of ours
		of := s.X.(*ast.Ident).Name
		if rankOf(of) == 0 {
			return nil
		}
		return nested(t, parsed(t, of), s.Sel, prefix)
	}
	id, ok := typ.(*ast.Ident)
	if !ok || structOf(files, id.Name) == nil {
		return nil
	}
	return yamlKeys(t, files, id.Name, prefix)
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
	for _, c := range []struct{ folder, file, typ string }{
		{"cmd/mayflyd", "config.go", "config"}, {"cmd/mayfly-sidecar", "config.go", "config"}, {"cmd/mayfly-sidecar", "callerconfig.go", "callerConfig"},
	} {
		folder := c.folder
		rows := p.table(t, "keys: "+folder+"/"+c.file)
		var documented []string
		for _, r := range rows {
			documented = append(documented, names(r[0])...)
			if len(r) != 4 || r[1] == "" || r[3] == "" {
				t.Errorf("%s: %s has no type or meaning", folder, r[0])
			}
		}
		sameNames(t, "docs/configuration.md, "+folder, documented, yamlKeys(t, parsed(t, folder), c.typ, ""))
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
	var warnings []string
	for _, text := range consts(files, "WarningCode") {
		warnings = append(warnings, text)
	}
	sameNames(t, "docs/policy.md, warnings", column(p.table(t, "words: warnings"), 0), warnings)
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
