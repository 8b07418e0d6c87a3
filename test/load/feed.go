package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/test/env"
)

// The bounds of the scenario feed.
const (
	feedP50MS      = 100
	feedP99MS      = 300
	firstSyncMS    = 2000
	bytesPerGrant  = 400
	changeDeadline = 30 * time.Second
)

// feedResult is what the scenario feed prints.
type feedResult struct {
	Scenario     string  `json:"scenario"`
	Nodes        int     `json:"nodes"`
	Changes      int     `json:"changes"`
	P50MS        float64 `json:"p50_ms"` // from before the change was asked for to the last instance
	P99MS        float64 `json:"p99_ms"`
	MaxMS        float64 `json:"max_ms"`
	Stalled      int     `json:"stalled"` // instances that had stopped reading for the figures that follow
	StalledP50MS float64 `json:"stalled_p50_ms"`
	StalledP99MS float64 `json:"stalled_p99_ms"`
	JoinMS       float64 `json:"join_ms"` // the slowest of all instances, a few starting at once
	SyncedGrants int     `json:"synced_grants"`
	FirstSyncMS  float64 `json:"first_sync_ms"`
	StoredGrants int     `json:"stored_grants"`
	PerGrant     float64 `json:"bytes_per_grant"`
	ServerMB     float64 `json:"mayflyd_peak_mb"`
}

func (r *feedResult) missed() []string {
	var out misses
	out.above("p50_ms", r.P50MS, feedP50MS)
	out.above("p99_ms", r.P99MS, feedP99MS)
	out.above("stalled_p50_ms", r.StalledP50MS, feedP50MS)
	out.above("stalled_p99_ms", r.StalledP99MS, feedP99MS)
	out.above("first_sync_ms", r.FirstSyncMS, firstSyncMS)
	out.above("bytes_per_grant", r.PerGrant, bytesPerGrant)
	return out
}

// feedScenario measures changes with all instances reading, then with some that
// stopped, then a first sync, then the memory of a table.
func feedScenario(ctx context.Context, o options) (result, chart, error) {
	r := &feedResult{Scenario: "feed", Nodes: o.nodes, Changes: o.changes, Stalled: o.stalled}
	c := chart{title: fmt.Sprintf("One change to the last of %d instances", o.nodes)}
	if o.stored > 0 {
		var err error
		if r.PerGrant, err = weigh(o, o.stored); err != nil {
			return nil, c, err
		}
		r.StoredGrants = o.stored
	}
	e, stop, err := env.Launch(ctx, env.Config{})
	if err != nil {
		return nil, c, err
	}
	defer func() { _ = stop() }()
	if err := r.changes(ctx, e, o, &c); err != nil {
		return nil, c, err
	}
	if o.synced > 0 {
		if err := r.firstSync(ctx, e, o); err != nil {
			return nil, c, err
		}
	}
	return r, c, nil
}

func (r *feedResult) changes(ctx context.Context, e *env.Env, o options, c *chart) error {
	client, err := e.WorkloadAPIClient(ctx, "refunder")
	if err != nil {
		return err
	}
	f, err := startFleet(ctx, e, o, o.nodes)
	if err != nil {
		return err
	}
	defer func() { _ = f.close() }()
	r.JoinMS = milli(f.sync.Microseconds())
	o.say("%d instances hold a snapshot, the slowest after %.0f ms", o.nodes, r.JoinMS)
	run := &changing{client: client, fleet: f, began: proxy.BootNow(), rate: o.rate}
	if _, err := run.measure(ctx, 10); err != nil { // connections and caches warm
		return err
	}
	all, err := run.measure(ctx, o.changes)
	if err != nil {
		return err
	}
	r.P50MS, r.P99MS, r.MaxMS = all.ms(50), all.ms(99), all.maxMS()
	o.say("%d changes: p50 %.1f ms, p99 %.1f ms", all.count(), r.P50MS, r.P99MS)
	c.marks = append(c.marks, mark{proxy.BootNow() - run.began, fmt.Sprintf("%d instances stop reading", o.stalled)})
	if err := f.stall(ctx, o.stalled); err != nil {
		return err
	}
	if all, err = run.measure(ctx, o.changes); err != nil {
		return err
	}
	r.StalledP50MS, r.StalledP99MS = all.ms(50), all.ms(99)
	o.say("with %d that do not read: p50 %.1f ms, p99 %.1f ms", o.stalled, r.StalledP50MS, r.StalledP99MS)
	c.points = run.points
	r.ServerMB, err = peakMB(e.Control)
	return err
}

// changing makes changes: each is a grant that policy gives at once.
type changing struct {
	client *api.Client
	fleet  *fleet
	began  time.Duration
	rate   float64
	made   int

	mu     sync.Mutex
	points []point
}

// measure makes n changes at the rate, whether or not the ones before have arrived.
func (c *changing) measure(ctx context.Context, n int) (latencies, error) {
	out := newLatencies()
	var asked sync.WaitGroup
	var failed error
	first := proxy.BootNow()
	for i := range n {
		c.made++
		folder := fmt.Sprintf("/daily/%d", c.made)
		at := first + time.Duration(float64(i)/c.rate*float64(time.Second))
		if err := until(ctx, at); err != nil {
			return out, err
		}
		asked.Go(func() {
			took, err := c.one(ctx, folder, at)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			out.add(took)
			c.points = append(c.points, point{at - c.began, took})
		})
	}
	asked.Wait()
	return out, failed
}

// one asks for a grant and returns how long after at the last instance held it.
func (c *changing) one(ctx context.Context, folder string, at time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, changeDeadline)
	defer cancel()
	made, err := c.client.Request(ctx, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": folder}}, api.NewKey())
	if err != nil {
		return 0, err
	}
	if made.Grant == "" {
		return 0, fmt.Errorf("%s is %s: %s", made.ID, made.State, made.Sentence)
	}
	arrived, err := c.fleet.arrival(ctx, made.Grant)
	return arrived - at, err
}

// until waits for a reading of the boot clock.
func until(ctx context.Context, at time.Duration) error {
	t := time.NewTimer(at - proxy.BootNow())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// firstSync measures how soon a new instance holds many grants.
func (r *feedResult) firstSync(ctx context.Context, e *env.Env, o options) error {
	if err := seed(ctx, e, o.synced); err != nil {
		return fmt.Errorf("grants of the first sync: %w", err)
	}
	o.say("%d grants are in the database", o.synced)
	f, err := startFleet(ctx, e, o, 1)
	if err != nil {
		return err
	}
	r.SyncedGrants, r.FirstSyncMS = o.synced, milli(f.sync.Microseconds())
	o.say("first sync of %d grants: %.0f ms", o.synced, r.FirstSyncMS)
	return f.close()
}
