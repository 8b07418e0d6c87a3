package access

import (
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/feed"
)

// maxHeard is how many heads of one spool are remembered: two minutes of Pings.
const maxHeard = 120

// maxSpools bounds how many spools are remembered.
const maxSpools = 4096

// spoolBook remembers what instances said of their spools, so that records which
// were said to exist and never came are named (contracts §5). It is memory only:
// after a restart of mayflyd the next Pings fill it. The zero value is ready.
type spoolBook struct {
	mu    sync.Mutex
	heads map[string]*heardSpool
}

type heardSpool struct {
	instance feed.Instance
	marks    []heardHead // by seq, oldest first
}

type heardHead struct {
	seq uint64
	at  time.Time
}

// heard notes the spool heads of a batch of Pings.
func (b *spoolBook) heard(beats []feed.Beat, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.heads == nil {
		b.heads = map[string]*heardSpool{}
	}
	for _, beat := range beats {
		for _, s := range beat.Ping.GetSpools() {
			b.note(beat.Instance, s, at)
		}
	}
}

func (b *spoolBook) note(i feed.Instance, s *feed.SpoolHead, at time.Time) {
	if _, err := parseSpoolID(s.GetSpool()); err != nil {
		return
	}
	h := b.heads[s.GetSpool()]
	if h == nil && len(b.heads) >= maxSpools {
		return
	}
	if h == nil {
		h = &heardSpool{}
		b.heads[s.GetSpool()] = h
	}
	h.instance = i
	if n := len(h.marks); n > 0 && h.marks[n-1].seq >= s.GetSeq() {
		return
	}
	h.marks = append(h.marks, heardHead{s.GetSeq(), at})
	if len(h.marks) > maxHeard {
		h.marks = h.marks[1:]
	}
}

// missing returns the highest seq that was said to exist although the spool's
// next seq here is next, by whom, and since when; ok is false if nothing is missing.
func (b *spoolBook) missing(spool string, next uint64) (m MissingRecords, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.heads[spool]
	if h == nil {
		return MissingRecords{}, false
	}
	for _, mark := range h.marks {
		if mark.seq < next {
			continue
		}
		last := h.marks[len(h.marks)-1].seq
		return MissingRecords{Spool: spool, Instance: h.instance, First: next, Last: last, Since: mark.at}, true
	}
	return MissingRecords{}, false
}

func (b *spoolBook) spools() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]string, 0, len(b.heads))
	for s := range b.heads {
		out = append(out, s)
	}
	return out
}

// MissingRecords are records that an instance said its spool holds and that have
// not arrived since then.
type MissingRecords struct {
	Spool       string
	Instance    feed.Instance
	First, Last uint64
	Since       time.Time
}
