package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/env"
)

// fleet is this process's side of the instances.
type fleet struct {
	*player

	done    chan struct{} // closed when it tells no more
	mu      sync.Mutex
	changed chan struct{} // closed and made anew at each news
	joined  int
	sync    time.Duration
	stalled int
	reached map[string]time.Duration // when a change was everywhere
}

// startFleet starts n instances and waits until each holds a whole snapshot.
func startFleet(ctx context.Context, e *env.Env, o options, n int) (*fleet, error) {
	p, err := start(roleFleet, o.log)
	if err != nil {
		return nil, err
	}
	f := &fleet{player: p, done: make(chan struct{}), changed: make(chan struct{}), reached: map[string]time.Duration{}}
	go f.listen()
	err = f.order(fleetPlan{
		Nodes: e.NodesAddress(), WorkloadAPI: dev.Address(e.Dir + "/gw.sock"), Control: env.ControlID, Sidecar: env.SidecarID, Dir: e.Dir, Count: n,
	})
	if err == nil {
		err = f.await(ctx, "every instance holds a snapshot", func() bool { return f.joined == n })
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *fleet) listen() {
	defer close(f.done)
	for {
		var n news
		if err := f.out.Decode(&n); err != nil {
			return
		}
		f.hear(n)
	}
}

func (f *fleet) hear(n news) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.Joined > 0 {
		f.joined, f.sync = n.Joined, n.Sync
	}
	if n.Change != "" {
		f.reached[n.Change] = n.At
	}
	f.stalled += n.Stalled
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until f's news make it true.
func (f *fleet) await(ctx context.Context, what string, is func() bool) error {
	for {
		f.mu.Lock()
		ok, changed := is(), f.changed
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-f.done:
			return fmt.Errorf("%s: the fleet ended", what)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// arrival waits until a change is everywhere, and returns the boot clock then.
func (f *fleet) arrival(ctx context.Context, id string) (time.Duration, error) {
	err := f.await(ctx, id+" is everywhere", func() bool { _, ok := f.reached[id]; return ok })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reached[id], err
}

func (f *fleet) stall(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	if err := f.order(order{Stall: n}); err != nil {
		return err
	}
	return f.await(ctx, "instances stop reading", func() bool { return f.stalled == n })
}

func (f *fleet) close() error {
	err := f.end()
	<-f.done
	return err
}
