package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxReason is the longest reason of an exception, in bytes.
const maxReason = 2000

// plea is something that is refused unless an exception excuses it.
type plea struct {
	excuse
	file         string
	line, column int
	text         string // what is wrong
}

// needsException notes that what stands at n is refused unless an exception for the
// entitlement or app of that name excuses it. Of several at one the first is told.
func (l *loader) needsException(allows Excuse, name string, n *node, format string, args ...any) {
	it := excuse{allows, name}
	if name != "" && !slices.ContainsFunc(l.pleas, func(p plea) bool { return p.excuse == it }) {
		l.pleas = append(l.pleas, plea{it, l.file, n.line, n.column, fmt.Sprintf(format, args...)})
	}
}

func (l *loader) readException(n *node) {
	f := l.object(n, schema{what: "exception", known: []string{"exception", "owner", "allows", "entitlement", "app", "until", "reason"}})
	if f == nil {
		return
	}
	x := Exception{File: l.file, Line: n.line}
	at := f.need("exception")
	x.Name = l.name(at, "exception", false)
	l.named(at, "exception", x.Name, exceptionsFolder)
	if other, ok := l.set.exceptions[x.Name]; ok && x.Name != "" {
		l.fail(at, CodeDuplicate, "exception: %s already stands in %s", x.Name, other.File)
		return
	}
	x.Owner = l.name(f.need("owner"), "owner", false)
	x.Allows = Excuse(l.word(f.need("allows"), "allows", excuses(), nil))
	l.readExcusedName(&x, f)
	x.Until = l.instant(f.need("until"), "until")
	if at := f.opt("until"); at != nil {
		x.untilLine, x.untilColumn = at.line, at.column
	}
	at = f.need("reason")
	x.Reason = strings.TrimSpace(l.text(at, "reason"))
	switch {
	case x.Reason == "":
	case !isWords(x.Reason):
		l.fail(at, CodeValue, "reason: %q, want a reason in words", x.Reason)
	case len(x.Reason) > maxReason:
		l.fail(at, CodeValue, "reason: %d bytes, want at most %d", len(x.Reason), maxReason)
	}
	if x.Name != "" {
		l.set.exceptions[x.Name], l.set.excuses[x.about()] = x, x.Name
	}
}

// readExcusedName reads what an exception is for: an app if it allows to observe,
// else an entitlement.
func (l *loader) readExcusedName(x *Exception, f *fields) {
	if x.Allows == "" {
		return
	}
	key, not := "entitlement", "app"
	if x.Allows == ExcuseObserve {
		key, not = not, key
	}
	if f.has(not) {
		l.fail(f.n, CodeValue, "exception: %s is for an %s, and %s: says something else: leave it out", x.Allows, key, not)
	}
	at := f.need(key)
	name := l.name(at, key, key == "entitlement")
	if name == "" {
		return
	}
	known, some := keys(l.set.entitlements), l.someEntitlements
	if key == "app" {
		x.App, known, some = name, keys(l.seenApps), l.someApps
	} else {
		x.Entitlement = name
	}
	if other, ok := l.set.Exception(x.Allows, name); ok {
		l.fail(at, CodeDuplicate, "%s: the exception %s in %s already excuses %s at %s", key, other.Name, other.File, x.Allows, name)
	}
	if !slices.Contains(known, name) && !some {
		l.fail(at, CodeUnknownName, "%s: no %s %q%s", key, key, name, didYouMean(name, known))
	}
}

// instant reads a time of RFC 3339, or a date, which is its beginning in UTC.
func (l *loader) instant(n *node, what string) time.Time {
	s := l.text(n, what)
	if s == "" {
		return time.Time{}
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil && t.Nanosecond() == 0 {
			return t.UTC()
		}
	}
	l.fail(n, CodeValue, "%s: %q, want a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z", what, s)
	return time.Time{}
}

// checkExceptions holds what needs an exception to the exceptions that there are,
// both ways: one that excuses nothing would lie in wait for what nobody has written
// yet. What is in force already is not asked again.
func (l *loader) checkExceptions() {
	if l.o.InForce {
		return
	}
	for _, p := range l.pleas {
		if _, ok := l.set.excuses[p.excuse]; !ok {
			l.file = p.file
			l.failAt(p.line, p.column, CodeException, "%s; or excuse it in %s/ by allows: %s", p.text, exceptionsFolder, p.allows)
		}
	}
	for _, x := range l.set.Exceptions() {
		if x.Allows != "" && l.clean(x) && !slices.ContainsFunc(l.pleas, func(p plea) bool { return p.excuse == x.about() }) {
			l.file = x.File
			l.failAt(x.Line, 1, CodeException, "exception: nothing at %s needs allows: %s, so it excuses nothing: remove it", x.about().name, x.Allows)
		}
	}
}

// clean reports whether what x is for was read without a mistake: what else it needs
// is not known otherwise.
func (l *loader) clean(x Exception) bool {
	file := ""
	if e, ok := l.set.entitlements[x.Entitlement]; ok {
		file = e.File
	}
	if a, ok := l.set.apps[x.App]; ok {
		file = a.File
	}
	return file != "" && !slices.ContainsFunc(l.errs, func(e *Error) bool { return e.File == file })
}
