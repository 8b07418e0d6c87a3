package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"

	"github.com/mayflyproxy/mayfly/grant"
)

// Config is what a Tracer is made of. Service is required.
type Config struct {
	Settings Settings
	Service  string // service.name
	Version  string // service.version
	Instance string // service.instance.id; empty: none
	// Now is the wall clock, by which spans are placed beside those of others.
	// Nothing is decided by it. Nil: time.Now.
	Now func() time.Time
	Log *slog.Logger // nil: none
}

// Tracer takes spans and exports them. nil is off: nothing is taken. It is safe for
// concurrent use.
type Tracer struct {
	target   target
	export   exporter
	resource *resourcepb.Resource
	version  string
	now      func() time.Time
	log      *slog.Logger

	queue    chan Span
	callers  *allowance
	refusals *allowance

	exported, dropped, lost atomic.Uint64
}

// New checks c; nil and no error if its Settings are off. Nothing is sent before
// Run.
func New(c Config) (*Tracer, error) {
	if !c.Settings.On() {
		return nil, c.Settings.Check()
	}
	if c.Service == "" {
		return nil, errors.New("trace: no name of the service")
	}
	to, err := c.Settings.read()
	if err != nil {
		return nil, err
	}
	t := &Tracer{
		target: to, export: newClient(to), resource: resource(c.Service, c.Version, c.Instance), version: c.Version, now: c.Now, log: c.Log,
		queue: make(chan Span, to.queue), callers: newAllowance(callerRate), refusals: newAllowance(refusalRate),
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	return t, nil
}

// String says nothing of what the collector knows us by.
func (*Tracer) String() string { return "tracer" }

// GoString is String.
func (*Tracer) GoString() string { return "tracer" }

// Stats counts spans since the start.
type Stats struct {
	Exported uint64 `json:"exported"` // taken by the collector
	Dropped  uint64 `json:"dropped"`  // found the queue full
	Lost     uint64 `json:"lost"`     // sent, and refused or not answered for
	Waiting  int    `json:"waiting"`
}

// Stats returns how it stands. All zero if t is off.
func (t *Tracer) Stats() Stats {
	if t == nil {
		return Stats{}
	}
	return Stats{Exported: t.exported.Load(), Dropped: t.dropped.Load(), Lost: t.lost.Load(), Waiting: len(t.queue)}
}

// Now returns the wall clock for Begin and End of a Span; the zero time if t is off.
func (t *Tracer) Now() time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.now()
}

// Requested returns the trace and root of an access request, and false if it is not
// exported: t is off, or the request is not in the share.
func (t *Tracer) Requested(id grant.RequestID) (ID, SpanID, bool) {
	if t == nil || id.IsZero() {
		return ID{}, SpanID{}, false
	}
	trace, root := OfRequest(id)
	return trace, root, chosen(trace, t.target.sample)
}

// Emit takes a span to be exported. It never waits: if the queue is full the span is
// dropped and counted.
func (t *Tracer) Emit(s Span) {
	if t == nil {
		return
	}
	select {
	case t.queue <- s:
	default:
		t.dropped.Add(1)
	}
}

const (
	maxBatch  = 512
	gather    = 250 * time.Millisecond // how long a span waits for others to go with it
	flushTime = 5 * time.Second        // what is left at the end has this long
	logEvery  = 10 * time.Second
)

// Run exports until ctx ends, and then for at most 5 s what still waits. A collector
// that is away is no error: spans are lost, counted and logged, and nobody waits for
// it but Run.
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil {
		return nil
	}
	life := context.WithoutCancel(ctx)
	if err := t.export.Start(life); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	life, cancel := context.WithCancel(life)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, cancel) })()
	said := &said{every: logEvery}
	for {
		batch, more := t.next(ctx)
		if !more {
			t.flush(life, batch, said)
			return nil
		}
		t.send(life, batch, said)
	}
}

// next waits for a span and gathers those that come soon after it. more is false
// once ctx has ended.
func (t *Tracer) next(ctx context.Context) (batch []Span, more bool) {
	select {
	case <-ctx.Done():
		return nil, false
	case s := <-t.queue:
		batch = append(batch, s)
	}
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for len(batch) < maxBatch {
		select {
		case s := <-t.queue:
			batch = append(batch, s)
		case <-timer.C:
			return batch, true
		case <-ctx.Done():
			return batch, false
		}
	}
	return batch, true
}

// flush sends what waits when everything ends, until ctx does.
func (t *Tracer) flush(ctx context.Context, batch []Span, said *said) {
	said.at = time.Time{} // the last word is always said
	for ctx.Err() == nil {
		for len(batch) < maxBatch && len(t.queue) > 0 {
			batch = append(batch, <-t.queue)
		}
		if len(batch) == 0 {
			break
		}
		t.send(ctx, batch, said)
		batch = nil
	}
	t.lost.Add(uint64(len(batch)))
	_ = t.export.Stop(ctx) // nothing is left to send
}

// send exports one batch, with the retries of the exporter, and counts.
func (t *Tracer) send(ctx context.Context, batch []Span, said *said) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.target.timeout)
	defer cancel()
	err := t.export.UploadTraces(ctx, t.batch(batch))
	lost := lostOf(err, len(batch))
	t.lost.Add(uint64(lost))
	t.exported.Add(uint64(len(batch) - lost))
	if dropped := t.dropped.Load(); (err != nil || dropped > said.dropped) && said.due(time.Now()) {
		said.dropped = dropped
		text := ""
		if err != nil {
			text = t.target.headers.hide(err.Error())
		}
		t.log.WarnContext(ctx, "spans were not exported", "dropped", dropped, "lost", t.lost.Load(), "error", clip(text))
	}
}

// lostOf returns how many spans of a batch an export's error means. A collector that
// took some says how many it did not, in words that are all that the exporter shows.
func lostOf(err error, n int) int {
	if err == nil {
		return 0
	}
	if m := regexp.MustCompile(`^OTLP partial success: (?s:.*) \((\d+) spans rejected\)$`).FindStringSubmatch(err.Error()); m != nil {
		if rejected, err := strconv.Atoi(m[1]); err == nil && rejected <= n {
			return rejected
		}
	}
	return n
}

// said keeps a log of failures short: the counts in a line are of all so far.
type said struct {
	every   time.Duration
	at      time.Time
	dropped uint64
}

func (s *said) due(now time.Time) bool {
	if !s.at.IsZero() && now.Sub(s.at) < s.every {
		return false
	}
	s.at = now
	return true
}

func clip(s string) string {
	const limit = 300
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
