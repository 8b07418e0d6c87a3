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
	shown   map[string]seen          // by grant
	rate    *float64                 // records a second
}

// startFleet starts n instances and waits until each holds a whole snapshot.
func startFleet(ctx context.Context, e *env.Env, o options, n int) (*fleet, error) {
	p, err := start(roleFleet, o.log)
	if err != nil {
		return nil, err
	}
	f := &fleet{player: p, done: make(chan struct{}), changed: make(chan struct{}), reached: map[string]time.Duration{}, shown: map[string]seen{}}
	go f.listen()
	err = f.order(fleetPlan{
		Nodes: e.NodesAddress(), WorkloadAPI: dev.Address(e.Dir + "/gw.sock"), Control: env.ControlID, Sidecar: env.SidecarID, RecordKey: e.KeyFile(), Dir: e.Dir, Count: n,
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
	if n.Seen != nil {
		f.shown[n.Seen.Grant] = *n.Seen
	}
	if n.Written != nil {
		f.rate = n.Written
	}
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

// seen ends the probing of a grant and returns what was seen of it.
func (f *fleet) seen(ctx context.Context, id string) (seen, error) {
	if err := f.order(order{Seen: id}); err != nil {
		return seen{}, err
	}
	err := f.await(ctx, "what was seen of "+id, func() bool { _, ok := f.shown[id]; return ok })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shown[id], err
}

// written ends the shipping of records and returns how many a second were taken.
func (f *fleet) written(ctx context.Context) (float64, error) {
	if err := f.order(order{Written: true}); err != nil {
		return 0, err
	}
	if err := f.await(ctx, "how much was written", func() bool { return f.rate != nil }); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return *f.rate, nil
}

func (f *fleet) close() error {
	err := f.end()
	<-f.done
	return err
}
