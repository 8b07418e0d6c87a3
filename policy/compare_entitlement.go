package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/scope"
)

// entitlement compares one that either policy has.
func (c *comparing) entitlement(was, now *Entitlement) {
	some := now
	if now == nil {
		some = was
	}
	a := at{c: c, what: "entitlement " + some.Name, file: some.File, line: some.Line, who: subjectTexts(some.Who), operations: some.Operations()}
	switch {
	case now == nil:
		a.line = 0 // it stands there no more
		a.loses("%s is removed", was.Name)
	case was == nil && c.isNew(now.App) && len(now.Onward) == 0:
		a.add(Gains, false, "%s is new, on an app that is new", now.Name)
	case was == nil:
		a.gains("%s is new", now.Name)
	default:
		a.entitlement(was, now)
	}
}

func subjectTexts(list []Subject) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.String()
	}
	slices.Sort(out)
	return out
}

// entitlement compares one that both policies have.
func (a at) entitlement(was, now *Entitlement) {
	if was.Owner != now.Owner {
		a.says("owner: %s, was %s", now.Owner, was.Owner)
	}
	if was.App != now.App {
		a.differs("app: %s, was %s", now.App, was.App)
	} else {
		a.operationsOf(was, now)
	}
	a.params(was, now)
	switch w, n := was.Class, now.Class; {
	case w == n:
	case w.Stricter(n) == n && n != scope.ClassNone:
		a.loses("class: %s, was %s", n, w)
	case was.App == now.App && a.c.onlyByOperations(was, now):
		a.says("class: %s, was %s, with the operations that it allows no more", n, w)
	default:
		a.gains("class: %s, was %s", wordOf(n.String()), wordOf(w.String()))
	}
	if was.Sensitivity != now.Sensitivity && was.Class == now.Class {
		a.says("sensitivity: %s, was %s: its class is %s as before", wordOf(now.Sensitivity.String()), wordOf(was.Sensitivity.String()), now.Class)
	}
	a.term(was, now)
	a.whoMayAsk(was, now)
	a.approvals(was, now)
	a.set("onward", was.Onward, now.Onward)
	a.stepUp(was.StepUp, now.StepUp)
	a.open("environments", a.c.before.EnvironmentsOf(was), a.c.after.EnvironmentsOf(now))
	a.rest(restOfEntitlement(*was), restOfEntitlement(*now))
}

// restOfEntitlement is what of e nothing compared.
func restOfEntitlement(e Entitlement) Entitlement {
	e.File, e.Line, e.lines, e.Tests = "", 0, lines{}, nil // decide nothing
	e.bound, e.auto, e.capped = nil, nil, ""               // of Params, and of Auto and the caps
	var unknown []Allow
	for _, line := range e.Allow { // as written; expanded counts
		if line.Operations, line.Where, line.Line = nil, nil, 0; !reflect.DeepEqual(line, Allow{}) {
			unknown = append(unknown, line)
		}
	}
	e.Allow = unknown
	e.Name, e.Owner, e.App, e.Params, e.Sensitivity, e.Class = "", "", "", nil, 0, 0
	e.Max, e.Default, e.IdleAfter, e.Who, e.Justify = 0, 0, 0, nil, false
	e.Auto, e.Steps, e.Onward, e.StepUp, e.Signed, e.Environments, e.expanded = "", nil, nil, nil, false, nil, nil
	return e
}

// onlyByOperations reports whether a class is weaker only because the operations that
// were of the stronger one are not allowed any more.
func (c *comparing) onlyByOperations(was, now *Entitlement) bool {
	own := func(s *Set, e *Entitlement) scope.Class {
		out := max(e.Sensitivity, scope.ClassRead)
		for _, name := range e.Operations() {
			spec, _ := s.catalogues[e.App].Lookup(name)
			out = out.Stricter(spec.Class)
		}
		return out
	}
	return now.Sensitivity >= was.Sensitivity && was.Class == own(c.before, was) && now.Class == own(c.after, now)
}

func (a at) term(was, now *Entitlement) {
	a = a.on(now.lines.max)
	shrinks(a, "grant.max", was.Max, now.Max, durationText)
	shrinks(a, "grant.default", was.Default, now.Default, durationText)
	switch w, n := was.IdleAfter, now.IdleAfter; {
	case w == n:
	case n != 0 && (w == 0 || n < w):
		a.loses("grant.idle_after: %s, was %s", durationText(n), longOrUnsaid(w))
	default:
		a.gains("grant.idle_after: %s, was %s", longOrUnsaid(n), durationText(w))
	}
}

func (a at) whoMayAsk(was, now *Entitlement) {
	all := a.who
	w, n := subjectTexts(was.Who), subjectTexts(now.Who)
	if more := without(n, w); len(more) > 0 {
		a.who = more
		a.on(now.lines.who).gains("may ask: %s", strings.Join(more, ", "))
	}
	if less := without(w, n); len(less) > 0 {
		a.who = less
		a.on(now.lines.who).loses("may ask no more: %s", strings.Join(less, ", "))
	}
	a.who = all
	switch {
	case was.Justify && !now.Justify:
		a.on(now.lines.request).gains("asking needs no justification")
	case !was.Justify && now.Justify:
		a.on(now.lines.request).loses("asking needs a justification")
	}
}

func (a at) stepUp(was, now *StepUp) {
	switch {
	case was == nil && now == nil:
		return
	case was == nil:
		a.loses("step_up: asked for, was not")
		return
	case now == nil:
		a.gains("step_up: not asked for, was")
		return
	}
	a.open("step_up.acr", was.ACR, now.ACR)
	switch w, n := was.MaxAge, now.MaxAge; {
	case w == n:
	case n != 0 && (w == 0 || n < w):
		a.loses("step_up.max_age: %s, was %s", durationText(n), longOrUnsaid(w))
	default:
		a.gains("step_up.max_age: %s, was %s", longOrUnsaid(n), durationText(w))
	}
	w, n := *was, *now
	w.ACR, w.MaxAge, n.ACR, n.MaxAge = nil, 0, nil, 0
	a.rest(w, n)
}

// approvals compares how a request becomes a grant. A condition is a text here: of
// two that differ nobody can tell which is true more often.
func (a at) approvals(was, now *Entitlement) {
	switch auto := a.on(now.lines.auto); {
	case was.Auto == now.Auto:
	case now.Auto == "":
		auto.loses("approve.auto is removed")
	default:
		auto.gains("approve.auto.when: %s, was %s", now.Auto, wordOf(was.Auto))
	}
	steps := a.on(now.lines.steps)
	switch {
	case was.Signed && !now.Signed:
		steps.gains("approvals need no signature")
	case !was.Signed && now.Signed:
		steps.loses("approvals need a signature")
	}
	switch {
	case sameSteps(was.Steps, now.Steps):
	case stepsWithin(now.Steps, was.Steps):
		steps.loses("approve.steps: %s; was %s", stepWords(now.Steps), stepWords(was.Steps))
	default:
		steps.gains("approve.steps: %s; was %s", stepWords(now.Steps), stepWords(was.Steps))
	}
}

func stepWords(steps []Step) string {
	if len(steps) == 0 {
		return "none"
	}
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.Words()
		if s.Signed {
			out[i] += ", signed"
		}
	}
	return strings.Join(out, ", then ")
}

func sameSteps(a, b []Step) bool { return stepsWithin(a, b) && stepsWithin(b, a) }

// stepsWithin reports whether whoever gets the approvals of inner has got those of
// outer: each step of outer has one of inner that asks no less, in the same order. No
// steps are never satisfied: nobody can approve.
func stepsWithin(inner, outer []Step) bool {
	if len(inner) == 0 || len(outer) == 0 {
		return len(inner) == 0
	}
	i := 0
	for _, s := range inner {
		if i < len(outer) && s.within(outer[i]) {
			i++
		}
	}
	return i == len(outer)
}

// within reports whether s asks no less than o.
func (s Step) within(o Step) bool {
	x, y := s, o
	x.Any, x.Count, x.Within, x.Signed = nil, 0, 0, false
	y.Any, y.Count, y.Within, y.Signed = nil, 0, 0, false
	return len(without(s.Any, o.Any)) == 0 && s.Count >= o.Count && s.Within <= o.Within && (s.Signed || !o.Signed) && reflect.DeepEqual(x, y)
}

// operationsOf compares what is allowed, after expansion.
func (a at) operationsOf(was, now *Entitlement) {
	w, n := was.Operations(), now.Operations()
	all := a.operations
	if more := without(n, w); len(more) > 0 {
		a.operations = more
		a.gains("allows %s too", strings.Join(more, ", "))
	}
	if less := without(w, n); len(less) > 0 {
		a.operations = less
		a.loses("allows %s no more", strings.Join(less, ", "))
	}
	a.operations = all
	for _, operation := range n {
		if !slices.Contains(w, operation) {
			continue
		}
		spec, _ := a.c.after.catalogues[now.App].Lookup(operation)
		inner, outer := now.rulesOf(operation), was.rulesOf(operation)
		narrower, wider := rulesWithin(inner, outer, spec), rulesWithin(outer, inner, spec)
		a.operations = []string{operation}
		switch {
		case narrower && wider: // both ways: the same
		case narrower:
			a.loses("%s: %s; was %s", operation, ruleWords(inner), ruleWords(outer))
		default:
			a.gains("%s: %s; was %s", operation, ruleWords(inner), ruleWords(outer))
		}
	}
}

func (e *Entitlement) rulesOf(operation string) []rule {
	var out []rule
	for _, r := range e.expanded {
		if r.operation == operation {
			out = append(out, r)
		}
	}
	return out
}

func ruleWords(rules []rule) string {
	out := make([]string, len(rules))
	for i, r := range rules {
		var bounds []string
		for _, b := range r.where {
			bounds = append(bounds, b.words())
		}
		if out[i] = strings.Join(bounds, " and "); len(bounds) == 0 {
			out[i] = "unbounded"
		}
	}
	return strings.Join(out, ", or ")
}

func (b Bound) words() string {
	values := make([]string, len(b.Values))
	for i, o := range b.Values {
		if values[i] = o.Literal; o.Param != "" {
			values[i] = "$" + o.Param
		}
	}
	return fmt.Sprintf("%s %s %s", b.Attribute, b.Comparison, strings.Join(values, ", "))
}

// rulesWithin reports whether each rule of inner lies within one of outer, whatever
// the parameters are.
func rulesWithin(inner, outer []rule, spec scope.Spec) bool {
	for _, i := range inner {
		if !slices.ContainsFunc(outer, func(o rule) bool { return i.within(o, spec) }) {
			return false
		}
	}
	return true
}

// within reports whether each bound of o follows from one of r.
func (r rule) within(o rule, spec scope.Spec) bool {
	x, y := r, o
	x.where, y.where = nil, nil
	if !reflect.DeepEqual(x, y) {
		return false
	}
	for _, b := range o.where {
		if !slices.ContainsFunc(r.where, func(c Bound) bool { return c.implies(b, spec) }) {
			return false
		}
	}
	return true
}

// implies reports whether what meets b meets o. A parameter is only known to equal
// itself.
func (b Bound) implies(o Bound, spec scope.Spec) bool {
	x, y := b, o
	x.Attribute, x.Comparison, x.Values, x.Line, x.column = "", "", nil, 0, 0
	y.Attribute, y.Comparison, y.Values, y.Line, y.column = "", "", nil, 0, 0
	if b.Attribute != o.Attribute || len(b.Values) == 0 || !reflect.DeepEqual(x, y) {
		return false
	}
	if b.params() == 0 && o.params() == 0 {
		inner, outer := scope.Rule{Operation: spec.Name, Where: fill([]Bound{b}, spec, nil)}, scope.Rule{Operation: spec.Name, Where: fill([]Bound{o}, spec, nil)}
		return scope.Scope{App: "app", Rules: []scope.Rule{inner}}.Within(scope.Scope{App: "app", Rules: []scope.Rule{outer}})
	}
	fits := b.Comparison == o.Comparison || b.Comparison == scope.Is && o.Comparison == scope.In
	return fits && !slices.ContainsFunc(b.Values, func(v Operand) bool { return !slices.Contains(o.Values, v) })
}

func (b Bound) params() int {
	n := 0
	for _, o := range b.Values {
		if o.Param != "" {
			n++
		}
	}
	return n
}

// params compares what may be asked for. That a new parameter bounds something is
// compared with the operations; that one is gone, too.
func (a at) params(was, now *Entitlement) {
	for _, p := range now.Params {
		w, ok := was.Param(p.Name)
		if !ok {
			a.on(p.Line).loses("params: %s is new: %s", p.Name, p.Words())
			continue
		}
		a.on(p.Line).param(w, p)
	}
	for _, w := range was.Params {
		if _, ok := now.Param(w.Name); ok {
			continue
		}
		if w.Required { // perhaps no value ever fitted
			a.gains("params: %s need not be given, was %s", w.Name, w.Words())
		} else {
			a.loses("params: %s may not be given any more, was %s", w.Name, w.Words())
		}
	}
}

func (a at) param(was, now Param) {
	report := func(narrower bool) {
		if narrower {
			a.loses("params: %s: %s, was %s", now.Name, now.Words(), was.Words())
		} else {
			a.gains("params: %s: %s, was %s", now.Name, now.Words(), was.Words())
		}
	}
	if was.Type != now.Type {
		report(false)
	}
	if was.Required != now.Required || was.Any != now.Any {
		report(now.Required && !now.Any)
	}
	if was.Pattern != now.Pattern { // of two patterns nobody can tell
		report(was.Pattern == "")
	}
	if was.Max != now.Max {
		report(was.Max.IsZero() || !now.Max.IsZero() && was.maxConstraint().Satisfied(now.Max))
	}
	if was.Min != now.Min {
		report(was.Min.IsZero() || !now.Min.IsZero() && was.minConstraint().Satisfied(now.Min))
	}
	w, n := valueTexts(was.Values), valueTexts(now.Values)
	a.open("params: "+now.Name+": values", w, n)
	was.Name, was.Type, was.Required, was.Any, was.Pattern, was.pattern = "", 0, false, false, "", nil
	now.Name, now.Type, now.Required, now.Any, now.Pattern, now.pattern = "", 0, false, false, "", nil
	was.Max, was.Min, was.Values, was.Line = scope.Value{}, scope.Value{}, nil, 0
	now.Max, now.Min, now.Values, now.Line = scope.Value{}, scope.Value{}, nil, 0
	a.rest(was, now)
}

func valueTexts(values []scope.Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.Type().String() + " " + v.String()
	}
	return out
}
