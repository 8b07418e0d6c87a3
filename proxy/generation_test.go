package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestP4_NothingIsAcknowledgedWhileAnOlderDecisionIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGenerations()
		early := g.Enter()
		var acked atomic.Bool
		go func() {
			if g.Swap(context.Background()) == nil {
				acked.Store(true)
			}
		}()
		synctest.Wait()
		late := g.Enter() // of the new generation: nobody waits for it
		synctest.Wait()
		if acked.Load() {
			t.Fatal("acknowledged while a section of the older generation lasts")
		}
		early.Leave()
		early.Leave() // again: nothing
		synctest.Wait()
		if !acked.Load() {
			t.Fatal("not acknowledged though the older generation is empty")
		}
		late.Leave()
	})
}

func TestP4_ASwapThatWasGivenUpIsWaitedForByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGenerations()
		early := g.Enter()
		given, cancel := context.WithCancel(context.Background())
		cancel()
		if g.Swap(given) == nil {
			t.Fatal("acknowledged")
		}
		if g.Swap(given) == nil {
			t.Fatal("the next one forgot the older section")
		}
		early.Leave()
		if err := g.Swap(given); err != nil {
			t.Fatal(err)
		}
	})
}

// A reader that was held up between reading the current generation and counting
// itself in must not stay in one that was already seen empty.
func TestP4_NobodyEntersAGenerationThatWasSeenEmpty(t *testing.T) {
	g := NewGenerations()
	was := g.current.Load()
	if err := g.Swap(context.Background()); err != nil {
		t.Fatal(err)
	}
	if g.enter(was) || was.inside.Load() != 0 {
		t.Fatal("it entered, and nobody waits for it")
	}
	if s := g.Enter(); s.in == was {
		t.Fatal("it entered the older generation")
	}
}

// The model: a section belongs to the number of swaps before it; a swap may
// return only if no section is older than it.
func TestGenerationsAgainstAModel(t *testing.T) {
	given, cancel := context.WithCancel(context.Background())
	cancel() // Swap never waits: it says whether it would
	rapid.Check(t, func(t *rapid.T) {
		type stay struct {
			section Section
			born    int
		}
		g, swaps := NewGenerations(), 0
		var inside []stay
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(*rapid.T) { inside = append(inside, stay{g.Enter(), swaps}) },
			"leave": func(t *rapid.T) {
				if len(inside) == 0 {
					t.Skip()
				}
				n := rapid.IntRange(0, len(inside)-1).Draw(t, "which")
				inside[n].section.Leave()
				inside = append(inside[:n], inside[n+1:]...)
			},
			"swap": func(t *rapid.T) {
				swaps++
				empty := true
				for _, s := range inside {
					empty = empty && s.born >= swaps
				}
				if err := g.Swap(given); (err == nil) != empty {
					t.Fatalf("swap said %v with older ones inside: %v", err, !empty)
				}
			},
		})
	})
}

// Readers enter, look and leave as fast as they can. After a swap returned, no
// look of an older state may still be inside.
func TestP4_GenerationsUnderLoad(t *testing.T) {
	const rounds, readers = 2000, 4
	g := NewGenerations()
	var state, acked atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for !stop.Load() {
				s := g.Enter()
				saw := state.Load()
				if done := acked.Load(); done > saw {
					t.Errorf("inside with state %d after %d was acknowledged", saw, done)
					stop.Store(true)
				}
				s.Leave()
			}
		})
	}
	for n := int64(1); n <= rounds && !stop.Load(); n++ {
		state.Store(n)
		if err := g.Swap(context.Background()); err != nil {
			t.Error(err)
		}
		acked.Store(n)
	}
	stop.Store(true)
	wg.Wait()
}
