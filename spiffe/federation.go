package spiffe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
)

// FederationConfig configures a Federation.
type FederationConfig struct {
	// Relations have passed CheckRelations.
	Relations []Relation
	// Sources are given the bundles, and are asked for those that prove endpoints of
	// https_spiffe. At least one.
	Sources []*Source
	// Dir keeps the newest bundle of each trust domain, so that no restart goes back
	// to an older one. It exists, and is ours. Required.
	Dir string
	// Dev asks endpoints on loopback, and takes bundles of development CAs.
	Dev bool
	// Now is the time that endpoints' certificates are judged by; nil means time.Now.
	Now func() time.Time
	// OnError hears every failure; nil for silence. It must not block.
	OnError func(error)
}

// Federation keeps the bundles of foreign trust domains new (SPIFFE Federation §5).
// Each trust domain has its own bundle, told by its own endpoint; none is ever
// merged into another. What cannot be fetched, or goes back in sequence, leaves the
// last good bundle in place. A bundle without keys revokes the whole trust domain at
// once. Safe for concurrent use.
type Federation struct {
	endpoints []*endpoint
}

// FederationStatus is how it stands with one trust domain.
type FederationStatus struct {
	TrustDomain spiffeid.TrustDomain
	Fetched     time.Time // when the endpoint last told a bundle that was taken; zero: not since the start
	Authorities int       // signing certificates in force; 0: no certificate of the domain is trusted
	Problem     string    // of the newest try, "" if it was taken
}

// NewFederation reads the files that c names and puts the bundles into force that
// were kept, or else the bootstrap ones. Nothing is fetched before Run.
func NewFederation(c FederationConfig) (*Federation, error) {
	if len(c.Sources) == 0 || c.Dir == "" {
		return nil, errors.New("federation: Sources and Dir are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	f := &Federation{}
	for _, r := range c.Relations {
		e, err := newEndpoint(c, r)
		if err != nil {
			return nil, fmt.Errorf("federation with %s: %w", r.TrustDomain, err)
		}
		f.endpoints = append(f.endpoints, e)
	}
	return f, nil
}

// Run keeps the bundles new until ctx ends, and returns ctx's error.
func (f *Federation) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range f.endpoints {
		g.Go(func() error { return e.run(ctx) })
	}
	g.Go(func() error { <-ctx.Done(); return ctx.Err() })
	return g.Wait()
}

// Status tells of each trust domain, in the order of the relations.
func (f *Federation) Status() []FederationStatus {
	var out []FederationStatus
	for _, e := range f.endpoints {
		e.mu.Lock()
		out = append(out, e.status)
		e.mu.Unlock()
	}
	return out
}

// Bounds of spiffe_refresh_hint, and of what is waited after a failure.
const (
	defaultRefresh = 5 * time.Minute // SPIFFE Trust Domain and Bundle §4.1.2 leaves it to us
	minRefresh     = 5 * time.Second
	maxRefresh     = time.Hour
	firstAgain     = time.Second
	maxAgain       = time.Minute
)

// endpoint follows one trust domain's bundle.
type endpoint struct {
	c      FederationConfig
	domain spiffeid.TrustDomain
	fetch  func(context.Context) ([]byte, error)
	held   *told // nil: nothing yet; of run's goroutine once it runs
	kept   *told // what Dir holds; nil: nothing; of the same goroutine
	again  time.Duration

	mu     sync.Mutex // guards status
	status FederationStatus
}

func (e *endpoint) run(ctx context.Context) error {
	for {
		wait := e.refresh(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// refresh asks the endpoint once, and returns how long to wait for the next time.
func (e *endpoint) refresh(ctx context.Context) time.Duration {
	got, err := e.ask(ctx)
	took, what := err == nil, "not renewed, the last one counts"
	if took {
		// In force first: what was taken out is out, whatever the disk says.
		e.enforce(got)
		err, what = e.keep(got), "in force, but not kept for a restart"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if took {
		e.status.Problem, e.status.Fetched, e.status.Authorities = "", e.c.Now(), len(got.authorities)
	}
	if err != nil {
		if ctx.Err() == nil {
			e.status.Problem = err.Error()
			e.c.OnError(fmt.Errorf("bundle of %s %s: %w", e.domain.Name(), what, err))
		}
		e.again = min(max(2*e.again, firstAgain), maxAgain)
		return min(e.again, e.held.every())
	}
	e.again = 0
	return e.held.every()
}

// ask gets the bundle that the endpoint tells, unless it is older than the one in force.
func (e *endpoint) ask(ctx context.Context) (*told, error) {
	raw, err := e.fetch(ctx)
	if err != nil {
		return nil, err
	}
	got, err := readTold(e.domain, raw, e.c.Dev)
	if err != nil {
		return nil, err
	}
	return got, got.after(e.held)
}

// keep writes a bundle in force down, so that no restart forgets it. What could not
// be written is tried again with the next answer, even if that tells nothing new.
func (e *endpoint) keep(got *told) error {
	if e.kept != nil && bytes.Equal(e.kept.raw, got.raw) {
		return nil
	}
	if err := keep(e.c.Dir, e.domain, got.raw); err != nil {
		return err
	}
	e.kept = got
	return nil
}

func (e *endpoint) enforce(got *told) {
	e.held = got
	for _, s := range e.c.Sources {
		s.federate(e.domain, got)
	}
}
