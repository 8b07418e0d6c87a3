package console

import (
	"slices"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

// timeline is a trace as a picture: along it from left to right what was asked
// and decided, the time of the grant, and each action. Places are shares of the
// width, so that it fits any screen; the table beside it says the same in words.
type timeline struct {
	Label  string // for those who cannot see it
	Asked  []mark
	Bar    *bar
	Ticks  []mark
	Axis   []axisMark
	Now    string // where now is, "" if it is not in the picture
	Action bool   // there are actions to show
}

// Has reports whether a mark of that kind is drawn: the legend names no other.
func (t *timeline) Has(kind string) bool {
	is := func(m mark) bool { return m.Kind == kind }
	return slices.ContainsFunc(t.Asked, is) || slices.ContainsFunc(t.Ticks, is)
}

// mark is one point in time. X is a share such as 12.50%.
type mark struct {
	X, Kind, Title string
}

// bar is the time of a grant: to its end, and as far as it would have gone.
type bar struct {
	X, Width         string
	RestX, RestWidth string // "" if it was not ended early
	EndX, End        string // how it ended, in words; "" while it lives
	Title            string
}

type axisMark struct {
	X, Text string
	Anchor  string // start, middle or end
}

// scale places instants between the first and the last.
type scale struct{ from, to time.Time }

func (s scale) share(t time.Time) float64 {
	const margin = 1.5
	whole := s.to.Sub(s.from)
	if whole <= 0 {
		return margin
	}
	part := float64(t.Sub(s.from)) / float64(whole)
	return margin + min(max(part, 0), 1)*(100-2*margin)
}

func (s scale) x(t time.Time) string { return percent(s.share(t)) }

func (s scale) width(from, to time.Time) string {
	return percent(max(s.share(to)-s.share(from), 0.4)) // a short one is seen too
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }

// timelineOf draws what has at least one record. Of a lone denial there is nothing
// to see: nil.
func timelineOf(t access.Trace, records []told, results map[string]string, now time.Time) *timeline {
	if len(records) == 0 || t.Request == nil && t.Grant == nil {
		return nil
	}
	s := span(t, records, now)
	out := &timeline{Label: "Timeline from " + precise(s.from).Text + " to " + precise(s.to).Text}
	for _, r := range records {
		at := precise(r.Record.Time).Text
		if kind := askedKind(r); kind != "" {
			what, more := words(r.Record.Type, r.detail)
			out.Asked = append(out.Asked, mark{s.x(r.Record.Time), kind, list(what, more) + ", " + at})
		}
		if r.isTry() {
			result := results[r.detail["action"]]
			out.Ticks = append(out.Ticks, mark{s.x(r.Record.Time), result, r.detail["operation"] + ": " + resultWord(result) + ", " + at})
		}
	}
	out.Action = len(out.Ticks) > 0
	if t.Grant != nil {
		out.Bar = barOf(t.Grant.Grant, s, now)
	}
	if !now.Before(s.from) && now.Before(s.to) {
		out.Now = s.x(now)
	}
	out.Axis = axis(s)
	return out
}

// span is from the first record to the last, and to the end that a grant or a
// request still has before it.
func span(t access.Trace, records []told, now time.Time) scale {
	s := scale{records[0].Record.Time, records[len(records)-1].Record.Time}
	later := func(t time.Time) {
		if t.After(s.to) {
			s.to = t
		}
	}
	if t.Grant != nil {
		later(t.Grant.NotAfter)
	}
	if t.Request != nil && t.Request.State == access.Pending {
		later(t.Request.DecideBy)
		later(now)
	}
	return s
}

// askedKind is how a record of the request's lane is drawn, "" for another lane's.
func askedKind(r told) string {
	switch r.Record.Type {
	case audit.TypeRequestCreated:
		return "asked"
	case audit.TypeDecisionMade:
		return "decision"
	case audit.TypeApprovalGiven:
		return "approval"
	case audit.TypeRequestDenied, audit.TypeRequestWithdrawn, audit.TypeRequestExpired:
		return "no"
	default:
		return ""
	}
}

func barOf(g grant.Grant, s scale, now time.Time) *bar {
	ends := g.EndsAt()
	out := &bar{X: s.x(g.NotBefore), Width: s.width(g.NotBefore, ends), Title: "Access from " + precise(g.NotBefore).Text + " to " + precise(ends).Text}
	if ends.Before(g.NotAfter) {
		out.RestX, out.RestWidth = s.x(ends), s.width(ends, g.NotAfter)
	}
	if !now.Before(ends) {
		out.EndX, out.End = s.x(ends), endWords(g)
	}
	return out
}

// axis marks round times, at most six.
func axis(s scale) []axisMark {
	whole := s.to.Sub(s.from)
	step := 24 * time.Hour
	for _, d := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 12 * time.Hour,
	} {
		if whole/d <= 5 {
			step = d
			break
		}
	}
	form := "15:04"
	if step < time.Minute {
		form = "15:04:05"
	}
	var out []axisMark
	for t := s.from.UTC().Truncate(step); !t.After(s.to) && len(out) < 12; t = t.Add(step) {
		if t.Before(s.from) {
			continue
		}
		anchor := "middle"
		switch share := s.share(t); {
		case share < 6:
			anchor = "start"
		case share > 94:
			anchor = "end"
		}
		out = append(out, axisMark{s.x(t), t.Format(form), anchor})
	}
	return out
}
