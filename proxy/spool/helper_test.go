package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// clock is t of a test: a microsecond later on each reading.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(noon().UnixMicro())
	return c
}

func (c *clock) now() time.Time {
	at := c.at.Add(1)
	if at < 1<<40 {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

func (c *clock) pass(d time.Duration) { c.at.Add(d.Microseconds()) }

// plane is a mayflyd that keeps segments, as Ingest does (contracts §5).
type plane struct {
	mu      sync.Mutex
	next    uint64
	head    audit.Hash
	frames  []byte
	entries []audit.Entry
	calls   int
	down    error // nil: answers
	lose    bool  // keeps the segment and loses its reply
}

func newPlane() *plane { return &plane{next: 1} }

func (p *plane) ship(_ context.Context, s audit.Segment) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if p.down != nil {
		return 0, p.down
	}
	entries, err := audit.CheckSegment(p.head, p.next, s)
	var gap *audit.GapError
	switch {
	case errors.Is(err, audit.ErrDuplicate), errors.As(err, &gap):
		return p.next, nil
	case err != nil:
		return 0, err
	}
	p.next, p.head, p.frames = s.Last+1, s.ChainHead, append(p.frames, s.Frames...)
	p.entries = append(p.entries, entries...)
	if p.lose {
		p.lose = false
		return 0, errors.New("the reply was lost")
	}
	return p.next, nil
}

func (p *plane) set(change func(*plane)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func config(dir string, p *plane) Config {
	return Config{
		Dir: dir, Node: "spiffe://acme.example/gw/sidecar#0123456789abcdef0123456789abcdef", Version: "test",
		Minter: grant.NewMinter(), Now: newClock().now, Ship: p.ship,
	}
}

func open(t testing.TB, c Config) *Spool {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs s; the returned func ends and closes it.
func run(t testing.TB, s *Spool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil && s.failure() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func intent(id string) audit.Intent {
	return audit.Intent{Grant: "grt_01ARZ3NDEKTSV4RRFFQ69G5FAV", Try: audit.Try{
		Action: id, Principal: "p_1", App: "stripe", Operation: "refunds.create", Class: "money",
		Ask: audit.Ask{Method: "POST", Authority: "stripe.acme.example"},
	}}
}

var minter = sync.OnceValue(grant.NewMinter)

func newAction() string { return minter().NewActionID(noon()).String() }

func mustIntent(t testing.TB, s *Spool, durable bool) string {
	t.Helper()
	id := newAction()
	if _, err := s.Intent(context.Background(), intent(id), durable); err != nil {
		t.Fatal(err)
	}
	return id
}

func sent(id string) audit.Outcome {
	return audit.Outcome{Action: id, Result: audit.ResultSent, Status: 200}
}

// disked reads all frames of a folder.
func disked(t testing.TB, dir string) []byte {
	t.Helper()
	files, err := listFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// scan reads whole frames from seq 1 on and fails the test if the chain breaks.
func scan(t testing.TB, frames []byte) []audit.Record {
	t.Helper()
	var out []audit.Record
	tail, err := audit.ScanFrames(frames, audit.Hash{}, 1, func(e audit.Entry) error {
		out = append(out, e.Record)
		return nil
	})
	if err != nil || tail.Torn {
		t.Fatalf("the chain does not hold: %v, %+v", err, tail)
	}
	return out
}

// summary names the records: their type, and of outcomes result and reason.
func summary(t testing.TB, records []audit.Record) []string {
	t.Helper()
	var out []string
	for _, r := range records {
		text := strings.TrimPrefix(string(r.Type), "action.")
		if r.Type == audit.TypeActionOutcome {
			var o audit.Outcome
			if err := r.Into(&o); err != nil {
				t.Fatal(err)
			}
			text += " " + string(o.Result) + " " + o.Reason
		}
		out = append(out, strings.TrimSpace(text))
	}
	return out
}

func wantRecords(t testing.TB, records []audit.Record, want ...string) {
	t.Helper()
	if got := summary(t, records); !slices.Equal(got, want) {
		t.Fatalf("on record is\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// folder copies a spool folder as it is now, without its lock.
func folder(t testing.TB, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return out
}

// faulty is a disk that fails when it is told to.
type faulty struct {
	disk
	trouble *trouble
}

type trouble struct {
	mu                    sync.Mutex
	write, sync, truncate error
	half                  bool          // of a failing write, half arrives
	hold                  chan struct{} // non-nil: syncs wait until it is closed
	syncs                 int
}

func (d *trouble) set(change func(*trouble)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *trouble) open(path string, flag int) (disk, error) {
	f, err := openFile(path, flag)
	return faulty{f, d}, err
}

func (f faulty) Write(b []byte) (int, error) {
	f.trouble.mu.Lock()
	err, half := f.trouble.write, f.trouble.half
	f.trouble.mu.Unlock()
	if err == nil {
		return f.disk.Write(b)
	}
	if !half {
		return 0, err
	}
	n, werr := f.disk.Write(b[:len(b)/2])
	return n, errors.Join(err, werr)
}

func (f faulty) Sync() error {
	f.trouble.mu.Lock()
	err, hold := f.trouble.sync, f.trouble.hold
	f.trouble.syncs++
	f.trouble.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err != nil {
		return err
	}
	return f.disk.Sync()
}

func (f faulty) Truncate(n int64) error {
	f.trouble.mu.Lock()
	err := f.trouble.truncate
	f.trouble.mu.Unlock()
	if err != nil {
		return err
	}
	return f.disk.Truncate(n)
}

// eventually waits until f holds; the test's own time limit ends it.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
