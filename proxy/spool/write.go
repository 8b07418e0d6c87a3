package spool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
)

// entry is one record to be written.
type entry struct {
	kind    audit.Type
	subject string
	action  string    // of an intent, an outcome, or what is between them
	until   time.Time // an intent is not written from then on
	opens   bool      // an intent
	closes  bool      // an outcome: its room is reserved
	follows bool      // between an intent and its outcome
	vital   bool      // written even where there is no room
	denial  bool
	watched bool // of a request that passes undecided
	body    any

	mark proxy.Mark // where it went
}

func outcomeEntry(o audit.Outcome) entry {
	return entry{kind: audit.TypeActionOutcome, subject: o.Action, action: o.Action, closes: true, body: o}
}

// The states of a write. A caller that leaves before the writer took its write
// is sure that nothing is written.
const (
	queued int32 = iota
	taken
	answered
	left
)

// write is one record on its way to the disk.
type write struct {
	entry
	durable bool // fsynced before it is answered
	state   atomic.Int32
	answer  chan error
	// done, if there is no answer: called once, by the goroutine that wrote.
	done func(error)
}

func (w *write) take() bool { return w.state.CompareAndSwap(queued, taken) }

func (w *write) leave() bool {
	return w.state.CompareAndSwap(queued, left) || w.state.CompareAndSwap(taken, left)
}

// Intent implements proxy.Journal. When ctx ends first nothing is written, or
// what is written is closed as not_sent.
func (s *Spool) Intent(ctx context.Context, i audit.Intent, durable bool) (proxy.Mark, error) {
	w := &write{
		entry:   entry{kind: audit.TypeActionIntent, subject: i.Grant, action: i.Action, until: i.Deadline.Time, opens: true, body: i},
		durable: durable, answer: make(chan error, 1),
	}
	if err := s.wait(ctx, w); err != nil {
		return proxy.Mark{}, err
	}
	return w.mark, nil
}

// Observed implements proxy.Journal, in every way as Intent does.
func (s *Spool) Observed(ctx context.Context, o audit.Observed, durable bool) error {
	return s.wait(ctx, &write{
		entry:   entry{kind: audit.TypeActionObserved, subject: o.App, action: o.Action, until: o.Deadline.Time, opens: true, watched: true, body: o},
		durable: durable, answer: make(chan error, 1),
	})
}

// Rebound implements proxy.Journal. Frames are written by one goroutine, one after the
// other: none of an action comes after its outcome.
func (s *Spool) Rebound(ctx context.Context, r audit.Rebound, durable bool) error {
	return s.wait(ctx, &write{
		entry:   entry{kind: audit.TypeActionRebound, subject: r.Grant, action: r.Action, follows: true, body: r},
		durable: durable, answer: make(chan error, 1),
	})
}

func (s *Spool) wait(ctx context.Context, w *write) error {
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopped:
		return ErrClosed
	}
	select {
	case err := <-w.answer:
		return err
	case <-ctx.Done():
		if w.leave() {
			return context.Cause(ctx)
		}
		return <-w.answer
	case <-s.stopped:
		if w.leave() {
			return ErrClosed
		}
		return <-w.answer
	}
}

// finish tells the caller what became of its write. If an intent's caller has
// left, nothing is done under it, and the record says so.
func (s *Spool) finish(w *write, err error) {
	switch {
	case w.state.CompareAndSwap(taken, answered):
		if w.done != nil {
			w.done(err)
			return
		}
		w.answer <- err
	case err == nil && w.opens:
		s.outcomes.add(audit.Outcome{Action: w.action, Result: audit.ResultNotSent, Reason: "timeout"})
	}
}

// outcomes are the ones not yet written. Nobody waits for them, and each has an
// open intent, so that there are never more than those.
type outcomes struct {
	bell chan struct{}

	mu   sync.Mutex
	list []audit.Outcome
}

func (o *outcomes) add(some ...audit.Outcome) {
	o.mu.Lock()
	o.list = append(o.list, some...)
	o.mu.Unlock()
	ring(o.bell)
}

func (o *outcomes) take() []audit.Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.list
	o.list = nil
	return out
}

// Outcome implements proxy.Journal. It does not wait for the disk: an outcome
// that finds it full is written when there is room again, and one that is lost
// with the process is unknown at the next start.
func (s *Spool) Outcome(o audit.Outcome) error {
	if err := s.alive(); err != nil {
		return err
	}
	s.outcomes.add(o)
	return nil
}

// alive returns nil while what is handed over will be written.
func (s *Spool) alive() error {
	select {
	case <-s.stopped:
		return ErrClosed
	default:
		return s.failure()
	}
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
