package access

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/feed"
)

const (
	// ingestAtOnce bounds the records of one change: a revoke waits for the one that is
	// being stored.
	ingestAtOnce = 2048
	// ingestEnough records do not wait for others.
	ingestEnough = 1024
	// ingestLinger is how long a segment waits for others to share a change with: what a
	// change costs by itself, and each page of the database that it touches, is then paid
	// once for all of them. The writer is free meanwhile.
	ingestLinger = 50 * time.Millisecond
)

// arrivals are segments that wait for the writer. What arrives within a moment, or while
// one change is made, is stored by the next: anchors of many spools share a transaction
// (contracts §5), and at most one change of all of them stands between a revoke and the
// writer. The zero value is ready.
type arrivals struct {
	mu      sync.Mutex
	waiting []*arrival
	storing []*arrival    // by the change under way; nil: nobody stores or gathers
	enough  chan struct{} // has a token when ingestEnough records may wait
}

// arrival is one segment, and what became of it once done is closed.
type arrival struct {
	from feed.Instance
	told *told
	came time.Time

	done chan struct{}
	out  *feed.IngestResponse
	err  error
}

func newArrival(from feed.Instance, t *told) *arrival {
	return &arrival{from: from, told: t, came: time.Now(), done: make(chan struct{})}
}

// store waits until a has been stored or refused, or ctx ends: what waits is then
// forgotten, and what is being stored may be stored none the less.
func (q *arrivals) store(ctx context.Context, s *Service, a *arrival) (*feed.IngestResponse, error) {
	q.mu.Lock()
	q.waiting = append(q.waiting, a)
	if q.storing == nil {
		q.storing, q.enough = []*arrival{}, make(chan struct{}, 1)
		go q.drain(context.WithoutCancel(ctx), s)
	}
	if q.records() >= ingestEnough {
		select {
		case q.enough <- struct{}{}:
		default:
		}
	}
	q.mu.Unlock()
	select {
	case <-a.done:
		return a.out, a.err
	case <-ctx.Done():
		q.forget(a)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// forget drops a segment that nobody waits for any more: its gateway sends it again, and
// while the writer is stuck there would be no end of copies.
func (q *arrivals) forget(a *arrival) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := make([]*arrival, 0, len(q.waiting))
	for _, one := range q.waiting {
		if one != a {
			kept = append(kept, one)
		}
	}
	q.waiting = kept
}

// drain stores what waits until nothing does.
func (q *arrivals) drain(ctx context.Context, s *Service) {
	for {
		q.gather()
		some := q.next()
		if some == nil {
			return
		}
		for way := true; len(some) > 0; way = false { // once: others may always be waiting
			n := s.ingestSome(ctx, some, way)
			for _, a := range some[:n] {
				close(a.done)
			}
			some = some[n:]
		}
	}
}

// gather waits until enough records wait, or the first of them for long enough.
func (q *arrivals) gather() {
	for {
		q.mu.Lock()
		left, enough := time.Duration(0), q.enough
		if len(q.waiting) > 0 && q.records() < ingestEnough {
			left = ingestLinger - time.Since(q.waiting[0].came)
		}
		q.mu.Unlock()
		if left <= 0 {
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-enough:
		}
		timer.Stop()
	}
}

// records counts what waits, up to ingestEnough. The caller holds mu.
func (q *arrivals) records() (n uint64) {
	for _, a := range q.waiting {
		if n += a.told.Len(); n >= ingestEnough {
			break
		}
	}
	return n
}

func (q *arrivals) next() []*arrival {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, records := 0, uint64(0)
	for n < len(q.waiting) && (n == 0 || records+q.waiting[n].told.Len() <= ingestAtOnce) {
		records += q.waiting[n].told.Len()
		n++
	}
	q.storing, q.waiting = q.waiting[:n:n], q.waiting[n:]
	if n == 0 {
		q.storing, q.waiting = nil, nil
	}
	return q.storing
}
