package policy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/operators"
)

// domain is what one variable can be, as far as that is known: a number between two
// bounds, or a text. It may hold what can never be, and leaves out nothing that can.
type domain struct {
	number    bool
	duration  bool  // a number of nanoseconds
	low, high int64 // of a number

	listed   bool            // a text is one of those under allowed
	allowed  map[string]bool // of a text
	fits     func(string) bool
	prefixes []string // that a text has
	without  []string // prefixes that it has not

	not map[value]bool
}

func oneOf(texts ...string) domain {
	d := domain{listed: true, allowed: map[string]bool{}}
	for _, t := range texts {
		d.allowed[t] = true
	}
	return d
}

func (d domain) clone() domain {
	d.allowed, d.not = maps.Clone(d.allowed), map[value]bool{}
	d.prefixes, d.without = slices.Clone(d.prefixes), slices.Clone(d.without)
	return d
}

// narrow keeps what the comparison with values, or its denial, leaves.
func (d *domain) narrow(op string, values []value, is bool) {
	if !is && negated(op) != "" {
		op, is = negated(op), true
	}
	switch op {
	case operators.Equals:
		d.keep(values)
	case operators.NotEquals:
		d.drop(values)
	case operators.In:
		if is {
			d.keep(values)
		} else {
			d.drop(values)
		}
	case "startsWith":
		if is {
			d.prefixes = append(d.prefixes, values[0].text)
		} else {
			d.without = append(d.without, values[0].text)
		}
	default:
		d.bound(op, values[0].number)
	}
}

// negated returns the comparison that holds exactly when op does not, "" for none.
func negated(op string) string {
	return map[string]string{
		operators.Equals: operators.NotEquals, operators.NotEquals: operators.Equals, operators.Less: operators.GreaterEquals,
		operators.LessEquals: operators.Greater, operators.Greater: operators.LessEquals, operators.GreaterEquals: operators.Less,
	}[op]
}

// flipped returns the comparison that says of b and a what op says of a and b.
func flipped(op string) string {
	turned := map[string]string{
		operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
		operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
	}
	return cmp.Or(turned[op], op)
}

func (d *domain) drop(values []value) {
	for _, v := range values {
		d.not[v] = true
	}
}

func (d *domain) keep(values []value) {
	if d.number {
		low, high := int64(1), int64(0) // nothing
		for i, v := range values {
			if i == 0 {
				low, high = v.number, v.number
			}
			low, high = min(low, v.number), max(high, v.number)
		}
		d.low, d.high = max(d.low, low), min(d.high, high)
		return
	}
	was, listed := d.allowed, d.listed
	d.allowed, d.listed = map[string]bool{}, true
	for _, v := range values {
		if !listed || was[v.text] {
			d.allowed[v.text] = true
		}
	}
}

func (d *domain) bound(op string, v int64) {
	switch {
	case op == operators.LessEquals:
		d.high = min(d.high, v)
	case op == operators.GreaterEquals:
		d.low = max(d.low, v)
	case op == operators.Less && v > d.low:
		d.high = min(d.high, v-1)
	case op == operators.Greater && v < d.high:
		d.low = max(d.low, v+1)
	default: // below the lowest, or above the highest
		d.low, d.high = 1, 0
	}
}

// empty reports whether surely nothing is left.
func (d domain) empty() bool {
	switch {
	case d.number:
		return d.low > d.high || d.low == d.high && d.not[value{number: d.low}]
	case d.listed:
		for text := range d.allowed {
			if d.may(text) {
				return false
			}
		}
		return true
	default:
		longest := ""
		for _, p := range d.prefixes {
			if len(p) > len(longest) {
				longest = p
			}
		}
		return slices.ContainsFunc(d.prefixes, func(p string) bool { return !strings.HasPrefix(longest, p) }) ||
			slices.ContainsFunc(d.without, func(p string) bool { return strings.HasPrefix(longest, p) })
	}
}

func (d domain) may(text string) bool {
	return !d.not[value{text: text, isText: true}] && (d.fits == nil || d.fits(text)) &&
		!slices.ContainsFunc(d.prefixes, func(p string) bool { return !strings.HasPrefix(text, p) }) &&
		!slices.ContainsFunc(d.without, func(p string) bool { return strings.HasPrefix(text, p) })
}

// words says what d is before anything narrowed it, "" if anything.
func (d domain) words() string {
	switch {
	case d.duration:
		return "from " + durationText(time.Duration(d.low)) + " to " + durationText(time.Duration(d.high))
	case d.number && d.low > -1<<63 && d.high < 1<<63-1:
		return "from " + strconv.FormatInt(d.low, 10) + " to " + strconv.FormatInt(d.high, 10)
	case d.number && d.low > -1<<63:
		return "at least " + strconv.FormatInt(d.low, 10)
	case d.number && d.high < 1<<63-1:
		return "at most " + strconv.FormatInt(d.high, 10)
	case d.listed:
		return strings.Join(keys(d.allowed), " or ")
	default:
		return ""
	}
}
