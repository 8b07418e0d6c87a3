package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// options is what the command line says.
type options struct {
	nodes   int
	grants  int
	changes int
	rate    float64 // changes a second
	records int     // action records a second
	probed  int
	stalled int
	synced  int // grants of the first sync
	stored  int // grants of which the memory is measured
	plot    string
	report  bool
	log     io.Writer
}

// result is what a scenario measured.
type result interface {
	// missed says which bounds of the scenario do not hold.
	missed() []string
}

// scenarios by name; each returns its points for the plot too.
var scenarios = map[string]func(context.Context, options) (result, chart, error){
	"feed":   feedScenario,
	"revoke": revokeScenario,
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	o := options{log: &lines{to: log}}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(log)
	name := flags.String("scenario", "", "one of "+names())
	flags.IntVar(&o.nodes, "nodes", 1000, "how many instances")
	flags.IntVar(&o.grants, "grants", 1000, "how many grants each of them holds")
	flags.IntVar(&o.changes, "changes", 200, "how many changes, or revokes, are measured")
	flags.Float64Var(&o.rate, "rate", 0, "changes, or revokes, a second; 0: 4 changes, or 2 revokes")
	flags.IntVar(&o.records, "records", 20000, "revoke: action records ingested a second")
	flags.IntVar(&o.probed, "probed", 50, "revoke: instances that are probed, 200 times a second each")
	flags.IntVar(&o.stalled, "stalled", 3, "feed: instances that stop reading")
	flags.IntVar(&o.synced, "synced", 100_000, "feed: grants of the first sync; 0: not measured")
	flags.IntVar(&o.stored, "stored", 1_000_000, "feed: grants in one table; 0: not measured")
	flags.StringVar(&o.plot, "plot", "", "write latency over time to this SVG file")
	flags.BoolVar(&o.report, "report", false, "report only: no bound is asserted")
	if err := flags.Parse(args); err != nil {
		return errors.Join(flag.ErrHelp, err)
	}
	play, ok := scenarios[*name]
	if !ok {
		return fmt.Errorf("no scenario %q; there are %s", *name, names())
	}
	if o.rate == 0 {
		o.rate = map[string]float64{"feed": 4, "revoke": 2}[*name]
	}
	if o.nodes < 1 || o.changes < 1 || o.rate <= 0 || o.stalled >= o.nodes {
		return errors.New("nodes, changes and rate are positive, and some instance reads")
	}
	r, c, err := play(ctx, o)
	if err != nil {
		return err
	}
	if o.plot != "" {
		if err := os.WriteFile(o.plot, c.svg(), 0o644); err != nil {
			return err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s\n", text); err != nil {
		return err
	}
	if missed := r.missed(); len(missed) > 0 && !o.report {
		return fmt.Errorf("missed: %s", strings.Join(missed, "; "))
	}
	return nil
}

func names() string {
	var out []string
	for name := range scenarios {
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (o options) say(format string, args ...any) { fmt.Fprintf(o.log, format+"\n", args...) }
