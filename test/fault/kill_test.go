package fault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

const (
	outageTerm = 3 * time.Second // of the grants that end during an outage: less than stale_after
	beforeEnd  = 100 * time.Millisecond
)

// outage is one kind of kill: what is killed, and how it comes back.
type outage struct {
	name  string
	kill  func(w *killing)
	mend  func(w *killing)
	quick bool // it comes back by itself: killed just before the grants' end
	deaf  bool // the gateway stays up, so it must itself end the grants in time
}

// killing is the state of TestP5_Kill.
type killing struct {
	*world
	t      *testing.T
	kept   [][]byte        // checkpoints that a verifier holds
	kills  map[string]int  // by process
	ended  map[string]int  // grants ended during an outage, by kind
	resume []time.Duration // how long traffic took to resume
}

// probe is a call under a grant that is about to end, and how it may be refused
// then: a gateway that started anew never heard of the grant.
type probe struct {
	try   func() answer
	grant api.Grant
	end   time.Time
	after []string
}

// TestP5_Kill kills every process of the product, in turn and together, under
// traffic, and then holds what reached the upstreams against the record.
func TestP5_Kill(t *testing.T) {
	w := &killing{world: newWorld(t), t: t, kills: map[string]int{}, ended: map[string]int{}}
	w.mayRead(t, w.world.reporter, "/daily", 30*time.Minute)
	w.mayRefund(t, "ch_1", 2*time.Hour)
	busy, stop := context.WithCancel(t.Context())
	defer stop()
	w.run(busy)
	w.ask(busy, w.world.reporter)
	w.resumed(t)

	rounds, want := 5, 5000
	if long() {
		rounds, want = 50, 50_000
	}
	envoy := outage{name: "envoy", quick: true, kill: (*killing).killEnvoy, mend: func(*killing) {}}
	control := outage{name: "mayflyd", deaf: true, kill: (*killing).killControl, mend: (*killing).mendControl}
	sidecar := outage{name: "sidecar", kill: (*killing).killSidecar, mend: (*killing).mendSidecar}
	together := outage{
		name: "together",
		kill: func(w *killing) { w.killEnvoy(); w.killControl(); w.killSidecar() },
		mend: func(w *killing) { w.mendControl(); w.mendSidecar() },
	}
	for round := range rounds {
		kinds := []outage{envoy, control, sidecar}
		if round < 2 || round%5 == 0 {
			kinds = append(kinds, together)
		}
		for _, o := range kinds {
			if round == 0 {
				w.endDuring(o)
			} else {
				o.kill(w)
				o.mend(w)
				w.resume = append(w.resume, w.resumed(t))
			}
		}
	}
	for n := w.passed("read", "money"); n < want; n = w.passed("read", "money") {
		eventually(t, "more actions", func() error {
			if now := w.passed("read", "money"); now < min(n+500, want) {
				return fmt.Errorf("%d of %d", now, want)
			}
			return nil
		})
	}
	stop()
	w.done.Wait()
	w.account(want)
}

func (w *killing) killEnvoy() {
	w.t.Helper()
	var pid int
	eventually(w.t, "an Envoy to kill", func() (err error) {
		if pid, err = w.gw.Envoy(); err == nil && pid == 0 {
			err = errors.New("none runs")
		}
		return err
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	w.kills["envoy"]++
}

func (w *killing) killControl() {
	w.t.Helper()
	w.kept = append(w.kept, check[[]byte](w.t)(w.bob.Checkpoint(w.t.Context())))
	if err := w.Control.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.kills["mayflyd"]++
}

// killSidecar kills its Envoy too: the child must not outlive it.
func (w *killing) killSidecar() {
	w.t.Helper()
	pid, _ := w.gw.Envoy()
	if err := w.gw.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.kills["sidecar"]++
	if pid == 0 {
		return
	}
	eventually(w.t, "Envoy dies with its sidecar", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		return nil
	})
}

func (w *killing) mendControl() {
	w.t.Helper()
	if err := w.StartControl(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *killing) mendSidecar() {
	w.t.Helper()
	if err := w.RestartGateway(w.t.Context(), w.gw); err != nil {
		w.t.Fatal(err)
	}
}

// endDuring lets a grant to read and one to refund end while something is dead.
func (w *killing) endDuring(o outage) {
	w.t.Helper()
	ctx := w.t.Context()
	path, charge := "/monthly/"+o.name, "ch_"+o.name
	probes := []probe{
		{
			try:   func() answer { return read(ctx, w.traffic.refunder, path) },
			grant: w.mayRead(w.t, w.world.refunder, path, outageTerm), after: []string{"ended", "no_grant"},
		},
		{ // the grant for ch_1, which lives on, is the nearer miss
			try:   func() answer { return refund(ctx, w.traffic.refunder, charge, 17) },
			grant: w.mayRefund(w.t, charge, outageTerm), after: []string{"constraint"},
		},
	}
	var end time.Time
	for i := range probes {
		p := &probes[i]
		p.end = check[time.Time](w.t)(audit.ParseStamp(p.grant.NotAfter))
		eventually(w.t, "a call under "+p.grant.ID, func() error { return w.probe(*p).must("") })
		if p.end.After(end) {
			end = p.end
		}
	}
	busy, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	for _, p := range probes {
		done.Go(func() { w.press(busy, p) })
	}
	if o.quick {
		until(w.t, probes[0].end.Add(-beforeEnd))
	}
	o.kill(w)
	until(w.t, end)
	if o.deaf {
		for _, p := range probes {
			if err := w.probe(p).must(p.after[0]); err != nil {
				w.t.Errorf("%s, with nobody to tell the gateway: %v", p.grant.ID, err)
			}
		}
	}
	o.mend(w)
	w.resume = append(w.resume, w.resumed(w.t))
	stop()
	done.Wait()
	for _, p := range probes {
		if a := w.probe(p); a.allowed || !slices.Contains(p.after, a.code) {
			w.t.Errorf("%s: %s ended during the outage: %v", o.name, p.grant.ID, a.must(p.after[0]))
		}
		w.ended[o.name]++
	}
}

// press calls without a pause, so that calls are under way when the end comes.
func (w *killing) press(ctx context.Context, p probe) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		w.probe(p)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// probe calls, and fails the test if what was sent after the end is allowed.
func (w *killing) probe(p probe) answer {
	late := !time.Now().Before(p.end)
	a := p.try()
	w.note("ending", a)
	if late && a.allowed {
		w.t.Errorf("allowed at %s under %s, which ended at %s", time.Now().UTC(), p.grant.ID, p.grant.NotAfter)
	}
	return a
}

// account drains, exports, verifies, compares, and prints one table.
func (w *killing) account(want int) {
	t := w.t
	t.Helper()
	ctx := t.Context()
	if err := w.gw.Shipped(ctx); err != nil {
		t.Fatal(err)
	}
	w.bob = check[*api.Client](t)(w.Person(ctx, "bob")) // groups that decide are 15 minutes old at most
	dir := filepath.Join(t.TempDir(), "record")
	if err := w.Export(ctx, w.bob, dir); err != nil {
		t.Fatal(err)
	}
	report := check[audit.Report](t)(w.Verify(dir, w.kept...))
	for _, p := range report.Problems {
		t.Error("the record does not hold: ", p)
	}
	if !report.OK() || !report.KeyGiven {
		t.Fatal("the record does not hold")
	}
	r := check[*env.Record](t)(env.ReadRecord(dir))
	arrivals := append(w.Reports.Arrivals(), w.Stripe.Arrivals()...)
	for _, err := range r.Hold(arrivals) {
		t.Error(err)
	}
	for _, id := range w.made {
		if _, ok := r.Grants[id]; !ok {
			t.Errorf("%s was acknowledged and is not on record", id)
		}
	}
	for _, id := range w.finished {
		if _, ok := r.Ended[id]; !ok {
			t.Errorf("that %s is finished was acknowledged and is not on record", id)
		}
	}
	for id, i := range r.Intents {
		if _, ok := r.Outcomes[id]; !ok && i.Node != check[env.GatewayStatus](t)(w.gw.Status(ctx)).Instance {
			t.Errorf("%s of a process that is dead has no outcome", id)
		}
	}
	passed := w.passed("read", "money", "ending")
	if len(arrivals) < passed {
		t.Errorf("%d calls were allowed and %d arrived", passed, len(arrivals))
	}
	for process, n := range w.kills {
		if n < 5 {
			t.Errorf("%s was killed %d times", process, n)
		}
	}
	for _, kind := range []string{"envoy", "mayflyd", "sidecar", "together"} {
		if w.ended[kind] == 0 {
			t.Errorf("no grant ended while %s was dead", kind)
		}
	}
	if len(r.Intents) < want {
		t.Errorf("%d actions, want %d", len(r.Intents), want)
	}
	w.print(r, report, arrivals)
}

func (w *killing) print(r *env.Record, report audit.Report, arrivals []env.Arrival) {
	outcomes := map[string]int{}
	for _, o := range r.Outcomes {
		outcomes[string(o.Result)]++
	}
	spools := map[string]bool{}
	for _, i := range r.Intents {
		spools[i.Node] = true
	}
	var b strings.Builder
	out := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(out, "%s\t%v\n", name, value) }
	line("actions on record (intents)", len(r.Intents))
	line("acknowledged before the act", len(r.Reserved))
	line("arrived at the upstreams", len(arrivals))
	line("outcomes", outcomes)
	line("intents without an outcome", len(r.Intents)-len(r.Outcomes))
	line("denials on record", r.Denied)
	line("kills", w.kills)
	line("grants made, finished and on record", fmt.Sprintf("%d, %d", len(w.made), len(w.finished)))
	line("grants ended during an outage", w.ended)
	line("resumed within", fmt.Sprint(longest(w.resume)))
	line("instances", len(spools))
	line("leaves, segments, frames", fmt.Sprintf("%d, %d, %d", report.Leaves, report.Segments, report.Frames))
	line("checkpoints kept and consistent", len(w.kept))
	line("verifier's notes", len(report.Notes))
	_ = out.Flush()
	w.t.Log("\n" + b.String() + w.table())
}

func longest(all []time.Duration) (out time.Duration) {
	for _, d := range all {
		out = max(out, d)
	}
	return out.Round(time.Millisecond)
}
