package feed_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
)

const sidecar = "spiffe://acme.example/gw/sidecar"

// memory is a Sink that keeps the ids it holds and when its lease was renewed.
type memory struct {
	credulous bool // holds what it does not understand

	mu      sync.Mutex
	at      feed.Position
	filled  bool
	held    map[string]bool
	swaps   int
	applied []int64
	pongs   []time.Duration
}

func (m *memory) Position() (feed.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at, m.filled
}

func (m *memory) Fill(at feed.Position) (feed.Filling, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.Before(m.at) {
		return nil, errors.New("below what was seen")
	}
	return &pending{m, feedtest.Snapshot{At: at}}, nil
}

// pending is a snapshot that is not whole yet.
type pending struct {
	of *memory
	feedtest.Snapshot
}

func (p *pending) Add(part []*feed.Resource) { p.Resources = append(p.Resources, part...) }

func (p *pending) Swap(context.Context) (feed.Receipt, []*feed.Nack, error) {
	m := p.of
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.filled, m.held = p.At, true, map[string]bool{}
	m.swaps++
	return feed.Receipt{At: p.At}, m.put(p.Resources), nil
}

func (m *memory) Apply(_ context.Context, d *feed.Delta) (feed.Receipt, []*feed.Nack, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = feed.Position{Epoch: d.GetEpoch(), Revision: d.GetRevision()}
	m.applied = append(m.applied, d.GetRevision())
	r := feed.Receipt{At: m.at}
	for _, x := range d.GetRemovals() {
		delete(m.held, x.GetId())
		r.LastAllowed, r.LastAction = time.Unix(1, 0), "act_of_"+x.GetId()
	}
	return r, m.put(d.GetResources()), nil
}

func (m *memory) put(resources []*feed.Resource) (nacks []*feed.Nack) {
	for _, r := range resources {
		if n := feed.Unsupported(r, 1); n != nil && !m.credulous {
			delete(m.held, r.GetId())
			nacks = append(nacks, n)
			continue
		}
		m.held[r.GetId()] = true
	}
	return nacks
}

func (m *memory) Advance(at feed.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = at
	return nil
}

func (m *memory) Ponged(sent time.Duration, _ *feed.Pong) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pongs = append(m.pongs, sent)
	return nil
}

func (m *memory) Extends([]byte, *feed.Pong) error { return nil }

func (m *memory) Describe(p *feed.Ping) { p.CheckpointSize = 7 }

func (m *memory) holds(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[id]
}

func (m *memory) renewals() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pongs)
}

func (m *memory) swapped() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swaps
}

// running is one instance with a client that runs.
type running struct {
	instance feed.Instance
	sink     *memory
	client   *feed.Client
	alarms   func() []string
	stop     func()
}

func run(t *testing.T, to func() *feedtest.Wire, sink *memory) *running {
	t.Helper()
	return runSink(t, to, sink, sink)
}

// runSink runs a client that fills a sink with that memory.
func runSink(t *testing.T, to func() *feedtest.Wire, kept *memory, sink feed.Sink) *running {
	t.Helper()
	i, err := feed.NewInstance(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var alarms []string
	start := time.Now()
	c, err := feed.NewClient(feed.ClientConfig{
		Conn: feedtest.DialFunc(t, to), Instance: i, Reader: 1, Sink: sink, Version: "test",
		BootNow: func() time.Duration { return time.Since(start) },
		Alarm: func(s string) {
			mu.Lock()
			defer mu.Unlock()
			alarms = append(alarms, s)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return &running{i, kept, c, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), alarms...) }, stop}
}

func fixed(w *feedtest.Wire) func() *feedtest.Wire { return func() *feedtest.Wire { return w } }

func someGrant(id string) *feed.Resource {
	return &feed.Resource{Id: id, MinReader: 1, Resource: &feed.Resource_Grant{Grant: &feed.Grant{App: "stripe", Rules: []*feed.Rule{{Operation: "refunds.create"}}}}}
}

// newer returns r as a newer control plane would write it: with a field that
// this binary does not have, in a message as deep as path says.
func newer(r *feed.Resource, in func(*feed.Resource) proto.Message) *feed.Resource {
	out := proto.CloneOf(r)
	raw := protowire.AppendString(protowire.AppendTag(nil, 200, protowire.BytesType), "only on Tuesdays")
	in(out).ProtoReflect().SetUnknown(raw)
	return out
}

func newSource() *feedtest.Source {
	s := feedtest.NewSource(time.Now)
	s.Front(sidecar, "stripe")
	return s
}
