package policy

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/types"

	"github.com/mayflyproxy/mayfly/scope"
)

// Limits of one condition.
const (
	maxExpression  = 2048   // characters
	maxExprDepth   = 32     // brackets inside each other
	maxCost        = 10_000 // cel-go's units; a comparison is about one
	paramVariables = "request.params."
)

// functions is all of CEL that a condition may use: nothing reads a clock, and
// nothing compares by parts of text but a prefix, so that no look-alike passes.
func functions() []*env.Function {
	var out []*env.Function
	for _, name := range []string{
		"_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false",
		"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in",
		"_+_", "_-_", "-_", "size", "startsWith", "duration",
	} {
		out = append(out, env.NewFunction(name))
	}
	return out
}

// condition is one compiled expression. Evaluation is pure; a Program of cel-go
// is safe for concurrent use.
type condition struct {
	text      string
	program   cel.Program
	variables []string // every declared one; those without a value are unknown
}

// variables lists what a condition of e may name, with types. Names are whole
// (request.params.amount), so that a parameter that is not declared does not
// compile, and one that is absent is unknown by its own name.
func variables(e *Entitlement) map[string]*cel.Type {
	out := map[string]*cel.Type{
		"request.entitlement": cel.StringType,
		"request.app":         cel.StringType,
		"request.duration":    cel.DurationType,
		"request.for":         cel.StringType,
		"requester.kind":      cel.StringType,
		"requester.id":        cel.StringType,
		"requester.acr":       cel.StringType,
		"requester.groups":    cel.ListType(cel.StringType),
	}
	for _, p := range e.Params {
		name := paramVariables + p.Name
		switch p.Type {
		case scope.TypeInteger, scope.TypeMinorUnits:
			out[name] = cel.IntType
		case scope.TypeBoolean:
			out[name] = cel.BoolType
		case scope.TypeMoney: // an amount means nothing without its currency
			out[name+".minor"], out[name+".currency"] = cel.IntType, cel.StringType
		default:
			out[name] = cel.StringType
		}
	}
	return out
}

func environment(e *Entitlement) (*cel.Env, []string, error) {
	subset := env.NewLibrarySubset().AddIncludedMacros("all", "exists", "exists_one").AddIncludedFunctions(functions()...)
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxExprDepth),
	}
	declared := variables(e)
	names := keys(declared)
	for _, name := range names {
		options = append(options, cel.Variable(name, declared[name]))
	}
	out, err := cel.NewCustomEnv(options...)
	return out, names, err
}

// compile type-checks the condition of e, nil if it has mistakes, which are
// reported where they stand.
func (l *loader) compile(e *Entitlement, n *node) *condition {
	e2, names, err := environment(e)
	if err != nil {
		l.fail(n, CodeCEL, "when: the declared parameters make no environment: %v", err)
		return nil
	}
	ast, issues := e2.Compile(n.text)
	if issues.Err() != nil {
		for _, issue := range issues.Errors() {
			if strings.HasPrefix(issue.Message, "undeclared reference to 'risk'") {
				l.failAt(n.line+issue.Location.Line()-1, n.column+issue.Location.Column(), CodeUnsupported, "when: risk is not supported yet")
				continue
			}
			l.failAt(n.line+issue.Location.Line()-1, n.column+issue.Location.Column(), CodeCEL, "when: %s", oneLine(issue.Message))
		}
		return nil
	}
	if ast.OutputType() != cel.BoolType {
		l.fail(n, CodeCEL, "when: it is %s, want bool", ast.OutputType())
		return nil
	}
	program, err := e2.Program(ast, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(maxCost))
	if err != nil {
		l.fail(n, CodeCEL, "when: %v", err)
		return nil
	}
	l.checkCondition(e, ast, n)
	return &condition{text: n.text, program: program, variables: names}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// errUnknown says that a condition depends on something that is not known.
var errUnknown = errors.New("it depends on something that is not known")

// holds reports whether c is true. What values lacks is unknown, never left
// out; an unknown, an error and anything but true is not true, with the reason.
func (c *condition) holds(values map[string]any) (bool, error) {
	if c == nil {
		return false, errors.New("it was not compiled")
	}
	var absent []*cel.AttributePatternType
	for _, name := range c.variables {
		if _, ok := values[name]; !ok {
			absent = append(absent, cel.AttributePattern(name))
		}
	}
	in, err := cel.PartialVars(values, absent...)
	if err != nil {
		return false, fmt.Errorf("input: %w", err)
	}
	out, _, err := c.program.Eval(in)
	switch {
	case err != nil:
		return false, err
	case types.IsUnknown(out):
		return false, fmt.Errorf("%w: %s", errUnknown, unknownNames(out))
	default:
		return out == types.True, nil
	}
}

// unknownNames lists what an unknown depends on.
func unknownNames(v any) string {
	u, ok := v.(*types.Unknown)
	if !ok {
		return "unknown"
	}
	seen := map[string]bool{}
	for _, id := range u.IDs() {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			seen[t.String()] = true
		}
	}
	return strings.Join(keys(seen), ", ")
}

// celValues gives a condition the values that are there.
func celValues(e *Entitlement, in Input, params map[string]scope.Value, length any) map[string]any {
	out := map[string]any{
		"request.entitlement": e.Name,
		"request.app":         e.App,
		"request.duration":    length,
		"request.for":         "self",
		"requester.kind":      in.Requester.Principal.Kind().String(),
		"requester.id":        in.Requester.Principal.String(),
	}
	if in.Requester.ACR != "" {
		out["requester.acr"] = in.Requester.ACR
	}
	if groups, fresh := in.Requester.groups(in.Now); fresh {
		names := make([]string, len(groups))
		for i, g := range groups {
			names[i] = g.String()
		}
		out["requester.groups"] = names
	}
	for name, v := range params {
		name = paramVariables + name
		switch v.Type() {
		case scope.TypeInteger, scope.TypeMinorUnits:
			out[name] = v.Int()
		case scope.TypeBoolean:
			out[name] = v.Int() == 1
		case scope.TypeMoney:
			m, _ := v.Money()
			out[name+".minor"], out[name+".currency"] = m.Minor, m.Currency
		default:
			out[name] = v.String()
		}
	}
	return out
}
