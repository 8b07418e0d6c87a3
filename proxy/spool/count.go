package spool

import (
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

const (
	verbatim   = 10   // denials a second per (peer, reason) that are written one by one
	maxCounted = 4096 // distinct (peer, reason) in a second; the others share one row a reason
	others     = "*"  // the peers of a shared row
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
func (c *counter) take(peer, code string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally(row{peer, code}, now)
	if t.written < verbatim {
		t.written++
		return true
	}
	t.counted++
	return false
}

// add counts denials that are not written.
func (c *counter) add(peer, code string, n uint64, from time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally(row{peer, code}, from)
	t.counted += n
	if from.Before(t.from) {
		t.from = from
	}
}

func (c *counter) tally(r row, now time.Time) *tally {
	if c.rows == nil {
		c.rows = map[row]*tally{}
	}
	t, ok := c.rows[r]
	if !ok && len(c.rows) >= maxCounted {
		r.peer = others
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

// Denied implements proxy.Journal. It does not wait for the disk.
func (s *Spool) Denied(d audit.Denied) (recorded bool) {
	now := s.now()
	if !s.counts.take(d.Principal, d.Code, now) {
		return false
	}
	missed := func(err error) {
		if err != nil {
			s.counts.add(d.Principal, d.Code, 1, now)
		}
	}
	w := &write{entry: entry{kind: audit.TypeActionDenied, subject: d.Denial, denial: true, body: d}, done: missed}
	if err := s.roomFor(&w.entry); err != nil {
		missed(err)
		return false
	}
	select {
	case s.queue <- w:
		return true
	default:
		missed(ErrFull)
		return false
	}
}

// roomFor reports whether a record of ordinary size would be written now.
func (s *Spool) roomFor(e *entry) error {
	const ordinary = 2 << 10
	if err := s.alive(); err != nil {
		return err
	}
	return s.room(e, ordinary)
}

// Count implements proxy.Journal.
func (s *Spool) Count(code grant.Reason) { s.counts.add("", string(code), 1, s.now()) }

// flushCounts writes one record for each (peer, reason) of the second that has
// passed. What cannot be written is counted on.
func (s *Spool) flushCounts() {
	for _, d := range s.counts.drain(s.now()) {
		if err := s.append(&entry{kind: audit.TypeActionDeniedCount, denial: true, body: d}); err != nil {
			s.counts.add(d.Peer, d.Code, d.Count, d.From.Time)
		}
	}
	ring(s.bell)
}
