package spool

import (
	"context"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	verbatim   = 10   // denials a second per (peer, reason) that are written one by one
	maxCounted = 4096 // distinct (peer, reason) counted in a second; more share one row
)

// counter says which denials are written and counts the others, a second at a time.
type counter struct {
	mu   sync.Mutex
	rows map[row]*tally
}

type row struct{ peer, code string }

type tally struct {
	written int
	counted uint64
	from    time.Time
}

// take reports whether a denial is among the first of its second.
func (c *counter) take(peer, code string, now time.Time, whole bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally(row{peer, code}, now)
	if whole && t.written < verbatim {
		t.written++
		return true
	}
	t.counted++
	return false
}

// missed counts a denial that should have been written and was not.
func (c *counter) missed(peer, code string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally(row{peer, code}, now).counted++
}

func (c *counter) tally(r row, now time.Time) *tally {
	if c.rows == nil {
		c.rows = map[row]*tally{}
	}
	t, ok := c.rows[r]
	if !ok && len(c.rows) >= maxCounted {
		r = row{code: string(grant.Overloaded)}
		t, ok = c.rows[r]
	}
	if !ok {
		t = &tally{from: now}
		c.rows[r] = t
	}
	return t
}

// drain begins a new second and returns what was only counted in the one before.
func (c *counter) drain(now time.Time) []audit.DeniedCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []audit.DeniedCount
	for r, t := range c.rows {
		if t.counted > 0 {
			out = append(out, audit.DeniedCount{Code: r.code, Peer: r.peer, Count: t.counted, From: audit.At(t.from), To: audit.At(now)})
		}
	}
	c.rows = nil
	return out
}

// Denied implements proxy.Journal.
func (s *Spool) Denied(d audit.Denied) (recorded bool) {
	now := s.c.Now()
	if !s.counts.take(d.Principal, d.Code, now, true) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.put(ctx, &write{entries: []entry{{kind: audit.TypeActionDenied, subject: d.Denial, denial: true, body: d}}})
	if err != nil {
		s.counts.missed(d.Principal, d.Code, now)
	}
	return err == nil
}

// Count implements proxy.Journal.
func (s *Spool) Count(code grant.Reason) { s.counts.take("", string(code), s.c.Now(), false) }

// flushCounts writes one record for each (peer, reason) of the second that has
// passed. What cannot be written is counted again.
func (s *Spool) flushCounts() {
	for _, d := range s.counts.drain(s.c.Now()) {
		w := &write{entries: []entry{{kind: audit.TypeActionDeniedCount, denial: true, body: d}}, done: make(chan error, 1)}
		s.commit([]*write{w})
		if err := <-w.done; err != nil {
			s.c.Log.Warn("counted denials not written", "code", d.Code, "count", d.Count, "error", err)
		}
	}
}
