package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// maxCases bounds how many ways to be true are looked at. What has more is not judged.
const maxCases = 256

// checkCondition refuses a condition of e that nothing can make true, that nothing can
// make false, or that asks for what nobody provides. One that a cap alone makes always
// true is let pass with a warning: whoever lowers the cap narrows, and did not touch the
// condition. It is certain of what it refuses
// and lets pass what it cannot tell: each way to be true is a list of comparisons of
// one variable with constants, and the values that each variable can have here are
// known in part.
func (l *loader) checkCondition(e *Entitlement, a *cel.Ast, n *node) {
	if l.o.InForce || len(e.Who) == 0 || e.Max == 0 {
		return
	}
	j := judge{ast: a.NativeRep(), domains: l.domainsOf(e), unsure: unsureOf(e)}
	if l.checkMentions(e, j, n) || j.ast.Expr().Kind() == celast.LiteralKind && j.ast.Expr().AsLiteral() == types.True {
		return
	}
	free := judge{ast: j.ast, domains: uncapped(j.domains), unsure: j.unsure}
	switch {
	case j.never():
		l.fail(n, CodeCondition, "when: it can never be true%s: leave auto out, or say what is meant", j.because())
	case free.always():
		l.fail(n, CodeCondition, "when: it is always true%s: say \"true\" if every request is to be granted at once", free.because())
	case j.always():
		e.capped = "when: with the caps of now it is always true" + j.because() + ", and every request is granted at once: say \"true\" if that is meant, or compare with less"
	}
}

// checkMentions reports a mention of something that no source provides.
func (l *loader) checkMentions(e *Entitlement, j judge, n *node) (found bool) {
	persons := slices.ContainsFunc(e.Who, func(s Subject) bool { return s.kind() == identity.KindUser })
	at := func(x celast.Expr) (line, column int) {
		loc := j.ast.SourceInfo().GetStartLocation(x.ID())
		return n.line + loc.Line() - 1, n.column + loc.Column()
	}
	celast.PostOrderVisit(j.ast.Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		switch name := j.variable(x); {
		case (name == "requester.groups" || name == "requester.acr") && !persons:
			line, column := at(x)
			l.failAt(line, column, CodeCondition, "when: %s is told by a person's login, and only workloads may ask here", name)
			found = true
		case x.Kind() == celast.CallKind && x.AsCall().FunctionName() == operators.In && j.variable(x.AsCall().Args()[1]) == "requester.groups":
			text, ok := constant(x.AsCall().Args()[0])
			if !ok {
				return
			}
			line, column := at(x.AsCall().Args()[0])
			g, err := identity.ParseGroup(text.text)
			if err != nil {
				l.failAt(line, column, CodeCondition, "when: %v", err)
				found = true
				return
			}
			before := len(l.errs)
			l.groupSource(&node{line: line, column: column}, "when", g)
			found = found || len(l.errs) > before
		}
	}))
	return found
}

// judge knows what the variables of one condition can be.
type judge struct {
	ast     *celast.AST
	domains map[string]domain
	unsure  map[string]bool // variables that can be unknown
	blamed  map[string]bool // those that made a case impossible
}

// literal is an atom of the condition, or its denial.
type literal struct {
	atom celast.Expr
	is   bool
}

func (j *judge) never() bool { return j.impossible(true) }

// always is stricter than never: an unknown or an error is not true either.
func (j *judge) always() bool {
	sure := true
	celast.PostOrderVisit(j.ast.Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		sure = sure && x.Kind() != celast.ComprehensionKind && !j.unsure[j.variable(x)]
	}))
	cases, ok := j.cases(j.ast.Expr(), true)
	for _, c := range cases {
		for _, one := range c {
			_, _, _, plain := j.comparison(one.atom)
			ok = ok && plain
		}
	}
	return sure && ok && j.impossible(false)
}

// impossible reports whether the condition can surely not be what is says.
func (j *judge) impossible(is bool) bool {
	cases, ok := j.cases(j.ast.Expr(), is)
	if !ok {
		return false
	}
	j.blamed = map[string]bool{}
	for _, c := range cases {
		if j.possible(c) {
			return false
		}
	}
	return true
}

// because names what can be of the variables that decided.
func (j *judge) because() string {
	var out []string
	for _, name := range keys(j.blamed) {
		if words := j.domains[name].words(); words != "" {
			out = append(out, name+" is "+words)
		} else {
			out = append(out, "no "+name+" is like that")
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// cases returns the ways in which x is true, or false: in each, all of its literals
// hold. ok is false if there are too many.
func (j *judge) cases(x celast.Expr, is bool) (out [][]literal, ok bool) {
	if x.Kind() == celast.LiteralKind {
		if (x.AsLiteral() == types.True) == is {
			return [][]literal{{}}, true
		}
		return nil, true
	}
	if x.Kind() != celast.CallKind {
		return [][]literal{{{x, is}}}, true
	}
	args := x.AsCall().Args()
	switch x.AsCall().FunctionName() {
	case operators.LogicalNot:
		return j.cases(args[0], !is)
	case operators.LogicalAnd:
		return j.joined(args, is, is)
	case operators.LogicalOr:
		return j.joined(args, is, !is)
	case operators.Conditional:
		yes, ok1 := j.bothOf(args[0], true, args[1], is)
		no, ok2 := j.bothOf(args[0], false, args[2], is)
		return bounded(append(yes, no...), ok1 && ok2)
	}
	if truth, ok := truthOf(x.AsCall()); ok {
		if truth == is {
			return [][]literal{{}}, true
		}
		return nil, true
	}
	return [][]literal{{{x, is}}}, true
}

// truthOf compares two constants.
func truthOf(call celast.CallExpr) (truth, ok bool) {
	if len(call.Args()) != 2 {
		return false, false
	}
	a, ok1 := constant(call.Args()[0])
	b, ok2 := constant(call.Args()[1])
	op := call.FunctionName()
	equality := op == operators.Equals || op == operators.NotEquals
	if !ok1 || !ok2 || !equality && (a.isText || negated(op) == "") {
		return false, false
	}
	d := domain{number: true, low: a.number, high: a.number}
	if a.isText {
		d = oneOf(a.text)
	}
	d = d.clone()
	d.narrow(op, []value{b}, true)
	return !d.empty(), true
}

// joined is the cases of all of args at once, or of any of them.
func (j *judge) joined(args []celast.Expr, is, all bool) ([][]literal, bool) {
	out, ok := j.cases(args[0], is)
	for _, x := range args[1:] {
		more, ok2 := j.cases(x, is)
		ok = ok && ok2
		if all {
			out, ok2 = product(out, more)
		} else {
			out, ok2 = bounded(append(out, more...), true)
		}
		if ok = ok && ok2; !ok {
			return nil, false
		}
	}
	return out, ok
}

func (j *judge) bothOf(a celast.Expr, aIs bool, b celast.Expr, bIs bool) ([][]literal, bool) {
	x, ok1 := j.cases(a, aIs)
	y, ok2 := j.cases(b, bIs)
	if !ok1 || !ok2 {
		return nil, false
	}
	return product(x, y)
}

func product(a, b [][]literal) ([][]literal, bool) {
	if len(a)*len(b) > maxCases {
		return nil, false
	}
	var out [][]literal
	for _, x := range a {
		for _, y := range b {
			out = append(out, slices.Concat(x, y))
		}
	}
	return out, true
}

func bounded(cases [][]literal, ok bool) ([][]literal, bool) {
	return cases, ok && len(cases) <= maxCases
}

// possible reports whether all literals of a case may hold at once.
func (j *judge) possible(c []literal) bool {
	now := map[string]domain{}
	said := map[string]bool{} // atoms that are not understood: only their own denial contradicts them
	for _, one := range c {
		name, op, values, ok := j.comparison(one.atom)
		if !ok {
			text, err := cel.ExprToString(one.atom, j.ast.SourceInfo())
			if before, twice := said[text]; err == nil && twice && before != one.is {
				return false
			}
			said[text] = one.is
			continue
		}
		d, known := now[name]
		if !known {
			d = j.domains[name].clone()
		}
		d.narrow(op, values, one.is)
		if now[name] = d; d.empty() {
			j.blamed[name] = true
			return false
		}
	}
	return true
}

// comparison reads an atom that compares one variable with constants.
func (j *judge) comparison(x celast.Expr) (name, op string, values []value, ok bool) {
	if name = j.variable(x); name != "" { // of type bool
		return name, operators.Equals, []value{{text: "true", isText: true}}, true
	}
	if x.Kind() != celast.CallKind {
		return "", "", nil, false
	}
	call := x.AsCall()
	if call.FunctionName() == "startsWith" && call.IsMemberFunction() {
		v, isText := constant(call.Args()[0])
		name = j.variable(call.Target())
		return name, "startsWith", []value{v}, name != "" && isText
	}
	args := call.Args()
	if len(args) != 2 {
		return "", "", nil, false
	}
	name, op = j.variable(args[0]), call.FunctionName()
	if op == operators.In {
		if args[1].Kind() != celast.ListKind {
			return "", "", nil, false
		}
		for _, item := range args[1].AsList().Elements() {
			v, isConstant := constant(item)
			if !isConstant {
				return "", "", nil, false
			}
			values = append(values, v)
		}
		return name, op, values, name != ""
	}
	v, isConstant := constant(args[1])
	if negated(op) == "" {
		return "", "", nil, false
	}
	if name == "" {
		name, op = j.variable(args[1]), flipped(op)
		v, isConstant = constant(args[0])
	}
	d := j.domains[name]
	return name, op, []value{v}, name != "" && isConstant && (d.number || op == operators.Equals || op == operators.NotEquals)
}

// variable returns which declared variable x is, "" for none.
func (j *judge) variable(x celast.Expr) string {
	if x.Kind() != celast.IdentKind && x.Kind() != celast.SelectKind {
		return ""
	}
	name := ""
	if x.Kind() == celast.IdentKind {
		name = x.AsIdent()
	} else if r, ok := j.ast.ReferenceMap()[x.ID()]; ok {
		name = r.Name
	}
	if _, ok := j.domains[name]; !ok {
		return ""
	}
	return name
}

// value is a constant: a number (of nanoseconds for a duration), or a text.
type value struct {
	number int64
	text   string
	isText bool
}

// constant reads a literal, or duration('…') of one.
func constant(x celast.Expr) (value, bool) {
	if x.Kind() == celast.CallKind && x.AsCall().FunctionName() == "duration" && len(x.AsCall().Args()) == 1 {
		text, ok := constant(x.AsCall().Args()[0])
		d, err := time.ParseDuration(text.text)
		return value{number: int64(d)}, ok && err == nil
	}
	if x.Kind() != celast.LiteralKind {
		return value{}, false
	}
	switch v := x.AsLiteral().(type) {
	case types.Int:
		return value{number: int64(v)}, true
	case types.String:
		return value{text: string(v), isText: true}, true
	case types.Bool:
		return value{text: fmt.Sprint(bool(v)), isText: true}, true
	default:
		return value{}, false
	}
}

// unsureOf lists the variables that can be unknown.
func unsureOf(e *Entitlement) map[string]bool {
	out := map[string]bool{"requester.acr": true, "requester.groups": true}
	for _, p := range e.Params {
		for _, suffix := range []string{"", ".minor", ".currency"} {
			out[paramVariables+p.Name+suffix] = !p.Required
		}
	}
	return out
}

// domainsOf says what each variable of a condition of e can be.
func (l *loader) domainsOf(e *Entitlement) map[string]domain {
	kinds, ids, open := []string{}, []string{}, false
	for _, s := range e.Who {
		kinds = append(kinds, s.kind().String())
		switch {
		case s.IsGroup():
			open = true
		case !s.person.IsZero():
			for _, a := range l.set.AccountsOf(s.person) {
				ids = append(ids, a.String())
			}
		default:
			ids = append(ids, s.principal.String())
		}
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	id := oneOf(ids...)
	if open {
		id = domain{fits: func(text string) bool {
			p, err := identity.ParsePrincipal(text)
			return err == nil && slices.Contains(kinds, p.Kind().String())
		}}
	}
	out := map[string]domain{
		"request.entitlement": oneOf(e.Name),
		"request.app":         oneOf(e.App),
		"request.for":         oneOf("self"),
		"request.duration":    {number: true, duration: true, low: int64(time.Second), high: int64(e.Max)},
		"requester.kind":      oneOf(kinds...),
		"requester.id":        id,
		"requester.acr":       {},
		"requester.groups":    {},
	}
	for _, p := range e.Params {
		for suffix, d := range p.domains() {
			out[paramVariables+p.Name+suffix] = d
		}
	}
	return out
}

// uncapped is what each variable could be if every cap were as high as it can be.
func uncapped(domains map[string]domain) map[string]domain {
	out := maps.Clone(domains)
	for name, d := range out {
		switch {
		case d.duration:
			d.high = int64(grant.MaxTerm)
		case d.number:
			d.high = math.MaxInt64
		}
		out[name] = d
	}
	return out
}

// domains says what p can be, by the suffix of its variable.
func (p Param) domains() map[string]domain {
	number := domain{number: true, low: math.MinInt64, high: math.MaxInt64}
	if p.Type == scope.TypeMoney {
		currency := domain{}
		for _, bound := range []struct {
			at   scope.Value
			into *int64
		}{{p.Min, &number.low}, {p.Max, &number.high}} {
			if m, ok := bound.at.Money(); ok {
				*bound.into, currency = m.Minor, oneOf(m.Currency)
			}
		}
		return map[string]domain{".minor": number, ".currency": currency}
	}
	switch p.Type {
	case scope.TypeInteger, scope.TypeMinorUnits:
		if !p.Min.IsZero() {
			number.low = p.Min.Int()
		}
		if !p.Max.IsZero() {
			number.high = p.Max.Int()
		}
		return map[string]domain{"": number}
	case scope.TypeBoolean:
		return map[string]domain{"": oneOf("true", "false")}
	}
	return map[string]domain{"": {fits: func(text string) bool { _, err := p.read(text); return err == nil }}}
}
