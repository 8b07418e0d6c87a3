package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/test/env"
)

// envoyProbing sends requests through a real Envoy at a rate, each under the grants
// that are aimed at. What was let through is told by who stands before the app.
type envoyProbing struct {
	caller *env.Caller
	sent   atomic.Int64

	mu    sync.Mutex
	aimed map[int]time.Duration // until when, by number of the grant
}

func newEnvoyProbing(c *env.Caller) *envoyProbing {
	return &envoyProbing{caller: c, aimed: map[int]time.Duration{}}
}

func (p *envoyProbing) count() int { return int(p.sent.Load()) }

// aim probes a grant around its revoke.
func (p *envoyProbing) aim(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aimed[n] = proxy.BootNow() + probeBefore + envoyAfter
}

// target returns one of the grants that are aimed at, in turn.
func (p *envoyProbing) target(turn int) (int, bool) {
	now := proxy.BootNow()
	p.mu.Lock()
	defer p.mu.Unlock()
	var some []int
	for n, end := range p.aimed {
		if now > end {
			delete(p.aimed, n)
			continue
		}
		some = append(some, n)
	}
	if len(some) == 0 {
		return 0, false
	}
	return some[turn%len(some)], true
}

func (p *envoyProbing) run(ctx context.Context) {
	var asked sync.WaitGroup
	defer asked.Wait()
	first := proxy.BootNow()
	for n := 0; ; n++ {
		if until(ctx, first+time.Duration(n)*time.Second/envoyRate) != nil {
			return
		}
		if target, ok := p.target(n); ok {
			asked.Go(func() { p.one(ctx, target) })
		}
	}
}

func (p *envoyProbing) one(ctx context.Context, n int) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+env.ReportsHost+folder(n), nil)
	if err != nil {
		return
	}
	p.sent.Add(1)
	resp, err := p.caller.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
