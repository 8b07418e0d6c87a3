package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

const (
	// probeEvery is how often an instance is asked about each grant that is probed.
	probeEvery = 5 * time.Millisecond
	// surely is how many times in a row it says no until it is asked less often, each
	// rarely-th time: a grant that comes back is still seen.
	surely = 10
	rarely = 10
)

// probing asks instances again and again whether they would still let a request
// through, with the last look that is the last word at a gateway.
type probing struct {
	mu     sync.Mutex
	probed map[grant.GrantID]*probe
}

// probe is what was seen of one grant on all probed instances.
type probe struct {
	last    time.Duration // boot clock at the last request that was let through; 0: none
	refused time.Duration // boot clock when the last instance was first seen to refuse
	cut     time.Duration // when the last instance told the holders of streams
	allowed int
}

func newProbing() *probing { return &probing{probed: map[grant.GrantID]*probe{}} }

func (p *probing) begin(ctx context.Context, some []*instance, id grant.GrantID, running *sync.WaitGroup) {
	seen := &probe{}
	p.mu.Lock()
	p.probed[id] = seen
	p.mu.Unlock()
	for _, i := range some {
		gone := i.Gone(id)
		running.Go(func() {
			select {
			case <-gone:
			case <-ctx.Done():
				return
			}
			at := proxy.BootNow()
			p.mu.Lock()
			defer p.mu.Unlock()
			seen.cut = max(seen.cut, at)
		})
	}
}

func (p *probing) end(id grant.GrantID) probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := *p.probed[id]
	delete(p.probed, id)
	return out
}

// run probes one instance until ctx ends.
func (p *probing) run(ctx context.Context, i *instance) {
	minter := grant.NewMinter()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	refused := map[grant.GrantID]int{} // how often in a row
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		current, action := p.current(), minter.NewActionID(time.Now())
		for _, id := range current {
			if refused[id] > surely && turn%rarely != 0 {
				continue
			}
			var at time.Duration
			err := i.LastLook(id, action, time.Time{}, func() error { at = proxy.BootNow(); return nil })
			if refused[id]++; err == nil {
				refused[id] = 0
				p.note(id, at)
			} else if refused[id] == 1 {
				p.noteRefused(id, proxy.BootNow())
			}
		}
		maps.DeleteFunc(refused, func(id grant.GrantID, _ int) bool { return !slices.Contains(current, id) })
	}
}

func (p *probing) current() []grant.GrantID {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]grant.GrantID, 0, len(p.probed))
	for id := range p.probed {
		out = append(out, id)
	}
	return out
}

// note notes that a request was let through.
func (p *probing) note(id grant.GrantID, at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen := p.probed[id]; seen != nil {
		seen.allowed++
		seen.last = max(seen.last, at)
	}
}

// noteRefused notes that an instance refuses what it let through, or was first asked.
func (p *probing) noteRefused(id grant.GrantID, at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen := p.probed[id]; seen != nil {
		seen.refused = max(seen.refused, at)
	}
}
