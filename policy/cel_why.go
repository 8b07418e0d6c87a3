package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Condition is a condition with the values that it had.
type Condition struct {
	Text      string
	Value     string     // true, false, unknown or error
	Variables []Variable // that it names, sorted
	// Because are the smallest parts that made it what it is, each with its value:
	// "request.duration <= duration("1800s") is false".
	Because []string
}

// Variable is one that a condition names.
type Variable struct {
	Name, Value string // Value is unknown where there is none
}

const unknownWord = "unknown"

// explain evaluates c once more, all of it, and says which parts counted. Whether it
// holds is for holds to say.
func (c *condition) explain(e *Entitlement, values map[string]any) Condition {
	out := Condition{Text: e.Auto, Value: "error"}
	parsed, env, err := c.parse(e)
	if err != nil {
		out.Because = []string{err.Error()}
		return out
	}
	out.Variables = namedVariables(parsed, values)
	program, err := env.Program(parsed, cel.EvalOptions(cel.OptPartialEval, cel.OptExhaustiveEval, cel.OptTrackState), cel.CostLimit(maxCost))
	if err != nil {
		out.Because = []string{err.Error()}
		return out
	}
	var absent []*cel.AttributePatternType
	for _, name := range c.variables {
		if _, ok := values[name]; !ok {
			absent = append(absent, cel.AttributePattern(name))
		}
	}
	in, err := cel.PartialVars(values, absent...)
	if err != nil {
		out.Because = []string{err.Error()}
		return out
	}
	result, details, err := program.Eval(in)
	if details == nil {
		out.Because = []string{fmt.Sprint(err)}
		return out
	}
	if err == nil {
		out.Value = valueWord(result)
	}
	w := whys{info: parsed.NativeRep().SourceInfo(), state: details.State()}
	w.find(parsed.NativeRep().Expr())
	out.Because = w.out
	return out
}

// parse compiles the text of c again, in a way that its parts can be written out.
func (c *condition) parse(e *Entitlement) (*cel.Ast, *cel.Env, error) {
	env, _, err := environment(e)
	if err != nil {
		return nil, nil, err
	}
	if env, err = env.Extend(cel.EnableMacroCallTracking()); err != nil {
		return nil, nil, err
	}
	parsed, issues := env.Compile(c.text)
	return parsed, env, issues.Err()
}

// whys looks for the parts of an expression that made it what it is.
type whys struct {
	info  *ast.SourceInfo
	state interpreter.EvalState
	out   []string
}

func (w *whys) value(e ast.Expr) string {
	if e.Kind() == ast.LiteralKind {
		return valueWord(e.AsLiteral())
	}
	v, ok := w.state.Value(e.ID())
	if !ok {
		return "error"
	}
	return valueWord(v)
}

// find goes down to the parts that share the value of the whole: of an && that is
// false the false ones, of one that is true both.
func (w *whys) find(e ast.Expr) {
	if e.Kind() == ast.CallKind {
		call, mine := e.AsCall(), w.value(e)
		switch call.FunctionName() {
		case operators.LogicalNot:
			w.find(call.Args()[0])
			return
		case operators.LogicalAnd, operators.LogicalOr:
			for _, arg := range call.Args() {
				if w.value(arg) == mine {
					w.find(arg)
				}
			}
			return
		case operators.Conditional:
			args := call.Args()
			w.find(args[0])
			switch w.value(args[0]) {
			case "true":
				w.find(args[1])
			case "false":
				w.find(args[2])
			}
			return
		}
	}
	text, err := cel.ExprToString(e, w.info)
	if err != nil {
		text = "a part of it"
	}
	if line := text + " is " + w.value(e); !slices.Contains(w.out, line) {
		w.out = append(w.out, line)
	}
}

// valueWord writes a value that an expression had.
func valueWord(v ref.Val) string {
	switch x := v.(type) {
	case types.Bool:
		return strconv.FormatBool(bool(x))
	case *types.Unknown:
		return unknownWord
	case *types.Err:
		return "error"
	case nil:
		return "error"
	default:
		return "a value"
	}
}

// namedVariables are the variables that an expression names, with what values has.
func namedVariables(parsed *cel.Ast, values map[string]any) []Variable {
	seen := map[string]bool{}
	for _, r := range parsed.NativeRep().ReferenceMap() {
		if strings.HasPrefix(r.Name, "request") { // request. and requester.
			seen[r.Name] = true
		}
	}
	var out []Variable
	for _, name := range keys(seen) {
		v, ok := values[name]
		text := unknownWord
		if ok {
			text = plainText(v)
		}
		out = append(out, Variable{name, text})
	}
	return out
}

func plainText(v any) string {
	switch x := v.(type) {
	case time.Duration:
		return durationText(x)
	case []string:
		return "[" + strings.Join(x, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// constants are the literals of a condition, by type: where its answer can change.
type constants struct {
	durations []time.Duration
	integers  []int64
	texts     []string
	acrs      []string // those that requester.acr is to be equal to, or in
}

// and joins what two conditions compare with.
func (k constants) and(other constants) constants {
	return constants{
		append(k.durations, other.durations...), append(k.integers, other.integers...),
		append(k.texts, other.texts...), append(k.acrs, other.acrs...),
	}
}

func (c *condition) constants(e *Entitlement) constants {
	var out constants
	if c == nil {
		return out
	}
	parsed, _, err := c.parse(e)
	if err != nil {
		return out
	}
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.CallKind {
			out.acrs = append(out.acrs, comparedACRs(parsed, x.AsCall())...)
		}
		if x.Kind() != ast.LiteralKind {
			return
		}
		switch v := x.AsLiteral().(type) {
		case types.Int:
			out.integers = append(out.integers, int64(v))
		case types.String:
			out.texts = append(out.texts, string(v))
			if d, err := time.ParseDuration(string(v)); err == nil {
				out.durations = append(out.durations, d)
			}
		}
	}))
	return out
}

// comparedACRs are the texts that a call asks requester.acr to be: by == from either
// side, or by in of a list. Any other text of a condition is no way to log in.
func comparedACRs(parsed *cel.Ast, call ast.CallExpr) []string {
	args := call.Args()
	if len(args) != 2 {
		return nil
	}
	isACR := func(x ast.Expr) bool {
		r, ok := parsed.NativeRep().ReferenceMap()[x.ID()]
		return ok && r.Name == "requester.acr"
	}
	var with []ast.Expr
	switch op := call.FunctionName(); {
	case op == operators.Equals && isACR(args[0]):
		with = args[1:]
	case op == operators.Equals && isACR(args[1]):
		with = args[:1]
	case op == operators.In && isACR(args[0]) && args[1].Kind() == ast.ListKind:
		with = args[1].AsList().Elements()
	}
	var out []string
	for _, x := range with {
		if x.Kind() != ast.LiteralKind {
			continue
		}
		if text, ok := x.AsLiteral().(types.String); ok {
			out = append(out, string(text))
		}
	}
	return out
}
