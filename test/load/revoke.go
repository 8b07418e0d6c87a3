package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/env"
)

// The bounds of the scenario revoke, in milliseconds.
const (
	revokeP99MS  = 1000
	revokeMaxMS  = 2000
	envoyP99MS   = 100
	streamsP99MS = 500
)

const (
	probeBefore = 100 * time.Millisecond // before a revoke a grant is probed
	probeAfter  = 3 * time.Second        // and after it
	envoyRate   = 500                    // probes of the real Envoy a second
	envoyAfter  = 500 * time.Millisecond
	asking      = 8 // grants asked for at once
)

// revokeResult is what the scenario revoke prints.
type revokeResult struct {
	Scenario    string  `json:"scenario"`
	Nodes       int     `json:"nodes"`
	Grants      int     `json:"grants"`
	Revokes     int     `json:"revokes"`
	Probed      int     `json:"probed"`
	P50MS       float64 `json:"p50_ms"` // from before the revoke was asked for to the last request let through
	P99MS       float64 `json:"p99_ms"`
	MaxMS       float64 `json:"max_ms"`
	SureP99MS   float64 `json:"sure_p99_ms"` // to when the last instance was first seen to refuse
	SureMaxMS   float64 `json:"sure_max_ms"`
	Unmeasured  int     `json:"unmeasured"` // revokes of grants that no instance let through before: leases had run out
	Missing     int     `json:"receipts_missing"`
	StreamsP99  float64 `json:"streams_cut_p99_ms"`
	EnvoyP50MS  float64 `json:"envoy_p50_ms"` // from the end that the record tells, before COMMIT returned
	EnvoyP99MS  float64 `json:"envoy_p99_ms"`
	EnvoyMaxMS  float64 `json:"envoy_max_ms"`
	AskedP50MS  float64 `json:"envoy_asked_p50_ms"` // the same, from before the revoke was asked for
	AskedP99MS  float64 `json:"envoy_asked_p99_ms"`
	AskedMaxMS  float64 `json:"envoy_asked_max_ms"`
	EnvoyProbes int     `json:"envoy_probes"`
	CallP50MS   float64 `json:"call_p50_ms"` // until the revoke was answered
	CallP99MS   float64 `json:"call_p99_ms"`
	Records     float64 `json:"records_per_second"`
	Wanted      int     `json:"records_wanted"`
	ServerMB    float64 `json:"mayflyd_peak_mb"`
}

func (r *revokeResult) missed() []string {
	var out misses
	out.above("p99_ms", r.P99MS, revokeP99MS)
	out.above("max_ms", r.MaxMS, revokeMaxMS)
	out.above("sure_p99_ms", r.SureP99MS, revokeP99MS)
	out.above("sure_max_ms", r.SureMaxMS, revokeMaxMS)
	out.above("envoy_p99_ms", r.EnvoyP99MS, envoyP99MS)
	out.above("streams_cut_p99_ms", r.StreamsP99, streamsP99MS)
	out.above("receipts_missing", float64(r.Missing), 0)
	out.above("unmeasured", float64(r.Unmeasured), 0)
	if r.Records < 0.99*float64(r.Wanted) {
		out = append(out, fmt.Sprintf("records_per_second %.0f < %d", r.Records, r.Wanted))
	}
	return out
}

// revoking is a run of the scenario.
type revoking struct {
	o        options
	env      *env.Env
	fleet    *fleet
	holder   *api.Client // holds the grants that are revoked
	other    *api.Client // holds the others
	security *api.Client // revokes them
	caller   *env.Caller // of the real Envoy
	grants   []string
	began    time.Duration

	mu      sync.Mutex
	all     latencies
	calls   latencies
	sure    latencies
	streams latencies
	envoy   latencies
	asked   latencies // the same from before the revoke was sent
	points  []point
	unheard int // revokes of grants that no probed instance let through before
}

// revokeScenario revokes grants while instances are probed and records come in.
func revokeScenario(ctx context.Context, o options) (result, chart, error) {
	c := chart{title: fmt.Sprintf("From before a revoke to the last request let through, %d instances", o.nodes)}
	if o.grants < o.changes {
		return nil, c, errors.New("there are fewer grants than revokes")
	}
	found, err := envoy.Find(ctx, envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: env.Tool("envoy", "envoy")})
	if err != nil {
		return nil, c, err
	}
	path, err := filepath.Abs(found.Path)
	if err != nil {
		return nil, c, err
	}
	e, stop, err := env.Launch(ctx, env.Config{Envoy: path})
	if err != nil {
		return nil, c, err
	}
	defer func() { _ = stop() }()
	run := &revoking{o: o, env: e, all: newLatencies(), calls: newLatencies(), sure: newLatencies(), streams: newLatencies(), envoy: newLatencies(), asked: newLatencies()}
	if err := run.prepare(ctx); err != nil {
		return nil, c, err
	}
	defer run.caller.Close()
	if run.fleet, err = startFleet(ctx, e, o, o.nodes); err != nil {
		return nil, c, err
	}
	defer func() { _ = run.fleet.close() }()
	o.say("%d instances hold %d grants each, the slowest after %s", o.nodes, o.grants, run.fleet.sync.Round(time.Millisecond))
	r, err := run.measure(ctx)
	c.points = run.points
	c.marks = []mark{{0, "the first revoke"}}
	return r, c, err
}

// prepare starts a gateway with an Envoy and gives the grants.
func (r *revoking) prepare(ctx context.Context) (err error) {
	g, err := r.env.StartGateway(ctx, "gw1")
	if err != nil {
		return err
	}
	if r.caller, err = r.env.Caller(ctx, "refunder", g); err != nil {
		return err
	}
	if r.holder, err = r.env.WorkloadAPIClient(ctx, "refunder"); err != nil {
		return err
	}
	if r.other, err = r.env.WorkloadAPIClient(ctx, "reporter"); err != nil {
		return err
	}
	if r.security, err = r.env.Person(ctx, "bob"); err != nil {
		return err
	}
	r.grants = make([]string, r.o.grants)
	next := make(chan int)
	var asked sync.WaitGroup
	var failed error
	for range asking {
		asked.Go(func() {
			for n := range next {
				holder := r.holder
				if n >= r.o.changes {
					holder = r.other
				}
				made, err := holder.Request(ctx, api.Ask{Entitlement: "reports/read", Params: map[string]string{"folder": folder(n)}}, api.NewKey())
				if err == nil && made.Grant == "" {
					err = fmt.Errorf("%s is %s: %s", made.ID, made.State, made.Sentence)
				}
				if err != nil {
					r.mu.Lock()
					failed = err
					r.mu.Unlock()
				}
				r.grants[n] = made.Grant
			}
		})
	}
	for n := range r.grants {
		next <- n
	}
	close(next)
	asked.Wait()
	return failed
}

func folder(n int) string { return fmt.Sprintf("/daily/%d", n) }

func (r *revoking) measure(ctx context.Context) (*revokeResult, error) {
	if err := r.fleet.order(order{Probed: r.o.probed, Records: r.o.records, Grants: r.grants[r.o.changes:]}); err != nil {
		return nil, err
	}
	stopped, stop := context.WithCancel(ctx)
	defer stop()
	asks := newEnvoyProbing(r.caller)
	var probing sync.WaitGroup
	probing.Go(func() { asks.run(stopped) })
	r.began = proxy.BootNow() + time.Second
	var revoked sync.WaitGroup
	var failed error
	for n := range r.o.changes {
		at := r.began + time.Duration(float64(n)/r.o.rate*float64(time.Second))
		if err := until(ctx, at-probeBefore); err != nil {
			return nil, err
		}
		revoked.Go(func() {
			if err := r.one(ctx, n, at, asks); err != nil {
				r.mu.Lock()
				failed = errors.Join(failed, err)
				r.mu.Unlock()
			}
		})
	}
	revoked.Wait()
	stop()
	probing.Wait()
	if failed != nil {
		return nil, failed
	}
	return r.conclude(ctx, asks)
}

// one revokes grant n at a time, whatever became of those before.
func (r *revoking) one(ctx context.Context, n int, at time.Duration, asks *envoyProbing) error {
	id := r.grants[n]
	if err := r.fleet.order(order{Probe: id}); err != nil {
		return err
	}
	asks.aim(n)
	if err := until(ctx, at); err != nil {
		return err
	}
	wall := time.Now()
	if _, err := r.security.Revoke(ctx, id, api.Because{Reason: "load"}); err != nil {
		return fmt.Errorf("revoke %s: %w", id, err)
	}
	answered := time.Since(wall)
	if err := until(ctx, at+probeAfter); err != nil {
		return err
	}
	seen, err := r.fleet.seen(ctx, id)
	if err != nil {
		return err
	}
	last := wall
	for _, a := range r.env.Reports.Arrivals() {
		if a.Path == folder(n) && a.At.After(last) {
			last = a.At
		}
	}
	ended, err := r.ended(ctx, id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls.add(answered)
	if seen.Allowed == 0 { // the leases of all had run out: nothing is measured
		r.unheard++
		return nil
	}
	took := max(seen.Last-at, 0)
	r.all.add(took)
	r.sure.add(max(seen.Refused-at, 0))
	r.streams.add(max(seen.Cut-at, 0))
	r.envoy.add(max(last.Sub(ended), 0))
	r.asked.add(last.Sub(wall))
	r.points = append(r.points, point{at - r.began, took})
	return nil
}

// ended is when a grant ended as the record tells: when its revoke had the database, and
// so before its COMMIT returned.
func (r *revoking) ended(ctx context.Context, id string) (time.Time, error) {
	g, err := r.holder.ShowGrant(ctx, id)
	if err != nil {
		return time.Time{}, fmt.Errorf("grant %s: %w", id, err)
	}
	return time.Parse(time.RFC3339Nano, g.EndedAt)
}

// conclude waits for the receipts and gathers the figures.
func (r *revoking) conclude(ctx context.Context, asks *envoyProbing) (*revokeResult, error) {
	out := &revokeResult{
		Scenario: "revoke", Nodes: r.o.nodes, Grants: r.o.grants, Revokes: r.all.count(), Unmeasured: r.unheard, Probed: min(r.o.probed, r.o.nodes),
		P50MS: r.all.ms(50), P99MS: r.all.ms(99), MaxMS: r.all.maxMS(), SureP99MS: r.sure.ms(99), SureMaxMS: r.sure.maxMS(), StreamsP99: r.streams.ms(99),
		EnvoyP50MS: r.envoy.ms(50), EnvoyP99MS: r.envoy.ms(99), EnvoyMaxMS: r.envoy.maxMS(),
		AskedP50MS: r.asked.ms(50), AskedP99MS: r.asked.ms(99), AskedMaxMS: r.asked.maxMS(), EnvoyProbes: asks.count(),
		CallP50MS: r.calls.ms(50), CallP99MS: r.calls.ms(99), Wanted: r.o.records,
	}
	var err error
	if out.Records, err = r.fleet.written(ctx); err != nil {
		return nil, err
	}
	for _, id := range r.grants[:r.o.changes] {
		missing, err := r.missing(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Missing += missing
	}
	r.o.say("%d revokes: p50 %.1f ms, p99 %.1f ms, max %.1f ms; Envoy p99 %.1f ms; %.0f records a second; %d receipts missing",
		out.Revokes, out.P50MS, out.P99MS, out.MaxMS, out.EnvoyP99MS, out.Records, out.Missing)
	out.ServerMB, err = peakMB(r.env.Control)
	return out, err
}

// missing counts the instances that did not acknowledge the end of a grant.
func (r *revoking) missing(ctx context.Context, id string) (int, error) {
	receipts, err := r.security.Receipts(ctx, id)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, w := range receipts.Waits {
		if w.AckedAt == "" {
			n++
		}
	}
	if got := len(receipts.Waits); got < r.o.nodes+1 {
		n += r.o.nodes + 1 - got
	}
	return n, nil
}

// parseGrant reads a grant id that mayflyd gave.
func parseGrant(text string) (grant.GrantID, error) {
	var id grant.GrantID
	return id, id.UnmarshalText([]byte(text))
}
