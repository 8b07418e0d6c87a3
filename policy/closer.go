package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
)

// Remedy is the smallest that could have been otherwise for another answer.
type Remedy struct {
	Outcome Outcome // what Decide says with all of Edits
	Edits   []Edit  // all of them together
	Input   Input   // that Decide was asked with
}

// Edit is one thing that could have been otherwise.
type Edit struct {
	Kind string // justification, duration, param, login, acr, entitlement
	Name string // of a param
	From string // "" for nothing
	To   string
	Text string // for people
}

// The kinds of Edit.
const (
	EditJustification = "justification"
	EditDuration      = "duration"
	EditParam         = "param"
	EditLogin         = "login"
	EditACR           = "acr"
	EditEntitlement   = "entitlement"
)

const (
	maxEdits    = 3     // together
	maxTries    = 4_000 // decisions of one search
	maxRemedies = 4     // of one outcome
)

// Closer returns what would have been answered better: by whom nothing else was
// changed than has to be. Every Remedy was decided by this Set. A change that is
// granted at once comes before one that waits for people, fewer edits before more;
// of one thing the value nearest to what was asked is taken, and never a wider one.
// Who somebody is, what groups they are in, and what policy says are left as they are.
func (s *Set) Closer(in Input) []Remedy {
	in = in.canonical(s)
	c := &closer{set: s, in: in, was: s.Decide(in).Outcome}
	c.dimensions()
	var out []Remedy
	most := maxEdits
	for _, want := range []Outcome{Granted, NeedsApproval} {
		if rank(want) > rank(c.was) {
			found := c.search(want, most)
			for _, ch := range found { // the same for less trouble is not worth telling
				most = min(most, len(ch.Edits)-1)
			}
			out = append(out, found...)
		}
	}
	return out
}

func rank(o Outcome) int {
	return map[Outcome]int{Denied: 0, NeedsApproval: 1, Granted: 2}[o]
}

// closer is one search.
type closer struct {
	set   *Set
	in    Input
	was   Outcome
	dims  [][]option // of one thing each; nearest first
	tries int
}

type option struct {
	Edit
	apply func(*Input)
}

func (c *closer) dimensions() {
	terms, ok := c.set.Terms(c.in.Entitlement)
	if !ok {
		c.add(c.named(nearest(c.in.Entitlement, c.set.names()))...)
		return
	}
	members := c.set.askable(c.in.Entitlement)
	var k constants
	for _, e := range members {
		k = k.and(e.auto.constants(e))
	}
	c.add(c.justification(terms)...)
	c.add(c.login()...)
	c.add(c.durations(terms, k)...)
	for _, p := range terms.Params {
		c.add(c.params(members, p, k)...)
	}
	c.add(c.acrs(k)...)
	if terms.App != "" {
		c.add(c.siblings(terms)...)
	}
}

func (c *closer) add(options ...option) {
	if len(options) > 0 {
		c.dims = append(c.dims, options)
	}
}

// search finds the fewest things that have to change for an answer.
func (c *closer) search(want Outcome, most int) []Remedy {
	var out []Remedy
	for n := 1; n <= most && len(out) == 0; n++ {
		c.choose(n, 0, nil, func(dims []int) {
			if ch, ok := c.first(dims, want); ok && len(out) < maxRemedies {
				out = append(out, ch)
			}
		})
	}
	return out
}

// choose calls f with each choice of n of the dimensions from one on.
func (c *closer) choose(n, from int, chosen []int, f func([]int)) {
	if n == 0 {
		f(chosen)
		return
	}
	for i := from; i < len(c.dims); i++ {
		c.choose(n-1, i+1, append(slices.Clone(chosen), i), f)
	}
}

// first returns the nearest options of some dimensions that together are answered as
// wanted.
func (c *closer) first(dims []int, want Outcome) (Remedy, bool) {
	var picked []option
	var try func(int) (Remedy, bool)
	try = func(i int) (Remedy, bool) {
		if i == len(dims) {
			return c.ask(picked, want)
		}
		for _, o := range c.dims[dims[i]] {
			picked = append(picked, o)
			if ch, ok := try(i + 1); ok {
				return ch, true
			}
			picked = picked[:len(picked)-1]
		}
		return Remedy{}, false
	}
	ch, ok := try(0)
	if ok {
		ch = c.lengthen(picked, ch, want)
	}
	return ch, ok
}

// ask decides about the input with some edits.
func (c *closer) ask(picked []option, want Outcome) (Remedy, bool) {
	if c.tries++; c.tries > maxTries {
		return Remedy{}, false
	}
	in, edits := c.in, make([]Edit, 0, len(picked))
	in.Params = maps.Clone(c.in.Params)
	for _, o := range picked {
		o.apply(&in)
		edits = append(edits, o.Edit)
	}
	got := c.set.Decide(in).Outcome
	return Remedy{Outcome: got, Edits: edits, Input: in}, got == want
}

// lengthen makes a shorter duration as long as it can be: between the one that was
// found and the next one that was tried, to the second.
func (c *closer) lengthen(picked []option, found Remedy, want Outcome) Remedy {
	at := slices.IndexFunc(picked, func(o option) bool { return o.Kind == EditDuration })
	if at < 0 {
		return found
	}
	low, asked := found.Input.Duration, c.asked()
	if low > asked {
		return found
	}
	high := asked
	for _, dim := range c.dims {
		for _, o := range dim {
			if d, err := time.ParseDuration(o.To); o.Kind == EditDuration && err == nil && d > low && d < high {
				high = d
			}
		}
	}
	for high-low > time.Second {
		mid := (low + (high-low)/2).Truncate(time.Second)
		again := slices.Clone(picked)
		again[at] = c.duration(mid)
		if ch, ok := c.ask(again, want); ok {
			low, found = mid, ch
		} else {
			high = mid
		}
	}
	return found
}

func (c *closer) asked() time.Duration {
	if e, ok := c.set.Terms(c.in.Entitlement); ok && c.in.Duration == 0 {
		return e.Default
	}
	return c.in.Duration
}

func (c *closer) justification(e *Entitlement) []option {
	text := strings.TrimSpace(c.in.Justification)
	o := option{Edit{Kind: EditJustification, To: "given", Text: "a justification in words"}, func(in *Input) { in.Justification = "given" }}
	switch {
	case len(text) > MaxJustification:
		o.Text = fmt.Sprintf("a justification of at most %d bytes", MaxJustification)
		return []option{o}
	case e.Justify && !isWords(text):
		return []option{o}
	}
	return nil
}

// login is the same groups, told anew. Which groups there are by then, nobody knows.
func (c *closer) login() []option {
	r := c.in.Requester
	if _, fresh := r.groups(c.in.Now); fresh || r.Principal.Kind() != identity.KindUser || len(r.Groups) == 0 {
		return nil
	}
	return []option{{Edit{Kind: EditLogin, From: stamp(r.GroupsAt), To: "now", Text: "a new login that tells the same groups"}, func(in *Input) { in.Requester.GroupsAt = in.Now }}}
}

func (c *closer) duration(d time.Duration) option {
	asked := c.asked()
	text := durationText(d) + " instead of " + durationText(asked)
	return option{Edit{Kind: EditDuration, From: durationText(asked), To: durationText(d), Text: text}, func(in *Input) { in.Duration = d }}
}

// durations are the constants of the condition and just beside them, caps, and
// lengths that people use, the longest first: all shorter than what was asked, unless
// that was no duration.
func (c *closer) durations(e *Entitlement, k constants) []option {
	found := []time.Duration{e.Max, e.Default}
	for _, d := range k.durations {
		found = append(found, d-time.Second, d, d+time.Second)
	}
	for _, m := range []int{1, 5, 10, 15, 30, 60, 120, 240, 480} {
		found = append(found, time.Duration(m)*time.Minute)
	}
	asked := c.asked()
	if asked < time.Second || asked%time.Second != 0 {
		asked = e.Max + time.Second
	}
	slices.SortFunc(found, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	var out []option
	for _, d := range slices.Compact(found) {
		if d >= time.Second && d <= e.Max && d < asked && d%time.Second == 0 {
			out = append(out, c.duration(d))
		}
	}
	return out
}

// params are values of one parameter that bound no wider than the one that was given.
func (c *closer) params(of []*Entitlement, p Param, k constants) []option {
	given, has := c.in.Params[p.Name]
	was, err := p.read(given)
	var out []option
	for _, v := range candidates(p, was, k) {
		wider := func(e *Entitlement) bool { return !e.narrows(p, was, v) }
		if has && (v == was || err == nil && slices.ContainsFunc(of, wider)) {
			continue
		}
		if p.check(v) != nil {
			continue
		}
		if back, err := p.read(v.String()); err != nil || back != v {
			continue
		}
		text := fmt.Sprintf("%s=%s", p.Name, v)
		if has {
			text += " instead of " + given
		}
		out = append(out, option{Edit{Kind: EditParam, Name: p.Name, From: given, To: v.String(), Text: text}, func(in *Input) {
			in.Params = orNone(maps.Clone(in.Params))
			in.Params[p.Name] = v.String()
		}})
	}
	return out
}

// candidates are the values of p at which an answer can change, nearest first.
func candidates(p Param, was scope.Value, k constants) []scope.Value {
	var out []scope.Value
	add := func(v scope.Value, err error) {
		if err == nil && !v.IsZero() && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for _, v := range p.Values {
		add(v, nil)
	}
	add(p.Max, nil)
	add(p.Min, nil)
	switch p.Type {
	case scope.TypeInteger, scope.TypeMinorUnits, scope.TypeMoney:
		for _, n := range k.integers {
			for _, m := range []int64{n - 1, n, n + 1} {
				add(amount(p, was, m))
			}
		}
		slices.SortStableFunc(out, func(a, b scope.Value) int {
			return cmp.Compare(distant(a.Int(), was.Int()), distant(b.Int(), was.Int()))
		})
	case scope.TypeBoolean:
		add(scope.Boolean(false), nil)
		add(scope.Boolean(true), nil)
	default:
		for _, text := range k.texts {
			add(parseValue(p.Type, text))
		}
	}
	return out
}

// amount is n in the unit of p; of money that somebody gave, in its currency.
func amount(p Param, was scope.Value, n int64) (scope.Value, error) {
	if p.Type != scope.TypeMoney {
		return parseValue(p.Type, strconv.FormatInt(n, 10))
	}
	m, ok := was.Money()
	if !ok {
		m, ok = p.Max.Money()
	}
	if !ok {
		return scope.Value{}, fmt.Errorf("no currency")
	}
	m.Minor = n
	return scope.OfMoney(m), nil
}

func distant(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b)
}

// narrows reports whether every constraint that p bounds is met by less with the value
// to than with from. Where the values only stand beside each other, as those of is, a
// listed value may be another: it is no wider.
func (e *Entitlement) narrows(p Param, from, to scope.Value) bool {
	for _, r := range e.expanded {
		for _, b := range r.where {
			if !slices.ContainsFunc(b.Values, func(o Operand) bool { return o.Param == p.Name }) {
				continue
			}
			one := scope.Constraint{Attribute: b.Attribute, Comparison: b.Comparison, Values: []scope.Value{from}}
			switch b.Comparison {
			case scope.Max, scope.Min, scope.Under:
				if !one.Satisfied(to) {
					return false
				}
			case scope.Is, scope.In:
			default:
				return false
			}
		}
	}
	return true
}

// acrs are ways to log in that the condition asks for.
func (c *closer) acrs(k constants) []option {
	if c.in.Requester.Principal.Kind() != identity.KindUser {
		return nil
	}
	var out []option
	for _, text := range k.acrs {
		if text == "" || text == c.in.Requester.ACR {
			continue
		}
		out = append(out, option{Edit{Kind: EditACR, From: c.in.Requester.ACR, To: text, Text: "a login with acr " + text}, func(in *Input) { in.Requester.ACR = text }})
	}
	return out
}

// siblings are other entitlements on the app that cover the same operations, those
// with the fewest first.
func (c *closer) siblings(e *Entitlement) []option {
	var names []string
	own := e.Operations()
	for _, ask := range c.set.Ask(e.App) {
		other := c.set.entitlements[ask.Entitlement]
		if other != e && !slices.ContainsFunc(own, func(op string) bool { return !slices.Contains(ask.Operations, op) }) {
			names = append(names, ask.Entitlement)
		}
	}
	return c.named(names)
}

// named are entitlements by name, with the parameters that they share. One that bounds
// less than was asked for is left out: a parameter that it lacks would be gone.
func (c *closer) named(names []string) []option {
	var out []option
	for _, name := range names {
		other, _ := c.set.Terms(name)
		if slices.ContainsFunc(keys(c.in.Params), func(p string) bool { _, ok := other.Param(p); return !ok }) {
			continue
		}
		text := "the entitlement " + name
		if c.in.Entitlement != "" {
			text += " instead of " + c.in.Entitlement
		}
		out = append(out, option{Edit{Kind: EditEntitlement, From: c.in.Entitlement, To: name, Text: text}, func(in *Input) { in.Entitlement = name }})
	}
	return out
}
