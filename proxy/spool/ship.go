package spool

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
)

const (
	shipEvery   = time.Second
	shipBytes   = 1 << 20
	shipRetry   = 250 * time.Millisecond
	shipTimeout = 10 * time.Second
)

// shipLoop ships at least once a second while there is something, and at once
// when a segment is full.
func (s *Spool) shipLoop(ctx context.Context) {
	tick := time.NewTicker(shipEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
			if s.Pending() < fileRecords/4 {
				if !pause(ctx, shipRetry) { // let a group gather
					return
				}
			}
		case <-tick.C:
		}
		if err := s.shipAll(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.WarnContext(ctx, "segment not shipped, tried again", "error", err)
		}
	}
}

// Ship ships everything that is on disk now. The sidecar calls it before it serves.
func (s *Spool) Ship(ctx context.Context) error { return s.shipAll(ctx) }

func (s *Spool) shipAll(ctx context.Context) error {
	for {
		seg, ok, err := s.segment()
		if err != nil || !ok {
			return err
		}
		one, cancel := context.WithTimeout(ctx, shipTimeout)
		next, err := s.c.Ship(one, seg)
		cancel()
		if err != nil {
			return err
		}
		if err := s.advance(next); err != nil {
			return err
		}
	}
}

// segment makes the next segment out of one file, of frames that are fsynced:
// what mayflyd has, a crash must not take from us.
func (s *Spool) segment() (audit.Segment, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return audit.Segment{}, false, s.broken
	}
	for i, f := range s.files {
		if f.count == 0 || f.last() < s.shipped {
			continue
		}
		if i == len(s.files)-1 {
			if err := s.active.Sync(); err != nil {
				return audit.Segment{}, false, s.fail(err)
			}
		}
		b, err := readRange(f.path, 0, f.size)
		if err != nil {
			return audit.Segment{}, false, fmt.Errorf("spool: %w", err)
		}
		seg, err := cutSegment(s.id, f, b, s.shipped)
		return seg, err == nil, err
	}
	return audit.Segment{}, false, nil
}

// cutSegment takes the frames from seq first on out of a file's bytes.
func cutSegment(id string, f *file, b []byte, first uint64) (audit.Segment, error) {
	prev, seq, at := f.prev, f.first, 0
	for seq < first {
		frame, err := audit.NextFrame(b[at:])
		if err != nil {
			return audit.Segment{}, fmt.Errorf("spool: %s: %w", f.path, err)
		}
		prev, seq, at = frame.SHA256(), seq+1, at+frame.Size
	}
	end := at
	for n := 0; end < len(b) && n < audit.MaxSegmentRecords && end-at < shipBytes; n++ {
		frame, err := audit.NextFrame(b[end:])
		if err != nil {
			return audit.Segment{}, fmt.Errorf("spool: %s: %w", f.path, err)
		}
		end += frame.Size
	}
	return audit.NewSegment(id, prev, seq, b[at:end])
}

// advance notes what mayflyd has and removes files that nobody needs any more.
func (s *Spool) advance(next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case next > s.next:
		return fmt.Errorf("spool: mayflyd has seq %d of spool %s, which ends at %d here: frames were lost on this disk", next-1, s.id, s.next-1)
	case next < s.files[0].first:
		return fmt.Errorf("spool: mayflyd wants seq %d of spool %s, which begins at %d here: mayflyd was set back", next, s.id, s.files[0].first)
	case next <= s.shipped:
		return fmt.Errorf("spool: mayflyd wants seq %d of spool %s again: it took nothing", next, s.id)
	}
	s.shipped = next
	s.denied = 0
	for len(s.files) > 1 && s.files[0].last() < s.shipped && s.files[0].open == 0 {
		f := s.files[0]
		if err := os.Remove(f.path); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		s.used -= f.size
		s.files = s.files[1:]
	}
	return nil
}

// pause waits, and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
