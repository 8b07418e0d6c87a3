package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
)

// mutant is one operator of a file and what it is turned into. It is built in beside all
// the others of its package: id says by which number the tests turn it on.
type mutant struct {
	target
	id       int
	fn       string
	text     string // of the whole expression
	from, to string
	again    int // which of the same in this function, from 1
}

// name is how equivalent.txt says it: it stays the same when lines move.
func (m mutant) name() string {
	return fmt.Sprintf("%s %s: %s: %s -> %s #%d", m.file, m.fn, m.text, m.from, orNothing(m.to), m.again)
}

// on is the variable that is true while the operator is turned.
func (m mutant) on() string { return fmt.Sprintf("operator%d", m.id) }

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

// source is a file and its mutants, by the expression whose operator they turn.
type source struct {
	target
	text []byte
	set  *token.FileSet
	tree *ast.File
	all  []mutant
	at   map[ast.Node][]mutant
}

// readSource finds the operators of a target, in the order of the file, and numbers them
// from first on.
func readSource(t target, first int) (*source, error) {
	s := &source{target: t, set: token.NewFileSet(), at: map[ast.Node][]mutant{}}
	var err error
	if s.text, err = os.ReadFile(t.file); err != nil {
		return nil, err
	}
	if s.tree, err = parser.ParseFile(s.set, t.file, s.text, parser.SkipObjectResolution|parser.ParseComments); err != nil {
		return nil, err
	}
	seen := map[string]int{}
	add := func(fn string, whole ast.Node, from string, to ...string) {
		for _, op := range to {
			m := mutant{target: t, id: first + len(s.all), fn: fn, text: strings.Join(strings.Fields(s.between(whole.Pos(), whole.End())), " "), from: from, to: op}
			seen[m.name()]++
			m.again = seen[m.name()]
			s.all, s.at[whole] = append(s.all, m), append(s.at[whole], m)
		}
	}
	for _, d := range s.tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil || len(t.funcs) > 0 && !slices.Contains(t.funcs, f.Name.Name) {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch e := n.(type) {
			case *ast.BinaryExpr:
				add(f.Name.Name, e, e.Op.String(), turned()[e.Op]...)
			case *ast.UnaryExpr:
				if e.Op == token.NOT {
					add(f.Name.Name, e, "!", "")
				}
			}
			return true
		})
	}
	return s, nil
}

func (s *source) between(from, to token.Pos) string {
	return string(s.text[s.set.Position(from).Offset:s.set.Position(to).Offset])
}

// mutated is the text of the file with every operator as it is and as it is turned.
func (s *source) mutated() string {
	return s.between(s.tree.FileStart, s.tree.Pos()) + s.render(s.tree) + s.between(s.tree.End(), s.tree.FileEnd)
}

// render is the text of n, all that is in it mutated.
func (s *source) render(n ast.Node) string {
	var out strings.Builder
	done := n.Pos()
	ast.Inspect(n, func(c ast.Node) bool {
		if c == nil || len(s.at[c]) == 0 {
			return true
		}
		out.WriteString(s.between(done, c.Pos()) + s.choice(c))
		done = c.End()
		return false
	})
	return out.String() + s.between(done, n.End())
}

// choice is an expression that is whichever of its mutants is on, or as it was.
func (s *source) choice(n ast.Node) string {
	var turns []string
	as := func(op string) string {
		if u, ok := n.(*ast.UnaryExpr); ok {
			return op + "(" + s.render(u.X) + ")"
		}
		b := n.(*ast.BinaryExpr)
		return "(" + s.render(b.X) + " " + op + " " + s.render(b.Y) + ")"
	}
	last := ""
	for _, m := range s.at[n] {
		turns = append(turns, m.on()+" && "+as(m.to))
		last += "!" + m.on() + " && "
	}
	return "(" + strings.Join(append(turns, last+as(s.at[n][0].from)), " || ") + ")"
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
