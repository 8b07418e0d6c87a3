package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one operator of a file and what it is turned into.
type mutant struct {
	target
	fn       string
	line     int
	text     string // of the whole expression
	from, to string
	start    int // of the operator, in bytes
	width    int
	again    int // which of the same in this function, from 1
}

// name is how equivalent.txt says it: it stays the same when lines move.
func (m mutant) name() string {
	return fmt.Sprintf("%s %s: %s: %s -> %s #%d", m.file, m.fn, m.text, m.from, orNothing(m.to), m.again)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// turned says what each operator is turned into.
func turned() map[token.Token][]string {
	return map[token.Token][]string{
		token.EQL: {"!="}, token.NEQ: {"=="},
		token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
		token.LAND: {"||"}, token.LOR: {"&&"},
	}
}

// mutantsOf finds the operators of a target, in the order of the file.
func mutantsOf(t target) ([]mutant, error) {
	src, err := os.ReadFile(t.file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, t.file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var out []mutant
	seen := map[string]int{}
	add := func(fn string, whole ast.Node, at token.Pos, from string, to ...string) {
		for _, op := range to {
			m := mutant{target: t, fn: fn, line: set.Position(at).Line, from: from, to: op, start: set.Position(at).Offset, width: len(from)}
			m.text = strings.Join(strings.Fields(string(src[set.Position(whole.Pos()).Offset:set.Position(whole.End()).Offset])), " ")
			seen[m.name()]++
			m.again = seen[m.name()]
			out = append(out, m)
		}
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil || len(t.funcs) > 0 && !slices.Contains(t.funcs, f.Name.Name) {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch e := n.(type) {
			case *ast.BinaryExpr:
				add(f.Name.Name, e, e.OpPos, e.Op.String(), turned()[e.Op]...)
			case *ast.UnaryExpr:
				if e.Op == token.NOT {
					add(f.Name.Name, e, e.OpPos, "!", "")
				}
			}
			return true
		})
	}
	return out, nil
}

// overlay writes the file with the operator turned, and what go build is to read in
// place of what.
func (m mutant) overlay(dir string) (string, error) {
	src, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, filepath.Base(m.file))
	changed := append([]byte{}, src[:m.start]...)
	changed = append(changed, m.to...)
	changed = append(changed, src[m.start+m.width:]...)
	whole, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {whole: copied}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(copied, changed, 0o600); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, list, 0o600)
}

// readExcused reads lines of a mutant's name, two spaces, # and the reason.
func readExcused(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, "  # ")
		if !ok || reason == "" {
			return nil, fmt.Errorf("%s: want an operator's name, two spaces, # and why it makes no difference: %q", path, line)
		}
		out[name] = reason
	}
	return out, nil
}
