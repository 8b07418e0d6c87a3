package policy

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Excuse is a rule of policy that an exception sets aside.
type Excuse string

// The excuses. Every one needs an exception that names what it is for.
const (
	// ExcuseWildcard: an entitlement allows operations by a class or a prefix, and
	// one of them writes or does more.
	ExcuseWildcard Excuse = "wildcard"
	// ExcuseUndercut: an entitlement gives by a weaker rule what another one gives
	// by a stronger.
	ExcuseUndercut Excuse = "undercut"
	// ExcuseObserve: an app is in observe mode: nothing is denied there.
	ExcuseObserve Excuse = "observe"
)

func excuses() []string {
	return []string{string(ExcuseWildcard), string(ExcuseUndercut), string(ExcuseObserve)}
}

// excuse is what an exception is about; no two are about the same.
type excuse struct {
	allows Excuse
	name   string // of the entitlement or app
}

// Exception excuses one thing that policy refuses otherwise, with an owner, a
// reason and an end. Nobody changes it after Load.
type Exception struct {
	Name        string
	Owner       string
	Allows      Excuse
	Entitlement string // what it is for; "" if it is for an app
	App         string // what it is for; "" if it is for an entitlement
	Reason      string // in words
	// Until is when it is over, UTC. From that instant on what it excused is denied,
	// by whoever decides (Decide for entitlements): Load looks at no clock, so that an
	// old policy loads as it did.
	Until time.Time
	File  string
	Line  int

	untilLine, untilColumn int
}

// Over reports whether x excuses nothing any more at now.
func (x Exception) Over(now time.Time) bool { return !now.Before(x.Until) }

// For names the entitlement or the app that x is for.
func (x Exception) For() string { return x.about().name }

// Exceptions returns all exceptions, sorted by name, also those that are over.
func (s *Set) Exceptions() []Exception {
	out := make([]Exception, 0, len(s.exceptions))
	for _, name := range slices.Sorted(maps.Keys(s.exceptions)) {
		out = append(out, s.exceptions[name])
	}
	return out
}

// Exception returns the exception that allows something for an entitlement or an
// app, also if it is over.
func (s *Set) Exception(allows Excuse, name string) (Exception, bool) {
	x, ok := s.exceptions[s.excuses[excuse{allows, name}]]
	return x, ok
}

// Overdue returns the exceptions that are over at now, sorted by name.
func (s *Set) Overdue(now time.Time) []Exception {
	return slices.DeleteFunc(s.Exceptions(), func(x Exception) bool { return !x.Over(now) })
}

// Lapsed says why an entitlement or bundle is given to nobody at now, though its rules
// might allow it: an exception that it needs is over. Nil: none is.
func (s *Set) Lapsed(name string, now time.Time) *Refusal {
	for _, e := range s.askable(name) {
		if r := s.lapsed(e.Name, now); r != nil {
			return r
		}
	}
	return nil
}

func (s *Set) lapsed(entitlement string, now time.Time) *Refusal {
	for _, allows := range []Excuse{ExcuseWildcard, ExcuseUndercut} {
		if x, ok := s.Exception(allows, entitlement); ok && x.Over(now) {
			return &Refusal{Code: DenyExceptionOver, File: x.File, Line: x.Line, Sentence: fmt.Sprintf(
				"%s needs the exception %s, which was over at %s: %s decides whether there is a new one", entitlement, x.Name, x.Until.Format(time.RFC3339), x.Owner)}
		}
	}
	return nil
}

// same reports whether y excuses the same as x, with the same end, owner and reason.
func (x Exception) same(y Exception) bool {
	return x.about() == y.about() && x.Until.Equal(y.Until) && x.Owner == y.Owner && x.Reason == y.Reason
}

// CheckAt says what keeps s from entering into force at now after before (nil: there is
// none), though it loads: an exception that is over, or that observes an app for too
// long. Its error is an Errors. An exception that before has just so keeps nothing out:
// what it excused is denied from its end on anyway, and the rest of s is others' work.
func (s *Set) CheckAt(now time.Time, before *Set) error {
	var errs Errors
	for _, x := range s.Overdue(now) {
		if before != nil && x.same(before.exceptions[x.Name]) {
			continue
		}
		errs = append(errs, &Error{File: x.File, Line: x.untilLine, Column: x.untilColumn, Code: CodeException,
			Message: "until: the exception " + x.Name + " was over at " + x.Until.Format(time.RFC3339) + ", and what it excused is denied: give it a new end with a reason, or remove both"})
	}
	for _, x := range s.Exceptions() {
		if x.tooLong(now) {
			errs = append(errs, &Error{File: x.File, Line: x.untilLine, Column: x.untilColumn, Code: CodeCap,
				Message: "until: an app is observed for at most 30 days at a time, to " + now.Add(MaxObserve).UTC().Format(time.RFC3339) + " from now"})
		}
	}
	if len(errs) == 0 {
		return nil
	}
	errs.sort()
	return errs
}

func (x Exception) about() excuse {
	if x.App != "" {
		return excuse{x.Allows, x.App}
	}
	return excuse{x.Allows, x.Entitlement}
}
