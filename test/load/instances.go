package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// fleetPlan is the first order to a fleet.
type fleetPlan struct {
	Nodes       string // mayflyd's address
	WorkloadAPI string
	Control     string // SPIFFE IDs
	Sidecar     string
	RecordKey   string // a file
	Dir         string // for what instances keep on disk
	Count       int
}

// order is a later one; what is set is done.
type order struct {
	Stall   int      // so many of the last instances stop reading
	Probed  int      // so many of the first are probed from now on,
	Records int      // and so many records a second are shipped,
	Grants  []string // of requests under these grants
	Probe   string   // probe this grant
	Seen    string   // stop, and tell what was seen
	Written bool     // ship no more, and tell how much it was
}

// news is what a fleet tells.
type news struct {
	Joined  int           `json:",omitempty"` // so many hold a whole snapshot
	Sync    time.Duration `json:",omitempty"` // how long the slowest of them took
	Change  string        `json:",omitempty"` // this reached every instance that reads
	At      time.Duration `json:",omitempty"` // the boot clock then
	Stalled int           `json:",omitempty"`
	Seen    *seen         `json:",omitempty"`
	Written *float64      `json:",omitempty"` // records a second
}

// seen is what was seen of one grant by all probes.
type seen struct {
	Grant              string
	Last, Cut, Refused time.Duration // boot clock; 0: never
	Allowed            int
}

// instances are simulated sidecars: everything of one but Envoy, spool and secrets.
type instances struct {
	stage  *stage
	plan   fleetPlan
	record *audit.Verifier
	own    *spiffe.Source
	all    []*instance

	probing *probing
	probed  []*instance
	writing *writing

	mu      sync.Mutex
	reading int
	seen    map[string]int // how many hold a change
	joined  int
	slowest time.Duration
}

// fleetGC has a thousand tables in one process looked through less often: a gateway has
// one.
const fleetGC = 400

// atOnce is how many instances are started at once: gateways do not all start in
// the same millisecond. What a restart of mayflyd does to them is not held back.
const atOnce = 32

func playFleet(ctx context.Context, s *stage) error {
	debug.SetGCPercent(fleetGC)
	f := &instances{stage: s, seen: map[string]int{}}
	if err := s.next(&f.plan); err != nil {
		return err
	}
	f.reading = f.plan.Count
	key, err := os.ReadFile(f.plan.RecordKey)
	if err != nil {
		return err
	}
	if f.record, err = audit.NewVerifier(string(key)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if err := f.identify(ctx, &running); err != nil {
		return err
	}
	if err := f.launch(ctx, &running); err != nil {
		return err
	}
	for {
		var o order
		if err := s.next(&o); err != nil {
			return err
		}
		if err := f.obey(ctx, o, &running); err != nil {
			return err
		}
	}
}

func (f *instances) obey(ctx context.Context, o order, running *sync.WaitGroup) error {
	if o.Stall > 0 {
		f.stall(o.Stall)
	}
	if o.Probed > 0 {
		f.probing, f.probed = newProbing(), f.all[:min(o.Probed, len(f.all))]
		for _, i := range f.probed {
			running.Go(func() { f.probing.run(ctx, i) })
		}
	}
	if o.Records > 0 {
		f.writing = f.write(ctx, o.Records, o.Grants)
	}
	if o.Probe != "" {
		id, err := parseGrant(o.Probe)
		if err != nil {
			return err
		}
		f.probing.begin(ctx, f.probed, id, running)
	}
	if o.Seen != "" {
		id, err := parseGrant(o.Seen)
		if err != nil {
			return err
		}
		p := f.probing.end(id)
		return f.stage.tell(news{Seen: &seen{Grant: o.Seen, Last: p.last, Cut: p.cut, Refused: p.refused, Allowed: p.allowed}})
	}
	if o.Written {
		rate := 0.0
		if f.writing != nil {
			rate = f.writing.end()
		}
		return f.stage.tell(news{Written: &rate})
	}
	return nil
}

// identify gets the SVID that all instances share.
func (f *instances) identify(ctx context.Context, running *sync.WaitGroup) error {
	id, err := spiffeid.FromString(f.plan.Sidecar)
	if err != nil {
		return err
	}
	if f.own, err = spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: f.plan.WorkloadAPI, ID: id}); err != nil {
		return err
	}
	running.Go(func() { _ = f.own.Run(ctx) })
	return f.own.Wait(ctx)
}

func (f *instances) launch(ctx context.Context, running *sync.WaitGroup) error {
	slots := make(chan struct{}, atOnce)
	for n := range f.plan.Count {
		i, err := f.newInstance(n)
		if err != nil {
			return err
		}
		f.all = append(f.all, i)
		slots <- struct{}{}
		i.synced = func() { <-slots }
		i.began = proxy.BootNow()
		running.Go(func() { _ = i.client.Run(ctx) })
	}
	return nil
}

// stall makes the last n instances stop reading what mayflyd sends.
func (f *instances) stall(n int) {
	f.mu.Lock()
	f.reading -= n
	f.mu.Unlock()
	for _, i := range f.all[len(f.all)-n:] {
		i.line.stop()
	}
	_ = f.stage.tell(news{Stalled: n})
}

// took notes that an instance holds a change, and tells when the last one does.
func (f *instances) took(id string) {
	at := proxy.BootNow()
	f.mu.Lock()
	f.seen[id]++
	last := f.seen[id] == f.reading
	if last {
		delete(f.seen, id)
	}
	f.mu.Unlock()
	if last {
		_ = f.stage.tell(news{Change: id, At: at})
	}
}

func (f *instances) entered(i *instance) {
	took := proxy.BootNow() - i.began
	f.mu.Lock()
	f.joined++
	f.slowest = max(f.slowest, took)
	told := news{Joined: f.joined, Sync: f.slowest}
	f.mu.Unlock()
	_ = f.stage.tell(told)
}

// instance is one simulated sidecar. It is its client's Sink: its table, watched.
type instance struct {
	*proxy.Table
	fleet  *instances
	client *feed.Client
	line   *line
	name   string // instance id
	log    *slog.Logger
	began  time.Duration
	synced func() // once, after the first snapshot
	once   sync.Once
}

func (f *instances) newInstance(n int) (*instance, error) {
	i := &instance{fleet: f, line: newLine()}
	// Marks are not kept: a thousand gateways have a thousand disks.
	clock, err := proxy.OpenClock(proxy.ClockConfig{Mark: filepath.Join(f.plan.Dir, fmt.Sprintf("clock-%d", n))})
	if err != nil {
		return nil, err
	}
	// Nor are checkpoints; that what Pongs show of the record goes on is checked.
	witness, err := proxy.OpenWitness(proxy.WitnessConfig{Record: f.record, File: filepath.Join(f.plan.Dir, fmt.Sprintf("checkpoint-%d", n))})
	if err != nil {
		return nil, err
	}
	if i.Table, err = proxy.NewTable(proxy.TableConfig{Clock: clock, Sidecar: f.plan.Sidecar, Witness: witness}); err != nil {
		return nil, err
	}
	conn, err := f.dial(i.line)
	if err != nil {
		return nil, err
	}
	id, err := feed.NewInstance(f.plan.Sidecar)
	if err != nil {
		return nil, err
	}
	i.name = id.String()
	i.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("instance", n)
	i.client, err = feed.NewClient(feed.ClientConfig{
		Conn: conn, Instance: id, Version: "load", Reader: proxy.Reader, Sink: i, BootNow: proxy.BootNow,
		Log: i.log,
	})
	return i, err
}

func (f *instances) dial(l *line) (*grpc.ClientConn, error) {
	control, err := spiffeid.FromString(f.plan.Control)
	if err != nil {
		return nil, err
	}
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: f.own.Bundles, TrustDomains: []spiffeid.TrustDomain{control.TrustDomain()}})
	if err != nil {
		return nil, err
	}
	config, err := spiffe.ClientTLS(spiffe.TLSConfig{Source: f.own, Verifier: verifier, Authorize: spiffe.Only(control), NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(f.plan.Nodes, append(feed.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithContextDialer(l.dial))...)
}

// Fill implements feed.Sink.
func (i *instance) Fill(at feed.Position) (feed.Filling, error) {
	f, err := i.Table.Fill(at)
	return filling{f, i}, err
}

// filling is a snapshot on its way into an instance.
type filling struct {
	feed.Filling
	of *instance
}

// Swap implements feed.Filling.
func (f filling) Swap(ctx context.Context) (feed.Receipt, []*feed.Nack, error) {
	r, nacks, err := f.Filling.Swap(ctx)
	if err == nil {
		f.of.once.Do(func() { f.of.synced(); f.of.fleet.entered(f.of) })
	}
	return r, nacks, err
}

// Apply implements feed.Sink. A change counts when nothing decided before it is on
// its way any more.
func (i *instance) Apply(ctx context.Context, d *feed.Delta) (feed.Receipt, []*feed.Nack, error) {
	r, nacks, err := i.Table.Apply(ctx, d)
	if err != nil {
		return r, nacks, err
	}
	for _, one := range d.GetResources() {
		i.fleet.took(one.GetId())
	}
	for _, one := range d.GetRemovals() {
		i.fleet.took("-" + one.GetId())
	}
	return r, nacks, nil
}
