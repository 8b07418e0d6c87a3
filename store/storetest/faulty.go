package storetest

import (
	"context"
	"errors"
	"sync"

	"github.com/mayflyproxy/mayfly/access"
)

// Calls says which calls of a store a Fault meets.
type Calls uint8

// The calls.
const (
	Updates Calls = 1 << iota
	Views
	All = Updates | Views
)

// Point says where in its call a Fault strikes.
type Point uint8

// The points.
const (
	// Before the transaction begins: f does not run, nothing changes.
	Before Point = iota
	// Within the transaction, after f ran without an error: the head row's lock
	// is held while the call blocks, and an error rolls back.
	Within
	// After the transaction: the change is durable, but the caller is not told.
	After
)

// Fault is what happens to calls until the store is healed.
// Fault{Calls: All, Err: err} fails every call before anything is done, and
// Fault{Calls: All} blocks every call there. The zero value meets no call.
type Fault struct {
	Calls Calls
	At    Point
	// Err is what the call returns; nil blocks it instead. A blocked call goes on
	// as if nothing had happened when the store is healed.
	Err error
	// Deaf keeps a blocked call blocked when its context ends, as a stuck disk
	// does. Otherwise it returns the context's error.
	Deaf bool
	// Times is how many calls are met; 0 is all.
	Times int
}

// Faulty is a store whose calls fail or block on demand, and are otherwise those
// of the store that it wraps. It is safe for concurrent use. Make it with
// NewFaulty.
type Faulty struct {
	store access.Store

	mu      sync.Mutex
	fault   Fault
	met     int
	healed  chan struct{} // closed by Heal
	waiting int
	changed chan struct{} // closed and remade when waiting changes
}

var _ access.Store = (*Faulty)(nil)

// NewFaulty wraps a store. Nothing fails until Inject is called.
func NewFaulty(s access.Store) *Faulty {
	healed := make(chan struct{})
	close(healed)
	return &Faulty{store: s, healed: healed, changed: make(chan struct{})}
}

// Inject lets calls that begin from now on meet f, until Heal or the next Inject,
// either of which frees the calls that are blocked.
func (s *Faulty) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
	s.fault, s.met, s.healed = f, 0, make(chan struct{})
}

// Heal ends the fault and frees the calls that are blocked.
func (s *Faulty) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
	s.fault = Fault{}
}

func (s *Faulty) free() {
	select {
	case <-s.healed:
	default:
		close(s.healed)
	}
}

// Blocked waits until at least n calls are blocked, or ctx ends.
func (s *Faulty) Blocked(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		waiting, changed := s.waiting, s.changed
		s.mu.Unlock()
		if waiting >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Update implements access.Store.
func (s *Faulty) Update(ctx context.Context, f func(access.Tx) error) error {
	return s.call(ctx, Updates, s.store.Update, f)
}

// View implements access.Store.
func (s *Faulty) View(ctx context.Context, f func(access.Tx) error) error {
	return s.call(ctx, Views, s.store.View, f)
}

type transact func(context.Context, func(access.Tx) error) error

func (s *Faulty) call(ctx context.Context, kind Calls, run transact, f func(access.Tx) error) error {
	fault, healed, met := s.meet(kind)
	if !met {
		return run(ctx, f)
	}
	switch fault.At {
	case Before:
		if err := s.strike(ctx, fault, healed); err != nil {
			return err
		}
		return run(ctx, f)
	case Within:
		return run(ctx, func(tx access.Tx) error {
			if err := f(tx); err != nil {
				return err
			}
			return s.strike(ctx, fault, healed)
		})
	case After:
		if err := run(ctx, f); err != nil {
			return err
		}
		return s.strike(ctx, fault, healed)
	default:
		return errors.New("storetest: unknown point of a fault")
	}
}

func (s *Faulty) meet(kind Calls) (Fault, chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault.Calls&kind == 0 || s.fault.Times > 0 && s.met >= s.fault.Times {
		return Fault{}, nil, false
	}
	s.met++
	return s.fault, s.healed, true
}

func (s *Faulty) strike(ctx context.Context, f Fault, healed chan struct{}) error {
	if f.Err != nil {
		return f.Err
	}
	s.wait(1)
	defer s.wait(-1)
	ended := ctx.Done()
	if f.Deaf {
		ended = nil
	}
	select {
	case <-healed:
		return nil
	case <-ended:
		return ctx.Err()
	}
}

func (s *Faulty) wait(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
	close(s.changed)
	s.changed = make(chan struct{})
}
