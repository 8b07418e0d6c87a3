package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
)

const (
	shipEvery   = time.Second
	shipGather  = 250 * time.Millisecond
	shipBytes   = 1 << 20
	shipTimeout = 10 * time.Second
)

// shipLoop ships at least once a second while there is something, and sooner
// when there is much.
func (s *Spool) shipLoop(ctx context.Context) {
	tick := time.NewTicker(shipEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
			if s.Pending() < fileRecords/4 && !pause(ctx, shipGather) {
				return
			}
		case <-tick.C:
		}
		if err := s.shipAll(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.WarnContext(ctx, "segment not shipped, tried again", "error", err)
			if !pause(ctx, shipEvery) {
				return
			}
		}
	}
}

// Ship ships everything that is on disk now. The sidecar calls it before it serves.
func (s *Spool) Ship(ctx context.Context) error { return s.shipAll(ctx) }

func (s *Spool) shipAll(ctx context.Context) error {
	s.shipping.Lock()
	defer s.shipping.Unlock()
	for {
		seg, ok, err := s.segment()
		if err != nil || !ok {
			return err
		}
		one, cancel := context.WithTimeout(ctx, shipTimeout)
		next, err := s.c.Ship(one, seg)
		cancel()
		if errors.Is(err, ErrRefused) {
			// What is written from here on would never be on the record: the action
			// does not happen (P5).
			return s.fail(err)
		}
		if err != nil {
			return err
		}
		if err := s.advance(seg, next); err != nil {
			return err
		}
		if err := s.removeShipped(); err != nil {
			return err
		}
	}
}

// segment makes the next segment out of one file, of frames that are fsynced:
// what mayflyd has, a crash must not take from us.
func (s *Spool) segment() (audit.Segment, bool, error) {
	f, first, active, ok := s.unshipped()
	if !ok {
		return audit.Segment{}, false, nil
	}
	if active {
		if err := s.sync(); err != nil {
			return audit.Segment{}, false, err
		}
	}
	b, err := readBegin(f.path, f.size)
	if err != nil {
		return audit.Segment{}, false, fmt.Errorf("spool: %w", err)
	}
	seg, err := cutSegment(s.id, f, b, first)
	return seg, err == nil, err
}

// unshipped returns the oldest file with frames to ship as it is now, the seq
// from which on, and whether it may still hold frames that are not fsynced.
func (s *Spool) unshipped() (f file, first uint64, active, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.files {
		if f.count > 0 && f.last() >= s.shipped {
			return *f, s.shipped, i == len(s.files)-1, true
		}
	}
	return file{}, 0, false, false
}

// cutSegment takes the frames from seq first on out of a file's bytes.
func cutSegment(id string, f file, b []byte, first uint64) (audit.Segment, error) {
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

// advance notes what mayflyd has after seg. After a lost reply, or a restart, it
// has more than seg begins with; one that has less is told again from there.
func (s *Spool) advance(seg audit.Segment, next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case next > s.next:
		return fmt.Errorf("spool: mayflyd has seq %d of spool %s, which ends at %d here: frames were lost on this disk. Move the folder away to begin a new spool; the loss stays on record", next-1, s.id, s.next-1)
	case next < s.files[0].first:
		return fmt.Errorf("spool: mayflyd wants seq %d of spool %s, which begins at %d here: mayflyd was set back", next, s.id, s.files[0].first)
	case next <= seg.First:
		s.shipped = next
		return fmt.Errorf("spool: mayflyd wants seq %d of spool %s and took nothing of %d to %d", next, s.id, seg.First, seg.Last)
	}
	s.shipped = next
	return nil
}

// removeShipped removes the files that nobody needs any more, oldest first. A
// frame that mayflyd has always stays: the next start takes the chain from it.
func (s *Spool) removeShipped() error {
	for {
		f, ok := s.removable()
		if !ok {
			return nil
		}
		if err := os.Remove(f.path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("spool: %w", err)
		}
		s.mu.Lock()
		s.used -= f.size
		s.files = s.files[1:]
		s.mu.Unlock()
	}
}

func (s *Spool) removable() (*file, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := len(s.files) > 1 && s.files[0].open == 0 && s.shipped > s.files[1].first
	return s.files[0], ok
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
