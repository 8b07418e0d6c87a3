package fault

import (
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// tally is what callers, upstreams and record have counted.
type tally struct {
	tried, allowed, denied int // by callers
	intents, arrivals      int
	late, unrecorded, lost int // of which there are to be none
}

func (a tally) less(b tally) tally {
	return tally{
		tried: a.tried - b.tried, allowed: a.allowed - b.allowed, denied: a.denied - b.denied, intents: a.intents - b.intents,
		arrivals: a.arrivals - b.arrivals, late: a.late, unrecorded: a.unrecorded, lost: a.lost,
	}
}

func (a tally) plus(b tally) tally {
	return tally{
		tried: a.tried + b.tried, allowed: a.allowed + b.allowed, denied: a.denied + b.denied, intents: a.intents + b.intents,
		arrivals: a.arrivals + b.arrivals, late: a.late + b.late, unrecorded: a.unrecorded + b.unrecorded, lost: a.lost + b.lost,
	}
}

// sum is what was counted so far, without what only the record tells.
func (d *driver) sum() tally {
	out := tally{arrivals: len(d.arrivals()), intents: len(d.record.Intents)}
	d.mu.Lock()
	defer d.mu.Unlock()
	for lane, n := range d.allowed {
		if lane != "ask" { // of mayflyd
			out.allowed += n
		}
	}
	for what, n := range d.refused {
		if !strings.HasPrefix(what, "ask ") {
			out.denied += n
		}
	}
	out.tried = out.allowed + out.denied
	return out
}

// counts is what each fault came to, over all rounds.
type counts struct {
	mu   sync.Mutex
	rows []*row // in the order in which they first came
}

type row struct {
	fault           string
	times           int
	tally           tally
	longest, resume time.Duration
}

func (c *counts) add(fault string, times int, t tally, took, resume time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.rows {
		if r.fault == fault {
			r.times, r.tally = r.times+times, r.tally.plus(t)
			r.longest, r.resume = max(r.longest, took), max(r.resume, resume)
			return
		}
	}
	c.rows = append(c.rows, &row{fault, times, t, took, resume})
}

// table is for people.
func (c *counts) table() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "fault\ttimes\ttried\tallowed\tdenied\tintents\tarrivals\tafter the end\tunrecorded\tlost\tstep\tworks again after")
	sum := row{fault: "all"}
	for _, r := range c.rows {
		r.print(w)
		sum.times, sum.tally = sum.times+r.times, sum.tally.plus(r.tally)
		sum.longest, sum.resume = max(sum.longest, r.longest), max(sum.resume, r.resume)
	}
	sum.print(w)
	_ = w.Flush()
	return b.String()
}

func (r row) print(w *tabwriter.Writer) {
	t := r.tally
	fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", r.fault, r.times, t.tried, t.allowed, t.denied, t.intents, t.arrivals,
		t.late, t.unrecorded, t.lost, r.longest.Round(time.Millisecond), r.resume.Round(time.Millisecond))
}
