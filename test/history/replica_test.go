package history

import (
	"context"
	"errors"
	"sync"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

// replica is the database as one mayflyd of several sees it. Its updates can be
// late or lose their answer, which is storetest's; its reads can be of a state that
// was true a while ago, as those of a standby are.
type replica struct {
	*storetest.Faulty
	real access.Store

	mu  sync.Mutex
	old *oldState
}

func newReplica(s access.Store) *replica { return &replica{Faulty: storetest.NewFaulty(s), real: s} }

var errLost = errors.New("the answer of the database is lost")

// View implements access.Store.
func (r *replica) View(ctx context.Context, f func(access.Tx) error) error {
	r.mu.Lock()
	old := r.old
	r.mu.Unlock()
	if old == nil {
		return r.real.View(ctx, f)
	}
	return old.run(ctx, f)
}

// lag keeps the state of now for every read until catchUp.
func (r *replica) lag() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.old != nil {
		return nil
	}
	old, err := keepState(r.real)
	r.old = old
	return err
}

func (r *replica) catchUp() {
	r.mu.Lock()
	old := r.old
	r.old = nil
	r.mu.Unlock()
	if old != nil {
		old.end()
	}
}

// oldState is a read transaction that stays open.
type oldState struct {
	tasks chan task
	quit  chan struct{}
	done  chan struct{}
}

type task struct {
	f   func(access.Tx) error
	err chan error
}

func keepState(s access.Store) (*oldState, error) {
	o := &oldState{tasks: make(chan task), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(o.done)
		err := s.View(context.Background(), func(tx access.Tx) error {
			ready <- nil
			for {
				select {
				case t := <-o.tasks:
					t.err <- t.f(tx)
				case <-o.quit:
					return nil
				}
			}
		})
		if err != nil {
			ready <- err
		}
	}()
	return o, <-ready
}

func (o *oldState) run(ctx context.Context, f func(access.Tx) error) error {
	t := task{f: f, err: make(chan error, 1)}
	select {
	case <-o.done:
		return errLost
	case o.tasks <- t:
		return <-t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *oldState) end() {
	close(o.quit)
	<-o.done
}
