package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

// loader collects what one Load finds.
type loader struct {
	o    Options
	set  *Set
	errs Errors
	file string // being read

	nodeApps         []pendingApp
	domains          []pendingDomain
	someDomains      bool // a trust domain could not be read: not every unlisted one is a mistake
	nodeIDs          map[identity.Principal]bool
	seenApps         map[string]*node           // names of apps, also of those that hold mistakes
	someApps         bool                       // an app's name could not be read: not every unknown name is a mistake
	pleas            []plea                     // what needs an exception
	someEntitlements bool                       // as someApps
	bundleFiles      []string                   // whose names, which files are named by, say what is a bundle
	persons          map[string]bool            // names of people, also of those that hold mistakes
	keyOf            map[string]identity.Person // by the key's name
}

// named refuses a name that is not its file's: whoever reviews by path, as CODEOWNERS
// does, would be asked about something else.
func (l *loader) named(n *node, what, name, folder string) {
	if want := folder + "/" + name + ".yaml"; name != "" && !l.o.InForce && l.file != want {
		l.fail(n, CodeFile, "%s: %s stands in %s, want %s", what, name, l.file, want)
	}
}

func (l *loader) failAt(line, column int, code Code, format string, args ...any) {
	l.errs = append(l.errs, &Error{File: l.file, Line: line, Column: column, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) fail(n *node, code Code, format string, args ...any) {
	l.failAt(n.line, n.column, code, format, args...)
}

// schema lists the keys that an object may have. Later are keys that have a
// meaning in a coming version: they are refused in those words, never ignored.
type schema struct {
	what  string
	known []string
	later []string
}

// fields reads one object. A nil fields is an object that was none; it has nothing.
type fields struct {
	l    *loader
	n    *node
	what string
}

// object reports every key of n that s does not know.
func (l *loader) object(n *node, s schema) *fields {
	if n.shape != shapeMap {
		l.fail(n, CodeValue, "%s: want keys and values (%s), found %s", s.what, strings.Join(s.known, ", "), n.shape)
		return nil
	}
	for _, k := range n.keys {
		switch {
		case slices.Contains(s.known, k.text):
		case slices.Contains(s.later, k.text):
			l.fail(k, CodeUnsupported, "%s: %s is not supported yet", s.what, k.text)
		default:
			l.fail(k, CodeUnknownKey, "%s: unknown key %q, want one of %s", s.what, k.text, strings.Join(s.known, ", "))
		}
	}
	return &fields{l: l, n: n, what: s.what}
}

// opt returns the value under key, nil if it is not there. A key without a value
// is a mistake, not an absence.
func (f *fields) opt(key string) *node {
	if f == nil {
		return nil
	}
	for i, k := range f.n.keys {
		if k.text != key {
			continue
		}
		if f.n.items[i].shape == shapeNull {
			f.l.fail(k, CodeMissing, "%s: %s has no value", f.what, key)
			return nil
		}
		return f.n.items[i]
	}
	return nil
}

// need is opt that reports an absence.
func (f *fields) need(key string) *node {
	if f == nil {
		return nil
	}
	if !f.has(key) {
		f.l.fail(f.n, CodeMissing, "%s: %s is missing", f.what, key)
		return nil
	}
	return f.opt(key)
}

func (f *fields) has(key string) bool {
	return f != nil && slices.ContainsFunc(f.n.keys, func(k *node) bool { return k.text == key })
}

// text reads a scalar; "" if there is none, which was reported. A nil n is nothing.
func (l *loader) text(n *node, what string) string {
	if n == nil {
		return ""
	}
	if n.shape != shapeScalar {
		l.fail(n, CodeValue, "%s: want a value, found %s", what, n.shape)
		return ""
	}
	if n.text == "" {
		l.fail(n, CodeValue, "%s is empty", what)
	}
	return n.text
}

// list reads a list of at least one; a single value is not taken for a list.
func (l *loader) list(n *node, what string) []*node {
	if n == nil {
		return nil
	}
	if n.shape != shapeList || len(n.items) == 0 {
		l.fail(n, CodeValue, "%s: want a list of at least one", what)
		return nil
	}
	return n.items
}

// texts reads a list of different scalars.
func (l *loader) texts(n *node, what string) []string {
	var out []string
	for _, item := range l.list(n, what) {
		s := l.text(item, what)
		if s == "" {
			continue
		}
		if slices.Contains(out, s) {
			l.fail(item, CodeDuplicate, "%s: %q is there twice", what, s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// word reads a scalar that is one of a few; later ones are known, but not yet.
func (l *loader) word(n *node, what string, want, later []string) string {
	s := l.text(n, what)
	switch {
	case s == "" || slices.Contains(want, s):
		return s
	case slices.Contains(later, s):
		l.fail(n, CodeUnsupported, "%s: %s is not supported yet, want %s", what, s, strings.Join(want, " or "))
	default:
		l.fail(n, CodeValue, "%s: %q, want %s", what, s, strings.Join(want, " or "))
	}
	return ""
}

// integer reads a whole number between two bounds.
func (l *loader) integer(n *node, what string, low, high int) int {
	s := l.text(n, what)
	if s == "" {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(v) != s || v < low || v > high {
		l.fail(n, CodeValue, "%s: %q, want a whole number from %d to %d", what, s, low, high)
		return 0
	}
	return v
}

// boolean reads true or false, in no other spelling.
func (l *loader) boolean(n *node, what string) bool {
	s := l.text(n, what)
	if s != "" && s != "true" && s != "false" {
		l.fail(n, CodeValue, "%s: %q, want true or false", what, s)
	}
	return s == "true"
}

// duration reads whole hours, minutes and seconds, such as 2h, 1h30m or 15s.
func (l *loader) duration(n *node, what string) time.Duration {
	s := l.text(n, what)
	if s == "" {
		return 0
	}
	d, ok := parseDuration(s)
	if !ok {
		l.fail(n, CodeValue, "%s: %q, want a duration such as 2h, 30m or 15s", what, s)
	}
	return d
}

func parseDuration(s string) (time.Duration, bool) {
	if strings.Trim(s, "0123456789hms") != "" {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

// durationText writes a duration as policy does: 1h30m, 2h, 15s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// name reads a name of a-z, 0-9 and -, in segments parted by / if deep.
func (l *loader) name(n *node, what string, deep bool) string {
	s := l.text(n, what)
	if s == "" {
		return ""
	}
	if !validName(s, deep) {
		form := "1 to 63 of a-z, 0-9 and - that begins and ends with a letter or digit"
		if deep {
			form = "such names parted by /, such as stripe/refunds"
		}
		l.fail(n, CodeValue, "%s: %q, want %s", what, s, form)
		return ""
	}
	return s
}

func validName(s string, deep bool) bool {
	if len(s) > 128 {
		return false
	}
	segments := []string{s}
	if deep {
		segments = strings.Split(s, "/")
	}
	return !slices.ContainsFunc(segments, func(p string) bool { return !validLabel(p) })
}

func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
