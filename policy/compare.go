package policy

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Effect says which way a change goes.
type Effect = string

// The effects of a change.
const (
	Gains   Effect = "gains"   // somebody may do more, or with less
	Loses   Effect = "loses"   // somebody may do less, or with more
	Differs Effect = "differs" // neither, or nobody can tell
)

// Change is one thing that a policy says otherwise than another.
type Change struct {
	Effect     Effect   `json:"effect"`
	What       string   `json:"what"`                 // entitlement NAME, bundle NAME, app NAME, or a key of mayfly.yaml
	Who        []string `json:"who,omitempty"`        // whom it is about, sorted; none: everybody
	Operations []string `json:"operations,omitempty"` // which it is about, sorted; none: it is not about operations
	File       string   `json:"file,omitempty"`
	Line       int      `json:"line,omitempty"` // 0: not known
	Text       string   `json:"text"`           // a sentence for people
	// Widens says that somebody could gain something with or on an app that was there
	// before, as far as can be told: what is not proven only to narrow, widens.
	Widens bool `json:"widens"`
}

// Comparison is everything that a policy changes against another.
type Comparison struct {
	First   bool     `json:"first"` // there was none before: everything is new, and nothing widens
	Changes []Change `json:"changes"`

	adds []App // apps that are new
}

// Widens reports whether anybody could gain anything with or on an app that was
// there before. It errs to the side of yes. It decides whether a commit has to wait
// before it enters into force (contracts §6).
func (c Comparison) Widens() bool {
	return slices.ContainsFunc(c.Changes, func(c Change) bool { return c.Widens })
}

// Compare says what after changes against before, sorted by what it is about. With
// before nil everything is new. A field of a Set that Compare does not know counts as
// one that widens when it differs.
func Compare(before, after *Set) Comparison {
	if after == nil {
		return Comparison{Changes: []Change{{Effect: Differs, What: "policy", Text: "there is no policy to compare with", Widens: true}}}
	}
	c := &comparing{before: before, after: after}
	if before == nil {
		c.before = newSet(nil, "")
	}
	c.apps()
	for _, name := range both(c.before.entitlements, after.entitlements) {
		c.entitlement(c.before.entitlements[name], after.entitlements[name])
	}
	for _, name := range both(c.before.bundles, after.bundles) {
		c.bundle(name)
	}
	c.main()
	out := Comparison{First: before == nil, Changes: c.out, adds: c.adds}
	for i := range out.Changes {
		change := &out.Changes[i]
		change.Widens = change.Widens && !out.First
		slices.Sort(change.Who)
		slices.Sort(change.Operations)
	}
	slices.SortFunc(out.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.File, b.File), a.Line-b.Line, cmp.Compare(a.Effect, b.Effect), cmp.Compare(a.Text, b.Text))
	})
	return out
}

// comparing is one run of Compare.
type comparing struct {
	before, after *Set
	adds          []App
	out           []Change
}

// at is where changes are reported that are about one thing.
type at struct {
	c          *comparing
	what, file string
	line       int
	who        []string
	operations []string
}

func (a at) add(effect Effect, widens bool, format string, args ...any) {
	a.c.out = append(a.c.out, Change{
		Effect: effect, What: a.what, Who: slices.Clone(a.who), Operations: slices.Clone(a.operations),
		File: a.file, Line: a.line, Text: fmt.Sprintf(format, args...), Widens: widens,
	})
}

func (a at) gains(format string, args ...any) { a.add(Gains, true, format, args...) }
func (a at) loses(format string, args ...any) { a.add(Loses, false, format, args...) }

// differs is for what cannot be proven to narrow.
func (a at) differs(format string, args ...any) { a.add(Differs, true, format, args...) }

// says is for what decides nothing.
func (a at) says(format string, args ...any) { a.add(Differs, false, format, args...) }

func (a at) on(line int) at { a.line = line; return a }

// shrinks reports a value that may only become less: at and below was it narrows.
func shrinks[T cmp.Ordered](a at, what string, was, now T, text func(T) string) {
	switch {
	case now < was:
		a.loses("%s: %s, was %s", what, text(now), text(was))
	case now > was:
		a.gains("%s: %s, was %s", what, text(now), text(was))
	}
}

// set reports what a list of names gained and lost, where more is wider.
func (a at) set(what string, was, now []string) {
	if more := without(now, was); len(more) > 0 {
		a.gains("%s: %s added", what, strings.Join(more, ", "))
	}
	if less := without(was, now); len(less) > 0 {
		a.loses("%s: %s removed", what, strings.Join(less, ", "))
	}
}

// open is set for a list that bounds nothing when it is empty.
func (a at) open(what string, was, now []string) {
	switch {
	case len(was) == 0 && len(now) > 0:
		a.loses("%s: only %s, was any", what, strings.Join(now, ", "))
	case len(was) > 0 && len(now) == 0:
		a.gains("%s: any, was only %s", what, strings.Join(was, ", "))
	default:
		a.set(what, was, now)
	}
}

// rest reports a difference in what nothing else compared: a field that somebody
// added since.
func (a at) rest(was, now any) {
	if !reflect.DeepEqual(was, now) {
		a.differs("%s", unknownDifference)
	}
}

const unknownDifference = "something differs that is not compared"

// without returns the members of list that other lacks, sorted.
func without(list, other []string) []string {
	have := make(map[string]bool, len(other))
	for _, s := range other {
		have[s] = true
	}
	var out []string
	for _, s := range list {
		if !have[s] {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// both returns the sorted keys of two maps.
func both[V any](a, b map[string]V) []string {
	out := append(keys(a), keys(b)...)
	slices.Sort(out)
	return slices.Compact(out)
}

func wordOf(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
