package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

const (
	// ingestAtOnce bounds the records of one change: a revoke waits for the one that is
	// being stored.
	ingestAtOnce = 2048
	// ingestLimit is how long one change may wait for the store.
	ingestLimit = 10 * time.Second
)

// Ingest stores one segment of a spool with its anchor, or says what it wants
// instead. A duplicate of the same records is accepted again and changes nothing;
// a gap is answered with the seq that is expected; another history, another owner
// or damaged frames are refused for good.
func (s Source) Ingest(ctx context.Context, i feed.Instance, r *feed.IngestRequest) (*feed.IngestResponse, error) {
	if err := s.listed(ctx, i); err != nil {
		return nil, err // before anything of it is read
	}
	t, err := readSegment(r)
	if err != nil {
		return nil, err
	}
	out, err := s.arriving.store(ctx, s.Service, &arrival{from: i, told: t, done: make(chan struct{})})
	if err != nil {
		if status.Code(err) == codes.InvalidArgument {
			s.log.ErrorContext(ctx, "alarm: a segment is refused", "instance", i.String(), "spool", clip(r.GetSpool()), "error", err)
		}
		return nil, err
	}
	if !out.GetAccepted() {
		s.log.ErrorContext(ctx, "alarm: a segment leaves a gap", "instance", i.String(), "spool", clip(r.GetSpool()), "first", r.GetFirst(), "expected", out.GetNextSeq())
	}
	if out.GetAccepted() {
		s.ingested.ring()
	}
	return out, nil
}

// listed refuses an instance that policy does not list, outside of a change.
func (s Source) listed(ctx context.Context, i feed.Instance) error {
	return s.store.View(ctx, func(tx Tx) error {
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		_, err = nodeOf(set, i)
		return err
	})
}

// arrivals are segments that wait for the writer. What arrives while one change is made
// is stored by the next: anchors of many spools share a transaction (contracts §5), and
// at most one change of all of them stands between a revoke and the writer. The zero
// value is ready.
type arrivals struct {
	mu      sync.Mutex
	waiting []*arrival
	storing []*arrival // by the change under way; nil: there is none
}

// arrival is one segment, and what became of it once done is closed.
type arrival struct {
	from feed.Instance
	told *told

	done chan struct{}
	out  *feed.IngestResponse
	err  error
}

// store waits until a has been stored or refused, or ctx ends: what waits is then
// forgotten, and what is being stored may be stored none the less.
func (q *arrivals) store(ctx context.Context, s *Service, a *arrival) (*feed.IngestResponse, error) {
	q.mu.Lock()
	q.waiting = append(q.waiting, a)
	if q.storing == nil {
		q.storing = []*arrival{}
		go q.drain(context.WithoutCancel(ctx), s)
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
		some := q.next()
		if some == nil {
			return
		}
		s.ingestAll(ctx, some)
		for _, a := range some {
			close(a.done)
		}
	}
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

// ingestAll stores segments in one change. If that fails they are tried one by one, so
// that none fails for another.
func (s *Service) ingestAll(ctx context.Context, some []*arrival) {
	limited, cancel := context.WithTimeout(ctx, ingestLimit)
	defer cancel()
	err := s.update(limited, func(w *work) error {
		for _, a := range some {
			var err error
			a.out, a.err, err = w.ingest(limited, a.from, a.told)
			if err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
	case len(some) == 1:
		some[0].out, some[0].err = nil, err
	default:
		for _, a := range some {
			s.ingestAll(ctx, []*arrival{a})
		}
	}
}

// ingest stores a segment, or says why it is not: refused is about the segment, which
// has then changed nothing; err is about the store, and fails the change.
func (w *work) ingest(ctx context.Context, i feed.Instance, t *told) (out *feed.IngestResponse, refused, err error) {
	seg := t.Segment
	if _, err := w.peerOnly(ctx, i); err != nil {
		return refusal(err)
	}
	next, chain, owner, err := w.tx.Spools().Head(ctx, seg.Spool)
	if err != nil {
		return nil, nil, fmt.Errorf("spool %s: %w", seg.Spool, err)
	}
	if owner != "" && owner != i.Sidecar {
		return nil, status.Errorf(codes.PermissionDenied, "spool %s belongs to another sidecar", seg.Spool), nil
	}
	wrong := seg.Follows(chain, next)
	if wrong == nil {
		wrong = t.err
	}
	var gap *audit.GapError
	switch {
	case errors.Is(wrong, audit.ErrDuplicate):
		if err := w.sameHistory(ctx, seg); err != nil {
			return refusal(err)
		}
		return &feed.IngestResponse{Accepted: true, NextSeq: next, ChainHead: chain[:]}, nil, nil
	case errors.As(wrong, &gap):
		return &feed.IngestResponse{NextSeq: next, ChainHead: chain[:]}, nil, nil
	case wrong != nil:
		return nil, status.Error(codes.InvalidArgument, wrong.Error()), nil
	}
	if err := w.anchor(ctx, i, t); err != nil {
		return nil, nil, err
	}
	return &feed.IngestResponse{Accepted: true, NextSeq: seg.Last + 1, ChainHead: seg.ChainHead[:]}, nil, nil
}

// refusal tells what was said about a segment from what became of the store.
func refusal(err error) (out *feed.IngestResponse, refused, failed error) {
	if _, ok := status.FromError(err); ok {
		return nil, err, nil
	}
	return nil, nil, err
}

// sameHistory refuses a segment whose seqs are here with other records: the
// sidecar runs on an older copy of its folder, and what it wrote since would be
// lost as a duplicate.
func (w *work) sameHistory(ctx context.Context, seg audit.Segment) error {
	f, err := frameAt(ctx, w.tx, Place{Spool: seg.Spool, Seq: seg.Last})
	if err != nil {
		return err
	}
	if f.SHA256() != seg.ChainHead {
		return status.Error(codes.InvalidArgument, (&audit.ForkError{Spool: seg.Spool, Seq: seg.Last + 1, Want: f.SHA256(), Got: seg.ChainHead}).Error())
	}
	return nil
}

// anchor appends the segment's leaf, stores it, and notes what its records say.
func (w *work) anchor(ctx context.Context, i feed.Instance, t *told) error {
	seg := t.Segment
	leaf, err := w.leaf(ctx, audit.TypeSegmentAnchored, seg.Spool, seg.Anchor())
	if err != nil {
		return err
	}
	err = w.tx.Spools().Append(ctx, StoredSegment{
		Spool: seg.Spool, Sidecar: i.Sidecar, First: seg.First, Last: seg.Last, Frames: seg.Frames,
		Root: seg.Root, ChainHead: seg.ChainHead, Leaf: leaf,
	})
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if err := w.tx.Grants().UsedAll(ctx, w.notLater(t.used)); err != nil {
		return fmt.Errorf("use of grants: %w", err)
	}
	for _, n := range t.named {
		if strings.HasPrefix(n.ID, "grt_") {
			w.touch(n.ID)
		}
	}
	if err := w.tx.Spools().IndexAll(ctx, seg.Spool, t.named); err != nil {
		return fmt.Errorf("index segment: %w", err)
	}
	return w.seen(ctx, i, t.calls)
}
