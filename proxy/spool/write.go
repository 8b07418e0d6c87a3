package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
)

const (
	queueLength = 4096
	maxBatch    = 512
)

// entry is one record to be written.
type entry struct {
	kind    audit.Type
	subject string
	action  string // of an intent or an outcome
	opens   bool   // an intent
	closes  bool   // an outcome
	denial  bool
	body    any

	mark proxy.Mark // where it went
}

// write is a group of records that one caller waits for.
type write struct {
	entries []entry
	durable bool // fsynced before done
	done    chan error
}

// Intent implements proxy.Journal.
func (s *Spool) Intent(ctx context.Context, i audit.Intent, durable bool) (proxy.Mark, error) {
	w := &write{entries: []entry{{kind: audit.TypeActionIntent, subject: i.Grant, action: i.Action, opens: true, body: i}}, durable: durable}
	if err := s.put(ctx, w); err != nil {
		return proxy.Mark{}, err
	}
	return w.entries[0].mark, nil
}

// Outcome implements proxy.Journal.
func (s *Spool) Outcome(o audit.Outcome) error {
	return s.put(context.Background(), &write{entries: []entry{{
		kind: audit.TypeActionOutcome, subject: o.Action, action: o.Action, closes: true, body: o,
	}}})
}

// put queues w and waits for it. When ctx ends first, an intent may still be
// written: the caller does not act on it, and its outcome says so on restart or
// by the sweep.
func (s *Spool) put(ctx context.Context, w *write) error {
	w.done = make(chan error, 1)
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopped:
		return errors.New("spool: closed")
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return s.abandon(w, context.Cause(ctx))
	case <-s.stopped:
		select {
		case err := <-w.done:
			return err
		default:
			return errors.New("spool: closed")
		}
	}
}

// abandon closes, when it has been written, an intent whose caller went away.
func (s *Spool) abandon(w *write, cause error) error {
	go func() {
		select {
		case err := <-w.done:
			if err == nil && w.entries[0].opens {
				_ = s.Outcome(audit.Outcome{Action: w.entries[0].action, Result: audit.ResultNotSent, Reason: "timeout"})
			}
		case <-s.stopped:
		}
	}()
	return cause
}

// writeLoop commits what is queued, many callers at a time.
func (s *Spool) writeLoop(ctx context.Context) {
	defer close(s.stopped)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case w := <-s.queue:
			s.commit(s.gather(w))
		case <-tick.C:
			s.flushCounts()
		case <-ctx.Done():
			s.flushCounts()
			for {
				select {
				case w := <-s.queue:
					s.commit(s.gather(w))
				default:
					return
				}
			}
		}
	}
}

func (s *Spool) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case w := <-s.queue:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch with one write and, if any of it is durable, one fsync,
// and tells each caller.
func (s *Spool) commit(batch []*write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	durable := false
	for i, w := range batch {
		err := s.append(w)
		if err != nil {
			w.done <- err
			batch[i] = nil
			continue
		}
		durable = durable || w.durable
	}
	var err error
	if durable && s.broken == nil {
		if serr := s.active.Sync(); serr != nil {
			err = s.fail(serr)
		}
	}
	for _, w := range batch {
		if w != nil {
			w.done <- err
		}
	}
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// append writes the records of one caller, all or none.
func (s *Spool) append(w *write) error {
	if s.broken != nil {
		return s.broken
	}
	if s.files[len(s.files)-1].full() {
		if err := s.newFile(); err != nil {
			return err
		}
	}
	frames, head, next := []byte(nil), s.head, s.next
	for i := range w.entries {
		e := &w.entries[i]
		record, err := audit.Encode(audit.Record{
			ID: s.c.Minter.NewRecordID(s.c.Now()).String(), Type: e.kind, Time: s.c.Now(), Node: s.c.Node, Seq: next, Subject: e.subject, Body: e.body,
		})
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if frames, head, err = audit.AppendFrame(frames, head, record); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		e.mark = proxy.Mark{Spool: s.id, Seq: next, Frame: head}
		next++
	}
	if err := s.room(w, int64(len(frames))); err != nil {
		return err
	}
	if err := s.writeFrames(frames); err != nil {
		return err
	}
	s.wrote(w, int64(len(frames)), head, next)
	return nil
}

// room keeps, for every open intent, space for its outcome; and for denials at
// most a fifth of the whole (contracts §5).
func (s *Spool) room(w *write, n int64) error {
	reserved := int64(len(s.open)) * outcomeRoom
	for _, e := range w.entries {
		switch {
		case e.closes:
			return nil // its room is reserved
		case e.denial && s.denied+n > s.c.Limit/5:
			return ErrFull
		case e.opens:
			reserved += outcomeRoom
		}
	}
	if s.used+n+reserved > s.c.Limit {
		return ErrFull
	}
	return nil
}

// writeFrames writes whole frames or cuts off what was written of them.
func (s *Spool) writeFrames(b []byte) error {
	f := s.files[len(s.files)-1]
	if _, err := s.active.Write(b); err != nil {
		if terr := s.active.Truncate(f.size); terr != nil {
			return s.fail(errors.Join(err, terr))
		}
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

func (s *Spool) wrote(w *write, n int64, head audit.Hash, next uint64) {
	f := s.files[len(s.files)-1]
	f.size, f.count = f.size+n, f.count+next-s.next
	s.used, s.head, s.next = s.used+n, head, next
	for _, e := range w.entries {
		switch {
		case e.opens:
			s.open[e.action] = f
			f.open++
		case e.closes:
			s.closed(e.action)
		case e.denial:
			s.denied += n
		}
	}
}

// fail makes the spool refuse everything from now on.
func (s *Spool) fail(err error) error {
	s.broken = fmt.Errorf("%w: %w", ErrBroken, err)
	s.c.Log.Error("spool broken", "error", err)
	return s.broken
}
