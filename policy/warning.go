package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/scope"
)

// WarningCode says what sort of thing a warning is about. Codes are stable.
type WarningCode string

// The codes of a Warning.
const (
	WarnPersonas WarningCode = "many_personas" // an entitlement in more personas than there are jobs for it
	WarnStricter WarningCode = "stricter"      // of two values the stricter counts, and the other says nothing
	WarnCapitals WarningCode = "capitals"      // two groups whose names differ by capitals only
	WarnEnding   WarningCode = "ending"        // an exception that is over soon
	WarnOver     WarningCode = "over"          // an exception that is over
	WarnUntested WarningCode = "untested"      // an entitlement or bundle without an inline test
	WarnAlways   WarningCode = "always_true"   // a condition that a cap makes always true
)

// warnBefore is how long before its end an exception is warned of.
const warnBefore = 14 * 24 * time.Hour

// Warning is something that an author may not have meant. It keeps nothing from
// entering into force.
type Warning struct {
	File    string      `json:"file"`
	Line    int         `json:"line"` // from 1
	Column  int         `json:"column"`
	Code    WarningCode `json:"code"`
	Message string      `json:"message"`
}

// String returns file:line:column: message.
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", w.File, w.Line, w.Column, w.Message)
}

// Warnings returns what is doubtful about s at now, by file and line. With a zero now,
// what depends on the day is left out.
func (s *Set) Warnings(now time.Time) []Warning {
	var out []Warning
	say := func(code WarningCode, file string, line int, format string, args ...any) {
		out = append(out, Warning{file, max(line, 1), 1, code, fmt.Sprintf(format, args...)})
	}
	in := map[string][]string{}
	for _, p := range s.Personas() {
		for _, name := range p.Entitlements {
			in[name] = append(in[name], p.Name)
		}
	}
	for _, e := range s.Entitlements() {
		if jobs := in[e.Name]; len(jobs) > maxPersonas {
			say(WarnPersonas, e.File, e.Line, "%s is in %d personas (%s): what more than %d jobs need is rarely one task", e.Name, len(jobs), strings.Join(jobs, ", "), maxPersonas)
		}
		if len(e.Tests) == 0 {
			say(WarnUntested, e.File, e.Line, "%s has no tests: nothing says what it is for, and mayfly policy test proves nothing of it", e.Name)
		}
		if op, class := s.overlooked(e); op != "" {
			say(WarnStricter, e.File, cmp.Or(e.lines.sensitivity, e.Line), "sensitivity: %s, and %s is %s: the stricter counts", e.Sensitivity, op, class)
		}
		if e.capped != "" {
			say(WarnAlways, e.File, e.lines.auto, "%s", e.capped)
		}
		if e.IdleAfter >= e.Max && e.Max > 0 {
			say(WarnStricter, e.File, e.lines.max, "grant.idle_after: %s never ends a grant before grant.max, which is %s", durationText(e.IdleAfter), durationText(e.Max))
		}
	}
	for _, b := range s.Bundles() {
		if len(b.Tests) == 0 {
			say(WarnUntested, b.File, b.Line, "%s has no tests: nothing says what it is for, and mayfly policy test proves nothing of it", b.Name)
		}
	}
	for _, x := range s.Exceptions() {
		if !now.IsZero() && x.Over(now) {
			say(WarnOver, x.File, x.untilLine, "the exception %s was over at %s, and what it excused is denied: give it a new end with a reason, or remove both; a commit that brings it does not enter into force", x.Name, x.Until.Format(time.RFC3339))
		}
		if left := x.Until.Sub(now); !now.IsZero() && left > 0 && left <= warnBefore {
			say(WarnEnding, x.File, x.untilLine, "the exception %s is over at %s, and what it excuses is denied then", x.Name, x.Until.Format(time.RFC3339))
		}
	}
	for _, w := range s.capitals() {
		say(WarnCapitals, w.File, w.Line, "%s", w.Message)
	}
	slices.SortStableFunc(out, func(a, b Warning) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
	return out
}

// overlooked returns an operation of e that is stricter than its sensitivity says.
func (s *Set) overlooked(e *Entitlement) (string, scope.Class) {
	if e.Sensitivity == scope.ClassNone || e.Class == e.Sensitivity {
		return "", scope.ClassNone
	}
	for _, op := range e.Operations() {
		if spec, ok := s.catalogues[e.App].Lookup(op); ok && spec.Class == e.Class {
			return op, spec.Class
		}
	}
	return "", scope.ClassNone
}

// capitals finds names of groups that differ from one before by capitals only. A
// source may mean two groups by them, and hardly ever does.
func (s *Set) capitals() []Warning {
	var out []Warning
	seen := map[string]string{}
	look := func(text, file string, line int) {
		if !strings.HasPrefix(text, "group:") {
			return
		}
		other, ok := seen[strings.ToLower(text)]
		if ok && other != text {
			out = append(out, Warning{File: file, Line: line, Message: text + " and " + other + " differ by capitals only"})
		}
		if !ok {
			seen[strings.ToLower(text)] = text
		}
	}
	look(s.security.String(), mainFile, 1)
	for _, e := range s.Entitlements() {
		for _, who := range e.Who {
			look(who.String(), e.File, e.lines.who)
		}
		for _, step := range e.Steps {
			for _, text := range step.Any {
				look(text, e.File, e.lines.steps)
			}
		}
	}
	return out
}
