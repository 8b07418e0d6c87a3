package proxy

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Generations count who is between a last look and the act that it allowed, so
// that a change can be acknowledged when nothing decided under the older state is
// on its way any more (contracts §2). Entering and leaving take no lock and never
// wait. Make it with NewGenerations.
type Generations struct {
	current atomic.Pointer[generation]
	older   []*generation // not yet seen empty; owned by Swap's caller
}

type generation struct {
	inside  atomic.Int64
	retired atomic.Bool
	emptied chan struct{} // one token: it may be empty now
}

// Section is one stay in a generation. The zero value is outside.
type Section struct{ in *generation }

// NewGenerations returns generations with nobody inside.
func NewGenerations() *Generations {
	g := &Generations{}
	g.current.Store(newGeneration())
	return g
}

func newGeneration() *generation { return &generation{emptied: make(chan struct{}, 1)} }

// Enter begins a stay in the current generation. Looks made inside see
// everything that was applied before the generation began. The caller leaves
// soon: no file, network or lock is waited for inside.
func (g *Generations) Enter() Section {
	for {
		if now := g.current.Load(); g.enter(now) {
			return Section{now}
		}
	}
}

// enter counts a stay in a generation that was current a moment ago. If it no
// longer is, whoever waits for it may have seen it empty: the stay is taken back.
func (g *Generations) enter(was *generation) bool {
	was.inside.Add(1)
	if g.current.Load() == was {
		return true
	}
	was.leave()
	return false
}

// Leave ends the stay. Leaving again does nothing.
func (s *Section) Leave() {
	if s.in != nil {
		s.in.leave()
		s.in = nil
	}
}

func (g *generation) leave() {
	if g.inside.Add(-1) == 0 && g.retired.Load() {
		select {
		case g.emptied <- struct{}{}:
		default:
		}
	}
}

// Swap begins a new generation and waits until all older ones are empty. The
// change that is to be acknowledged is visible before Swap is called. On an
// error nothing may be acknowledged; the next Swap waits for what this one left.
// One goroutine calls it at a time.
func (g *Generations) Swap(ctx context.Context) error {
	old := g.current.Swap(newGeneration())
	old.retired.Store(true)
	g.older = append(g.older, old)
	for len(g.older) > 0 {
		if err := g.older[0].wait(ctx); err != nil {
			return fmt.Errorf("wait for what was decided before: %w", err)
		}
		g.older = g.older[1:]
	}
	return nil
}

// wait returns when nobody is inside. Whoever enters afterwards finds that the
// generation changed and starts over.
func (g *generation) wait(ctx context.Context) error {
	for g.inside.Load() != 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.emptied:
		}
	}
	return nil
}
