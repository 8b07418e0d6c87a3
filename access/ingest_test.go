package access_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// counted is a store that counts its changes, in each of which one spool cannot be
// written.
type counted struct {
	access.Store
	broken  string
	changes atomic.Int32
	append  func(n int) // told before the n-th segment is stored, from 0 on; nil: nobody

	mu   sync.Mutex
	done []string // in this order: change begins, segment is stored
}

func newCountedWorld(t testing.TB) (*world, *counted) {
	t.Helper()
	store := &counted{}
	return newWorldOver(t, func(s access.Store) access.Store { store.Store = s; return store }), store
}

func (c *counted) Update(ctx context.Context, do func(access.Tx) error) error {
	c.changes.Add(1)
	return c.Store.Update(ctx, func(tx access.Tx) error {
		c.note("change")
		return do(countedTx{tx, c})
	})
}

// note notes what is done and returns how often it was before.
func (c *counted) note(what string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.done {
		if one == what {
			n++
		}
	}
	c.done = append(c.done, what)
	return n
}

// so returns what was done since it was asked last.
func (c *counted) so() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.done = nil }()
	return strings.Join(c.done, ", ")
}

// stuck has the writer until release is called, which returns once it is free.
func (c *counted) stuck() (release func()) {
	free, held, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Store.Update(context.Background(), func(access.Tx) error { close(held); <-free; return nil })
	}()
	<-held
	return func() { close(free); <-done }
}

type countedTx struct {
	access.Tx
	c *counted
}

func (t countedTx) Spools() access.SpoolStore { return countedSpools{t.Tx.Spools(), t.c} }

type countedSpools struct {
	access.SpoolStore
	c *counted
}

func (s countedSpools) Append(ctx context.Context, seg access.StoredSegment) error {
	if seg.Spool == s.c.broken {
		return errDisk
	}
	if n := s.c.note("segment"); s.c.append != nil {
		s.c.append(n)
	}
	return s.SpoolStore.Append(ctx, seg)
}

// TestSegmentsThatArriveTogether share changes, and none is refused or lost for another:
// not for one that leaves a gap, one of a gateway that is not listed, or one that the
// store cannot take.
func TestSegmentsThatArriveTogether(t *testing.T) {
	w, store := newCountedWorld(t)
	i := w.join("1")
	r := w.granted()
	const many = 24
	spools := make([]*spool, many)
	asks := make([]*feed.IngestRequest, many)
	for n := range spools {
		spools[n] = newSpool(t)
		_, intent := spools[n].intent(r)
		asks[n] = spools[n].segment(intent)
	}
	gap, broken := 3, 5
	_, intent := spools[gap].intent(r)
	asks[gap] = spools[gap].segment(intent)
	store.broken = spools[broken].id

	var done sync.WaitGroup
	release := store.stuck() // somebody has the writer while they arrive
	store.changes.Store(0)
	outs, errs := make([]*feed.IngestResponse, many), make([]error, many)
	for n := range asks {
		done.Go(func() { outs[n], errs[n] = w.Source().Ingest(t.Context(), i, asks[n]) })
	}
	for w.ArrivedSegments() < many {
		runtime.Gosched()
	}
	release()
	done.Wait()
	for n := range asks {
		switch {
		case n == gap:
			if errs[n] != nil || outs[n].GetAccepted() || outs[n].GetNextSeq() != 1 {
				t.Errorf("the gap: %v, %v", outs[n], errs[n])
			}
		case n == broken:
			if errs[n] == nil || status.Code(errs[n]) == codes.InvalidArgument {
				t.Errorf("what cannot be stored: %v, %v", outs[n], errs[n])
			}
		case errs[n] != nil || !outs[n].GetAccepted():
			t.Errorf("segment %d: %v, %v", n, outs[n], errs[n])
		}
	}
	store.broken = ""
	if out, err := w.Source().Ingest(t.Context(), i, asks[broken]); err != nil || !out.GetAccepted() {
		t.Errorf("again: %v, %v", out, err)
	}
	for n, ask := range asks {
		if n != gap {
			if out, err := w.Source().Ingest(t.Context(), i, ask); err != nil || !out.GetAccepted() {
				t.Errorf("segment %d is not there: %v, %v", n, out, err)
			}
		}
	}
	if t.Failed() {
		return
	}
	store.changes.Store(0)
	for n := range spools {
		spools[n] = newSpool(t)
		_, intent := spools[n].intent(r)
		asks[n] = spools[n].segment(intent, audit.Outcome{Action: intent.Action, Result: audit.ResultSent})
	}
	release = store.stuck()
	for n := range asks {
		done.Go(func() { outs[n], errs[n] = w.Source().Ingest(t.Context(), i, asks[n]) })
	}
	for w.ArrivedSegments() < many {
		runtime.Gosched()
	}
	release()
	done.Wait()
	if got := store.changes.Load(); got > 2 { // the one that waited for the writer, and one for the rest
		t.Errorf("%d segments took %d changes", many, got)
	}
}

// TestARecordThatOnlyMentionsAnId is not of it: whoever puts somebody's grant into an
// attribute stands in no trace of that grant. What is of it is found in the whole segment.
func TestARecordThatOnlyMentionsAnId(t *testing.T) {
	w := newWorld(t)
	i, s := w.join("1"), newSpool(t)
	r := w.granted()
	_, first := s.intent(r)
	_, other := s.intent(r)
	other.Grant = s.minter.NewGrantID(epoch).String()
	other.Attributes = map[string]audit.Attr{"path": {Value: r.Grant.String()}}
	_, second := s.intent(r)
	sent := func(b audit.Intent) audit.Outcome { return audit.Outcome{Action: b.Action, Result: audit.ResultSent} }
	if _, err := w.Source().Ingest(t.Context(), i, s.segment(first, other, sent(other), sent(first), second)); err != nil {
		t.Fatal(err)
	}
	x, err := w.Trace(t.Context(), w.as(refunder), r.Grant.String())
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for _, one := range x.Records {
		if one.Place.Spool != "" {
			seqs = append(seqs, one.Place.Seq)
		}
	}
	slices.Sort(seqs)
	if !slices.Equal(seqs, []uint64{1, 4, 5}) {
		t.Errorf("the trace has records %v of the segment", seqs)
	}
}

// TestSegmentsThatNobodyWaitsFor are not kept: while the writer is stuck a gateway sends
// what was not answered again, without end.
func TestSegmentsThatNobodyWaitsFor(t *testing.T) {
	w, store := newCountedWorld(t)
	i, s, r := w.join("1"), newSpool(t), w.granted()
	_, intent := s.intent(r)
	ask := s.segment(intent)
	release := store.stuck()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		before := w.ArrivedSegments()
		var call sync.WaitGroup
		call.Go(func() {
			if out, err := w.Source().Ingest(ctx, i, ask); err == nil {
				t.Errorf("%v while the writer is stuck", out)
			}
		})
		for w.ArrivedSegments() == before {
			runtime.Gosched()
		}
		cancel()
		call.Wait()
	}
	if n := w.ArrivedSegments(); n > 1 { // one may be on its way into the database
		t.Errorf("%d segments are kept for nobody", n)
	}
	release()
	if out, err := w.Source().Ingest(t.Context(), i, ask); err != nil || !out.GetAccepted() {
		t.Errorf("again: %v, %v", out, err)
	}
	for _, bad := range []*feed.IngestRequest{{First: 2049}, {First: 1, Last: 5000}, {Last: 1}} {
		bad.Spool, bad.Frames, bad.Root, bad.ChainHead = ask.Spool, ask.Frames, ask.Root, ask.ChainHead
		if out, err := w.Source().Ingest(t.Context(), i, bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("seq %d to %d: %v, %v", bad.First, bad.Last, out, err)
		}
	}
}

// TestALaterSpoolStandsBehind: a gateway that chooses the smallest id for its spool is
// not read before what was on the record already.
func TestALaterSpoolStandsBehind(t *testing.T) {
	w := newWorld(t)
	i, s, r := w.join("1"), newSpool(t), w.granted()
	action, intent := s.intent(r)
	if _, err := w.Source().Ingest(t.Context(), i, s.segment(intent)); err != nil {
		t.Fatal(err)
	}
	late := newSpool(t)
	late.id = "spl_00000000000000000000000001"
	if _, err := w.Source().Ingest(t.Context(), i, late.segment(intent)); err != nil {
		t.Fatal(err)
	}
	w.view(func(ctx context.Context, tx access.Tx) error {
		places, err := tx.Spools().Find(ctx, action.String())
		if len(places) != 2 || places[0].Spool != s.id {
			t.Errorf("%v: the later one stands first", places)
		}
		return err
	})
}

// TestSegmentsWaitForOthers for a moment, to share a change, and no longer: not when there
// are enough, and not when nobody else comes.
func TestSegmentsWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newCountedWorld(t)
		i, r := w.join("1"), w.granted()
		ask := func(records int) *feed.IngestRequest {
			s := newSpool(t)
			bodies := make([]any, records)
			for n := range bodies {
				_, bodies[n] = s.intent(r)
			}
			return s.segment(bodies...)
		}
		// took returns how long segments of some records took, each sent a little after the one
		// before, and how many changes.
		const apart = 10 * time.Millisecond
		took := func(records ...int) (time.Duration, int32) {
			t.Helper()
			asks := make([]*feed.IngestRequest, len(records))
			for n := range records {
				asks[n] = ask(records[n])
			}
			store.changes.Store(0)
			began := time.Now()
			var all sync.WaitGroup
			for n := range asks {
				all.Go(func() {
					time.Sleep(time.Duration(n) * apart) // of synctest's clock
					if out, err := w.Source().Ingest(t.Context(), i, asks[n]); err != nil || !out.GetAccepted() {
						t.Errorf("segment %d: %v, %v", n, out, err)
					}
				})
			}
			all.Wait()
			return time.Since(began), store.changes.Load()
		}
		for _, c := range []struct {
			name    string
			records []int
			takes   time.Duration
			changes int32
		}{
			{"a lone one", []int{1}, access.IngestLinger, 1},
			{"two, one a little later", []int{1, 1}, access.IngestLinger, 1},
			{"one that is enough", []int{access.IngestEnough}, 0, 1},
			{"one that makes it enough", []int{1, access.IngestEnough - 1}, apart, 1},
		} {
			if takes, changes := took(c.records...); takes != c.takes || changes != c.changes {
				t.Errorf("%s: %v and %d changes, want %v and %d", c.name, takes, changes, c.takes, c.changes)
			}
		}
	})
}

// TestSegmentsOfOneSpoolInOneChange are stored one after the other, the second of which
// follows the first, and what both tell is found again.
func TestSegmentsOfOneSpoolInOneChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newCountedWorld(t)
		i, s, r := w.join("1"), newSpool(t), w.granted()
		action, intent := s.intent(r)
		asks := []*feed.IngestRequest{s.segment(intent), s.segment(audit.Outcome{Action: action.String(), Result: audit.ResultSent})}
		store.changes.Store(0)
		var all sync.WaitGroup
		for n, ask := range asks {
			all.Go(func() {
				if out, err := w.Source().Ingest(t.Context(), i, ask); err != nil || !out.GetAccepted() {
					t.Errorf("segment %d: %v, %v", n, out, err)
				}
			})
			synctest.Wait() // in this order, while the first one lingers
		}
		all.Wait()
		if n := store.changes.Load(); n != 1 {
			t.Errorf("they took %d changes", n)
		}
		w.view(func(ctx context.Context, tx access.Tx) error {
			places, err := tx.Spools().Find(ctx, action.String())
			if want := []access.Place{{Spool: s.id, Seq: 1}, {Spool: s.id, Seq: 2}}; !slices.Equal(places, want) {
				t.Errorf("the action is found at %v, want %v", places, want)
			}
			return err
		})
	})
}

// TestP4_SegmentsMakeWayForARevoke once: what has been stored when one comes is kept, the
// rest waits behind it, and then for nobody, however many come.
func TestP4_SegmentsMakeWayForARevoke(t *testing.T) {
	for _, c := range []struct{ name, when, want string }{
		{"one comes", "b", "change, segment, segment, change, change, segment, segment"},
		{"one comes with each segment", "abcd", "change, segment, change, change, segment, segment, segment, change, change, change"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { segmentsMakeWay(t, c.when, c.want) })
		})
	}
}

func segmentsMakeWay(t *testing.T, when, want string) {
	w, store := newCountedWorld(t)
	i, r := w.join("1"), w.granted()
	var asks []*feed.IngestRequest
	for range 4 {
		s := newSpool(t)
		_, intent := s.intent(r)
		asks = append(asks, s.segment(intent))
	}
	var done sync.WaitGroup
	store.append = func(n int) {
		if !strings.ContainsRune(when, rune('a'+n)) {
			return
		}
		done.Go(func() {
			if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil && access.CodeOf(err) != access.CodeEnded {
				t.Error(err)
			}
		})
		synctest.Wait() // it stands before the writer
	}
	store.so()
	for _, ask := range asks {
		done.Go(func() {
			if out, err := w.Source().Ingest(t.Context(), i, ask); err != nil || !out.GetAccepted() {
				t.Errorf("%v, %v", out, err)
			}
		})
	}
	time.Sleep(access.IngestLinger) // of synctest's clock
	done.Wait()
	if got := store.so(); got != want {
		t.Errorf("done were: %s", got)
	}
}

// TestP4_ARevokeWaitsForOneChangeOfGateways at most, whatever a thousand of them send.
func TestP4_ARevokeWaitsForOneChangeOfGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, store := newCountedWorld(t)
		i, s, r := w.join("1"), newSpool(t), w.granted()
		_, intent := s.intent(r)
		ask := s.segment(intent)
		release := store.stuck()
		store.changes.Store(0)
		var done sync.WaitGroup
		for _, call := range []func() error{
			func() error { _, err := w.Source().Ingest(t.Context(), i, ask); return err },
			func() error {
				_, err := w.Source().Beat(t.Context(), []feed.Beat{{Instance: i, Ping: &feed.Ping{Nonce: "n"}}})
				return err
			},
			func() error { return w.Source().Acknowledge(t.Context(), []feed.Receipt{{Instance: i}}) },
		} {
			done.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second) // of synctest's clock: the segment waits for others no longer
		synctest.Wait()
		if n := store.changes.Load(); n != 1 {
			t.Errorf("%d changes of gateways stand before the writer", n)
		}
		done.Go(func() {
			if _, err := w.Revoke(t.Context(), w.as(dave), r.Grant, ""); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if n := store.changes.Load(); n != 2 {
			t.Errorf("%d changes stand before the writer: the revoke is not the second", n)
		}
		release()
		done.Wait()
	})
}
