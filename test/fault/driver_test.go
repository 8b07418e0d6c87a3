package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	endTerm   = 3 * time.Second // of the grants that end during a fault: less than stale_after
	beforeEnd = 100 * time.Millisecond
	diskSize  = 256 << 20
)

// writing is the entitlement to write that the environment's policy does not have.
const writing = `entitlement: reports/write
owner: team-data
app: reports
allow:
  - {operations: [http.post], where: {path: {under: $folder}}}
params:
  folder: {type: path, any: true, pattern: "/(daily|monthly)(/.*)?"}
sensitivity: write
grant: {max: 8h, default: 30m}
request: {who: ["spiffe://acme.example/ns/data/sa/reporter"], for: [self], justification: none}
approve: {auto: {when: "request.duration <= duration('30m')"}}
`

// fault is one thing that goes wrong while the product works.
type fault struct {
	name   string
	needs  func(*driver) error // why this machine cannot have it; nil needs nothing
	inject func(*driver)
	heal   func(*driver)
	// shows is what callers are told, by lane, once it is there: a fault that nobody
	// can see would be none. "" is allowed.
	shows map[string]string
	// atOnce: the first call after it came is told so; else sooner or later.
	atOnce bool
	quick  bool // it is over by itself: it comes just before the grants' end
	deaf   bool // the gateway is up all the time, so it must itself end the grants in time
	again  int  // how often it comes once more, without a look at the record between
}

// driver has one product go through faults under traffic.
type driver struct {
	*world
	testing.TB             // of the step
	relay      *env.Relay  // between the gateway and mayflyd
	control    *disk       // mayflyd's
	gateway    *disk       // the gateway's state
	noDisk     error       // why there is none
	undo       func()      // of what the fault at hand began
	steps      int         // so far
	record     *env.Record // as it was after the step before; what was once on it stays
	kept       []string    // files of checkpoints that a verifier holds
	revoked    []string    // grants whose revoke mayflyd acknowledged
	before     tally       // after the step before
}

// probe is a call under a grant that ends during a fault, and how it may be refused
// then: a gateway that started anew never heard of the grant.
type probe struct {
	try   func() answer
	grant api.Grant
	end   time.Time // zero: it ends by a revoke
	after []string
}

// TestP5_Faults does to the product what happens to products, in random order and
// under traffic, and holds what reached the upstreams against the record after each.
func TestP5_Faults(t *testing.T) {
	seed, began := seed(t), time.Now()
	t.Logf("MAYFLY_FAULT_SEED=%d", seed)
	order := rand.New(rand.NewPCG(seed, 0))
	c := &counts{}
	for round := 1; ; round++ {
		if !t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) { testRound(t, order, c) }) || !long() || time.Since(began) > longest {
			break
		}
	}
	t.Logf("in %s\n%s", time.Since(began).Round(time.Second), c.table())
}

// longest is after how long no further round begins with MAYFLY_LONG=1.
const longest = 10 * time.Minute

// seed is the order's, printed and to be given again.
func seed(t *testing.T) uint64 {
	if text := os.Getenv("MAYFLY_FAULT_SEED"); text != "" {
		return check[uint64](t)(strconv.ParseUint(text, 10, 64))
	}
	return rand.Uint64()
}

// testRound lets a new product go through every fault once.
func testRound(t *testing.T, order *rand.Rand, c *counts) {
	d := newDriver(t)
	busy, stop := context.WithCancel(t.Context())
	defer d.done.Wait()
	defer stop()
	d.run(busy)
	d.ask(busy, d.world.reporter)
	d.resumed(t)
	deck := faults()
	order.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	for _, f := range deck {
		if !t.Run(f.name, func(t *testing.T) { d.step(t, f, c) }) {
			return // what comes after a broken promise says nothing
		}
	}
}

func newDriver(t *testing.T) *driver {
	d := &driver{TB: t, record: env.NewRecord()}
	d.world = populate(t, func(t testing.TB) (*env.Env, *env.Gateway) {
		dir := folder(t)
		for name, into := range map[string]**disk{"data": &d.control, "gw/state": &d.gateway} {
			var err error
			if *into, err = mount(t, filepath.Join(dir, name), diskSize); err != nil {
				d.noDisk = err
			}
		}
		e := startIn(t, dir)
		d.relay = check[*env.Relay](t)(env.NewRelay(e.Nodes()))
		t.Cleanup(d.relay.Close)
		e.Via = d.relay.Address
		return e, check[*env.Gateway](t)(e.StartGateway(t.Context(), "gw"))
	})
	check[string](t)(d.Policy.Commit("Let the reporter write", map[string]string{"entitlements/reports/write.yaml": writing}))
	d.mayRead(t, d.world.reporter, "/daily", 30*time.Minute)
	d.mayRefund(t, "ch_1", 2*time.Hour)
	eventually(t, "the policy is in force", func() error {
		_, err := d.Grant(t.Context(), d.world.reporter, d.bob, api.Ask{Entitlement: "reports/write", Params: map[string]string{"folder": "/daily"}, Duration: "30m0s"})
		return err
	})
	return d
}

// step has a fault come while a grant to read and one to refund are about to end and one
// more is revoked, heals it, waits until everything works again, and takes stock.
func (d *driver) step(t *testing.T, f fault, c *counts) {
	outer := d.TB
	d.TB = t
	defer func() { d.TB = outer }()
	if f.needs != nil {
		if err := f.needs(d); err != nil {
			missing(t, err)
		}
	}
	d.keepTime()
	began := time.Now()
	d.steps++
	resumed := d.suffer(f)
	for range f.again {
		f.inject(d)
		f.heal(d)
		resumed = max(resumed, d.resumed(t))
	}
	now := d.stock()
	c.add(f.name, 1+f.again, now.less(d.before), time.Since(began), resumed)
	d.before = now
}

// suffer has the fault last until two grants have ended and callers see it, and returns
// how long after its end everything worked again.
func (d *driver) suffer(f fault) time.Duration {
	d.Helper()
	ending, revoked := d.probes()
	busy, stop := context.WithCancel(d.Context())
	var pressing, meanwhile sync.WaitGroup
	defer func() { stop(); pressing.Wait(); meanwhile.Wait() }()
	for _, p := range append(ending, revoked) {
		pressing.Go(func() { d.press(busy, p) })
	}
	if f.quick {
		until(d, ending[0].end.Add(-beforeEnd))
	}
	d.keep()
	end := ending[len(ending)-1].end
	if f.deaf {
		meanwhile.Go(func() {
			pause(d.Context(), time.Until(end))
			d.overOrStale(ending)
		})
	}
	f.inject(d)
	acknowledged := false
	meanwhile.Go(func() { acknowledged = d.revoke(revoked.grant.ID) })
	d.sees(f)
	until(d, end)
	meanwhile.Wait()
	f.heal(d)
	resumed := d.resumed(d)
	if acknowledged {
		eventually(d, "a revoke that was acknowledged is known", func() error { return d.isOver(revoked) })
	}
	d.over(ending)
	return resumed
}

// probes makes the grants that end during a step, one after the other, and has each of
// them used.
func (d *driver) probes() (ending []probe, revoked probe) {
	d.Helper()
	ctx := d.Context()
	path, charge := fmt.Sprintf("/monthly/ends/%d", d.steps), fmt.Sprintf("ch_ends%d", d.steps)
	over := fmt.Sprintf("/monthly/revoked/%d", d.steps)
	revoked = probe{
		try:   func() answer { return read(ctx, d.traffic.refunder, over) },
		grant: d.mayRead(d, d.world.refunder, over, 10*time.Minute), after: []string{"revoked", "no_grant", "constraint"},
	}
	ending = []probe{
		{
			try:   func() answer { return read(ctx, d.traffic.refunder, path) },
			grant: d.mayRead(d, d.world.refunder, path, endTerm), after: []string{"ended", "no_grant", "constraint"},
		},
		{ // the grant for ch_1, which lives on, is the nearer miss
			try:   func() answer { return refund(ctx, d.traffic.refunder, charge, 17) },
			grant: d.mayRefund(d, charge, endTerm), after: []string{"constraint"},
		},
	}
	eventually(d, "a call under "+revoked.grant.ID, func() error { return d.probe(revoked).must("") })
	for i := range ending {
		p := &ending[i]
		p.end = check[time.Time](d)(audit.ParseStamp(p.grant.NotAfter))
		eventually(d, "a call under "+p.grant.ID, func() error { return d.probe(*p).must("") })
	}
	return ending, revoked
}

// revoke ends a grant early if mayflyd can be reached, and reports whether it said so.
func (d *driver) revoke(id string) bool {
	ctx, cancel := context.WithTimeout(d.Context(), 3*time.Second)
	defer cancel()
	if _, err := d.bob.Revoke(ctx, id, api.Because{Reason: "a mistake"}); err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked = append(d.revoked, id)
	return true
}

// press calls without a pause, so that calls are under way when the end comes.
func (d *driver) press(ctx context.Context, p probe) {
	for ctx.Err() == nil {
		d.probe(p)
		pause(ctx, 5*time.Millisecond)
	}
}

// probe calls, and fails the test if what was sent after the end is allowed.
func (d *driver) probe(p probe) answer {
	late := !p.end.IsZero() && !time.Now().Before(p.end)
	a := p.try()
	d.note("ending", a)
	if late && a.allowed {
		d.Errorf("allowed at %s under %s, which ended at %s", time.Now().UTC(), p.grant.ID, p.grant.NotAfter)
	}
	return a
}

// over fails the test unless each probe is refused.
func (d *driver) over(ended []probe) {
	d.Helper()
	for _, p := range ended {
		if err := d.isOver(p); err != nil {
			d.Errorf("%s has ended: %v", p.grant.ID, err)
		}
	}
}

// overOrStale is over while the gateway hears nothing: on a machine so busy that its lease
// runs out before it is asked, it says that instead. What it says once it hears again is
// for over.
func (d *driver) overOrStale(ended []probe) {
	d.Helper()
	for _, p := range ended {
		p.after = append(slices.Clone(p.after), "stale")
		if err := d.isOver(p); err != nil {
			d.Errorf("%s has ended: %v", p.grant.ID, err)
		}
	}
}

// isOver returns nil if a probe is refused as it must be after its end.
func (d *driver) isOver(p probe) error {
	if a := d.probe(p); a.allowed || !slices.Contains(p.after, a.code) {
		return a.must(p.after[0])
	}
	return nil
}

// sees has callers told what the fault does to them.
func (d *driver) sees(f fault) {
	d.Helper()
	ctx := d.Context()
	var asking sync.WaitGroup
	defer asking.Wait()
	for lane, code := range f.shows {
		try := map[string]func() answer{
			"read":  func() answer { return read(ctx, d.traffic.reporter, "/daily/sees") },
			"write": func() answer { return write(ctx, d.traffic.reporter, "/daily/sees") },
			"money": func() answer { return refund(ctx, d.traffic.refunder, "ch_1", 3) },
		}[lane]
		asking.Go(func() {
			within, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if f.atOnce {
				cancel()
			}
			err := env.Eventually(within, lane+" sees it", func() error {
				a := try()
				d.note(lane, a)
				return a.must(code)
			})
			if err != nil {
				d.Error(err)
			}
		})
	}
}

// stock stops the traffic, verifies the record, holds it against what arrived and what
// was acknowledged, and returns the sums so far.
func (d *driver) stock() tally {
	d.Helper()
	d.road.Lock()
	defer d.road.Unlock()
	if err := d.gw.Shipped(d.Context()); err != nil {
		d.Fatal(err)
	}
	dir := filepath.Join(d.TempDir(), "record")
	if err := d.Export(d.Context(), d.bob, dir); err != nil {
		d.Fatal(err)
	}
	d.verify(dir)
	r, gone := d.record, d.record.Read(dir)
	out := d.sum()
	out.intents = len(r.Intents)
	breaches := r.Hold(d.arrivals())
	for _, b := range breaches {
		d.Error(b)
		switch b.Kind {
		case env.AfterEnd:
			out.late++
		default:
			out.unrecorded++
		}
	}
	for _, err := range append(d.lost(r), gone) {
		if err == nil {
			continue
		}
		d.Error(err)
		out.lost++
	}
	for id, i := range r.Intents {
		if i.FreshnessMS >= staleAfter.Milliseconds() {
			d.Errorf("%s was decided %d ms after the newest Ping", id, i.FreshnessMS)
		}
	}
	if out.arrivals < out.allowed {
		d.Errorf("%d calls were allowed and %d arrived", out.allowed, out.arrivals)
	}
	d.outcomes(r)
	return out
}

// keep keeps a checkpoint for the verifier.
func (d *driver) keep() {
	d.Helper()
	path := filepath.Join(d.Dir, fmt.Sprintf("checkpoint.%d", len(d.kept)))
	if err := os.WriteFile(path, check[[]byte](d)(d.bob.Checkpoint(d.Context())), 0o600); err != nil {
		d.Fatal(err)
	}
	d.kept = append(d.kept, path)
}

// verify has the command verify an export, against every checkpoint kept. It is the
// built one: without the race detector it takes a tenth of the time.
func (d *driver) verify(dir string) {
	d.Helper()
	args := []string{"audit", "verify", dir, "--key", d.KeyFile()}
	for _, path := range d.kept {
		args = append(args, "--checkpoint", path)
	}
	ran := check[env.Ran](d)(d.CLI(d.Context(), "bob", args...))
	if ran.Exit != 0 {
		d.Fatalf("the record does not hold: exit %d: %s", ran.Exit, ran.Text())
	}
}

// lost returns what was acknowledged and is not on record.
func (d *driver) lost(r *env.Record) (out []error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.made {
		if _, ok := r.Grants[id]; !ok {
			out = append(out, fmt.Errorf("%s was acknowledged and is not on record", id))
		}
	}
	for _, id := range slices.Concat(d.finished, d.revoked) {
		if _, ok := r.Ended[id]; !ok {
			out = append(out, fmt.Errorf("that %s was ended early was acknowledged and is not on record", id))
		}
	}
	return out
}

// outcomes wants one of each intent of a process that is dead.
func (d *driver) outcomes(r *env.Record) {
	d.Helper()
	lives := check[env.GatewayStatus](d)(d.gw.Status(d.Context())).Instance
	for id, i := range r.Intents {
		if _, ok := r.Outcomes[id]; !ok && i.Node != lives {
			d.Errorf("%s of a process that is dead has no outcome", id)
		}
	}
}
