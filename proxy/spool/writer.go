package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
)

const (
	queueLength = 4096
	maxBatch    = 512

	// outcomeRoom is kept free for the outcome of each open intent.
	outcomeRoom = 1 << 10
)

// writeLoop writes what is queued, and hands what must be durable to syncLoop.
func (s *Spool) writeLoop(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case w := <-s.queue:
			s.commit(w)
		case <-s.outcomes.bell:
			s.writeOutcomes()
		case <-tick.C:
			s.flushCounts()
			s.writeOutcomes() // those that found the disk full
		case <-ctx.Done():
			s.drain()
			return
		}
	}
}

// drain writes what is left.
func (s *Spool) drain() {
	for {
		select {
		case w := <-s.queue:
			s.commit(w)
		default:
			s.flushCounts()
			s.writeOutcomes()
			return
		}
	}
}

// commit writes a batch. What need not be durable is answered at once, the rest
// when one sync has covered it.
func (s *Spool) commit(w *write) {
	var durable []*write
	for range maxBatch {
		if w.take() {
			err := s.append(&w.entry)
			if err == nil && w.durable {
				durable = append(durable, w)
			} else {
				s.finish(w, err)
			}
		}
		select {
		case w = <-s.queue:
			continue
		default:
		}
		break
	}
	s.unsynced.add(durable)
	ring(s.bell)
}

// writeOutcomes writes the outcomes that wait. Those that find the disk full
// wait on; the next tick tries them again.
func (s *Spool) writeOutcomes() {
	var again []audit.Outcome
	for _, o := range s.outcomes.take() {
		e := outcomeEntry(o)
		switch err := s.append(&e); {
		case err == nil:
		case errors.Is(err, ErrBroken), errors.Is(err, ErrNoIntent), !retried(err):
			s.c.Log.Error("outcome not written", "action", o.Action, "error", err)
		default:
			again = append(again, o)
		}
	}
	if len(again) > 0 {
		s.c.Log.Error("outcomes not written yet", "number", len(again))
		s.outcomes.mu.Lock()
		s.outcomes.list = append(again, s.outcomes.list...)
		s.outcomes.mu.Unlock()
	}
	ring(s.bell)
}

// retried reports whether a write that failed so may succeed later: an encoding
// error stays, one of the disk may not.
func retried(err error) bool { return errors.Is(err, errDisk) }

var errDisk = errors.New("disk")

// append writes one record, whole or not at all. The writer calls it, or Open.
func (s *Spool) append(e *entry) error {
	f, err := s.prepare()
	if err != nil {
		return err
	}
	now := s.now()
	if e.opens && !e.until.IsZero() && !now.Before(e.until) {
		return ErrLate
	}
	record, err := audit.Encode(audit.Record{
		ID: s.c.Minter.NewRecordID(now).String(), Type: e.kind, Time: now, Node: s.c.Node, Seq: s.next, Subject: e.subject, Body: e.body,
	})
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	frame, head, err := audit.AppendFrame(nil, s.head, record)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := s.room(e, int64(len(frame))); err != nil {
		return err
	}
	if err := s.writeFrame(f, frame); err != nil {
		return err
	}
	e.mark = proxy.Mark{Spool: s.id, Seq: s.next, Frame: head}
	s.wrote(e, f, int64(len(frame)), head)
	return nil
}

// prepare returns the file that takes the next frame.
func (s *Spool) prepare() (*file, error) {
	f, err := s.tail()
	if err != nil || !s.full(f) {
		return f, err
	}
	if err := s.rotate(); err != nil {
		return nil, errors.Join(errDisk, err)
	}
	return s.tail()
}

func (s *Spool) tail() (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[len(s.files)-1], s.broken
}

// room keeps, for every open intent, space for its outcome; for denials at most a fifth
// of the whole (contracts §5), and for what passes undecided at most half: whoever has a
// certificate can cause that, and apps that are enforced go on.
func (s *Spool) room(e *entry, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closes {
		if _, ok := s.open[e.action]; !ok {
			return ErrNoIntent
		}
		return nil
	}
	if e.vital {
		return nil
	}
	if _, ok := s.open[e.action]; e.follows && !ok {
		return ErrNoIntent
	}
	reserved := int64(len(s.open)) * outcomeRoom
	if e.opens {
		reserved += outcomeRoom
	}
	if e.watched && s.watched()+n+outcomeRoom > s.c.Limit/2 {
		return ErrFull
	}
	if e.denial && s.denied()+n > s.c.Limit/5 || s.used+n+reserved > s.c.Limit {
		return ErrFull
	}
	return nil
}

// denied returns the bytes of denials on disk. The caller holds mu.
func (s *Spool) denied() (n int64) {
	for _, f := range s.files {
		n += f.denied
	}
	return n
}

// watched returns the bytes of what passed undecided. The caller holds mu.
func (s *Spool) watched() (n int64) {
	for _, f := range s.files {
		n += f.watched
	}
	return n
}

// writeFrame writes a whole frame or cuts off what was written of it.
func (s *Spool) writeFrame(f *file, b []byte) error {
	if _, err := s.active.Write(b); err != nil {
		if terr := s.active.Truncate(f.size); terr != nil {
			return s.fail(errors.Join(err, terr))
		}
		return fmt.Errorf("spool: %w: %w", errDisk, err)
	}
	return nil
}

func (s *Spool) wrote(e *entry, f *file, n int64, head audit.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.size, f.count = f.size+n, f.count+1
	s.used, s.head, s.next = s.used+n, head, s.next+1
	switch {
	case e.opens:
		s.open[e.action] = f
		f.open++
		if e.watched {
			f.watched += n + outcomeRoom
		}
	case e.closes:
		s.closed(e.action)
	case e.denial:
		f.denied += n
	}
}

// unsynced are the writes whose callers wait for the next sync.
type unsynced struct {
	bell chan struct{}

	mu   sync.Mutex
	list []*write
}

func (u *unsynced) add(some []*write) {
	if len(some) == 0 {
		return
	}
	u.mu.Lock()
	u.list = append(u.list, some...)
	u.mu.Unlock()
	ring(u.bell)
}

func (u *unsynced) take() []*write {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.list
	u.list = nil
	return out
}

// syncLoop makes durable what came together while the sync before was running:
// one sync for all of it. It ends after the writer.
func (s *Spool) syncLoop(written <-chan struct{}) {
	for {
		select {
		case <-s.unsynced.bell:
			s.syncWaiting()
		case <-written:
			s.syncWaiting()
			return
		}
	}
}

func (s *Spool) syncWaiting() {
	group := s.unsynced.take()
	if len(group) == 0 {
		return
	}
	err := s.sync()
	for _, w := range group {
		s.finish(w, err)
	}
}
