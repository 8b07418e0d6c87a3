package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

func (l *loader) readEntitlement(n *node) {
	f := l.object(n, schema{
		what:  "entitlement",
		known: []string{"entitlement", "owner", "app", "allow", "params", "sensitivity", "grant", "request", "approve", "onward", "step_up", "tests", "environments"},
		later: []string{"agents", "budget", "conflicts", "emergency", "includes", "renew", "review", "streams", "window"},
	})
	if f == nil {
		l.someEntitlements = true
		return
	}
	e := &Entitlement{File: l.file, Line: n.line}
	at := f.need("entitlement")
	e.Name = l.name(at, "entitlement", true)
	l.named(at, "entitlement", e.Name, entitlementsRoot)
	if other, ok := l.set.entitlements[e.Name]; ok && e.Name != "" {
		l.fail(at, CodeDuplicate, "entitlement: %s already stands in %s", e.Name, other.File)
		return
	}
	e.Owner = l.name(f.need("owner"), "owner", false)
	l.readEntitlementApp(e, f.need("app"))
	e.Environments = l.readEnvironments(f.opt("environments"))
	l.checkEnvironments(e, f.opt("environments"))
	e.Params = l.readParams(f.opt("params"))
	e.lines.params = lineOf(f.opt("params"), n)
	before := len(l.errs)
	l.readAllow(f.need("allow"), e)
	if before == len(l.errs) {
		l.checkParamsUsed(e)
	}
	if at := f.opt("sensitivity"); at != nil {
		e.lines.sensitivity = at.line
	}
	l.readSensitivity(e, f.opt("sensitivity"))
	l.readGrant(e, f.need("grant"))
	l.readRequest(e, f.need("request"))
	l.readApprove(e, f.need("approve"))
	l.readOnward(e, f.opt("onward"))
	l.readStepUp(e, f.opt("step_up"))
	e.Tests = l.readTests(e, f.opt("tests"))
	if e.Name != "" {
		l.set.entitlements[e.Name] = e
	}
	l.someEntitlements = l.someEntitlements || e.Name == ""
}

// maxACR is the longest name of an authentication context, in bytes.
const maxACR = 128

// readStepUp reads what is asked of a person's login. Workloads log in nowhere, so
// whoever may ask must be a person.
func (l *loader) readStepUp(e *Entitlement, n *node) {
	if n == nil {
		return
	}
	f := l.object(n, schema{what: "step_up", known: []string{"acr", "max_age"}})
	out := &StepUp{ACR: l.texts(f.opt("acr"), "acr"), MaxAge: l.duration(f.opt("max_age"), "max_age")}
	for _, name := range out.ACR {
		if len(name) > maxACR || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			l.fail(n, CodeValue, "step_up.acr: %q, want names without spaces, quotes and backslashes", name)
		}
	}
	if len(out.ACR) == 0 && out.MaxAge == 0 {
		l.fail(n, CodeMissing, "step_up: want acr, max_age or both")
	}
	for _, s := range e.Who {
		if s.kind() == identity.KindWorkload {
			l.fail(n, CodeValue, "step_up: %s may ask, and a workload logs in nowhere", s)
		}
	}
	e.StepUp = out
}

func lineOf(n, or *node) int {
	if n == nil {
		return or.line
	}
	return n.line
}

// Param returns the declaration of a parameter.
func (e *Entitlement) Param(name string) (Param, bool) {
	i := slices.IndexFunc(e.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		return Param{}, false
	}
	return e.Params[i], true
}

func (e *Entitlement) paramNames() []string {
	var out []string
	for _, p := range e.Params {
		out = append(out, p.Name)
	}
	return out
}

// Operations returns the distinct operations that e allows, sorted.
func (e *Entitlement) Operations() []string {
	var out []string
	for _, r := range e.expanded {
		out = append(out, r.operation)
	}
	return slices.Compact(out)
}

func (l *loader) readEntitlementApp(e *Entitlement, n *node) {
	name := l.text(n, "app")
	if name == "" {
		return
	}
	if _, ok := l.seenApps[name]; !ok && name != OwnApp {
		if l.someApps {
			return
		}
		l.fail(n, CodeUnknownName, "app: no app %q under apps/%s", name, didYouMean(name, keys(l.seenApps)))
		return
	}
	e.App = name
}

// checkEnvironments keeps an entitlement inside its app's environments.
func (l *loader) checkEnvironments(e *Entitlement, n *node) {
	in := l.set.apps[e.App].Environments
	for i, name := range e.Environments {
		if len(in) > 0 && !slices.Contains(in, name) && i < len(n.items) {
			l.fail(n.items[i], CodeNobody, "environments: %s is not in %s, only in %s", e.App, name, strings.Join(in, " and "))
		}
	}
}

// checkParamsUsed refuses a parameter that bounds nothing: approvers would read
// it as a limit.
func (l *loader) checkParamsUsed(e *Entitlement) {
	if l.set.catalogues[e.App] == nil {
		return // the constraints could not be read
	}
	for _, p := range e.Params {
		if !slices.Contains(e.bound, p.Name) {
			l.failAt(p.Line, 1, CodeConstraint, "param %s bounds nothing: use $%s in a where", p.Name, p.Name)
		}
	}
}

func (l *loader) readSensitivity(e *Entitlement, n *node) {
	if text := l.text(n, "sensitivity"); text != "" {
		var err error
		if e.Sensitivity, err = scope.ParseClass(text); err != nil {
			l.fail(n, CodeValue, "sensitivity: %v", err)
		}
	}
	e.Class = max(e.Sensitivity, scope.ClassRead)
	for _, r := range e.expanded {
		spec, _ := l.set.catalogues[e.App].Lookup(r.operation)
		e.Class = e.Class.Stricter(spec.Class)
	}
}

func (l *loader) readGrant(e *Entitlement, n *node) {
	if n == nil {
		return
	}
	f := l.object(n, schema{what: "grant", known: []string{"max", "default", "idle_after"}, later: []string{"renew", "budget", "window"}})
	at := f.need("max")
	e.Max = l.duration(at, "grant.max")
	e.lines.max = lineOf(at, n)
	if limit := l.set.caps.Grant; limit > 0 && e.Max > limit {
		l.fail(at, CodeCap, "grant.max: %s is over caps.grant, which is %s", durationText(e.Max), durationText(limit))
	}
	e.Default = e.Max
	if at := f.opt("default"); at != nil {
		if e.Default = l.duration(at, "grant.default"); e.Default > e.Max && e.Max > 0 {
			l.fail(at, CodeCap, "grant.default: %s is over grant.max, which is %s", durationText(e.Default), durationText(e.Max))
		}
	}
	if at := f.opt("idle_after"); at != nil {
		e.IdleAfter = l.duration(at, "grant.idle_after")
		l.checkIdle(e, at)
	}
}

// MinIdle is the shortest idle_after: a use is known when the gateway's record of it
// has arrived, which takes seconds.
const MinIdle = 10 * time.Second

func (l *loader) checkIdle(e *Entitlement, at *node) {
	switch {
	case e.IdleAfter == 0: // no duration, and told so
	case e.App == OwnApp:
		l.fail(at, CodeValue, "grant.idle_after: uses of Mayfly's own operations are not counted")
	case e.IdleAfter < MinIdle:
		l.fail(at, CodeCap, "grant.idle_after: %s is under %s: uses are known some seconds late", durationText(e.IdleAfter), durationText(MinIdle))
	}
}

func (l *loader) readRequest(e *Entitlement, n *node) {
	if n == nil {
		return
	}
	f := l.object(n, schema{what: "request", known: []string{"who", "for", "justification"}, later: []string{"acr", "ticket", "window"}})
	at := f.need("who")
	e.Who = l.subjects(at, "who")
	e.lines.request, e.lines.who = n.line, lineOf(at, n)
	for _, item := range l.list(f.opt("for"), "for") {
		l.word(item, "for", []string{"self"}, []string{"others", "agents", "team", "reports"})
	}
	e.Justify = true
	if at := f.opt("justification"); at != nil {
		e.Justify = l.word(at, "justification", []string{"text", "none"}, []string{"ticket"}) != "none"
	}
}

func (l *loader) readApprove(e *Entitlement, n *node) {
	if n == nil {
		return
	}
	f := l.object(n, schema{what: "approve", known: []string{"auto", "steps", "signed"}, later: []string{"break_glass", "delegate", "escalate", "webhook"}})
	if f == nil {
		return
	}
	e.lines.approve, e.lines.approveColumn = n.line, n.column
	e.lines.auto, e.lines.steps = lineOf(f.opt("auto"), n), lineOf(f.opt("steps"), n)
	if at := f.opt("auto"); at != nil {
		when := l.object(at, schema{what: "auto", known: []string{"when"}}).need("when")
		if e.Auto = l.text(when, "when"); e.Auto != "" {
			e.auto = l.compile(e, when)
		}
	}
	e.Signed = l.boolean(f.opt("signed"), "signed")
	if at := f.opt("steps"); at != nil {
		for _, item := range l.list(at, "steps") {
			s := l.readStep(item)
			if s.Signed = e.Signed; e.Signed {
				l.checkSigned(s, item)
			}
			e.Steps = append(e.Steps, s)
		}
		if !l.o.InForce && e.Auto == "" {
			l.checkSelfApproval(e, at)
		}
	}
	switch {
	case e.Signed && f.has("auto"):
		l.fail(n, CodeValue, "approve: signed: true and auto: a rule signs nothing, leave one of them out")
	case e.Signed && e.App == OwnApp:
		l.fail(n, CodeValue, "approve: signed: true is for what gateways check, and the app %s is behind none", OwnApp)
	}
	if !f.has("auto") && !f.has("steps") {
		l.fail(n, CodeNobody, "approve: neither auto nor steps: nobody could ever approve")
	}
}

// checkSigned refuses approvers of a signed step whom a gateway could not find in
// the signed files: it reads persons and their keys there, and no file says who is
// in a group.
func (l *loader) checkSigned(s Step, at *node) {
	for _, text := range s.Any {
		switch who, err := ParseSubject(text); {
		case err != nil:
		case who.IsGroup():
			l.fail(at, CodeValue, "any: %s is a group, and with signed: true only persons of people: approve: Git cannot prove who is in a group", text)
		case who.person.IsZero():
			l.fail(at, CodeValue, "any: %s is an account; with signed: true name its person under people:, with keys:", text)
		case len(l.set.keys[text]) == 0:
			l.fail(at, CodeNobody, "any: %s has no keys: under people: in %s, and so can sign nothing", text, mainFile)
		}
	}
}

func (l *loader) readStep(n *node) Step {
	f := l.object(n, schema{what: "step", known: []string{"any", "count", "within"}, later: []string{"all", "escalate", "delegate", "owner"}})
	at := f.need("any")
	who := l.subjects(at, "any")
	s := Step{Count: 1, Within: l.duration(f.need("within"), "within")}
	if n := f.opt("count"); n != nil {
		s.Count = l.integer(n, "count", 1, 20)
	}
	persons, groups := map[identity.Person]bool{}, false
	for _, w := range who {
		s.Any = append(s.Any, w.String())
		switch {
		case w.kind() == identity.KindWorkload:
			l.fail(at, CodeValue, "any: %s is a workload, and only persons approve", w)
		case w.IsGroup():
			groups = true
		case !w.person.IsZero():
			persons[w.person] = true
		default:
			persons[l.set.PersonOf(w.principal)] = true
		}
	}
	if !groups && len(persons) > 0 && s.Count > len(persons) {
		l.fail(n, CodeNobody, "step: %d approvals, and %d named: nobody could ever satisfy it", s.Count, len(persons))
	}
	return s
}
