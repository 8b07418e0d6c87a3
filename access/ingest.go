package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// ingestLimit is how long one change may wait for the store.
const ingestLimit = 10 * time.Second

// Ingest stores one segment of a spool with its anchor, or says what it wants
// instead. A duplicate of the same records is accepted again and changes nothing;
// a gap is answered with the seq that is expected; another history, another owner
// or damaged frames are refused for good.
func (s Source) Ingest(ctx context.Context, i feed.Instance, r *feed.IngestRequest) (*feed.IngestResponse, error) {
	if err := s.listed(ctx, i); err != nil {
		return nil, err // before anything of it is read
	}
	t, err := s.read(ctx, r)
	if err != nil {
		return nil, err
	}
	out, err := s.arriving.store(ctx, s.Service, newArrival(i, t))
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

// read reads a segment when one of the readers is free: half the processors are left to
// verbs, however many segments arrive at once.
func (s Source) read(ctx context.Context, r *feed.IngestRequest) (*told, error) {
	select {
	case s.readers <- struct{}{}:
		defer func() { <-s.readers }()
		return readSegment(r)
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
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

// ingestSome stores segments in one change and returns how many it is done with: with way,
// those after the first make way for a verb that waits for the writer. If the change fails
// they are tried one by one, so that none fails for another.
func (s *Service) ingestSome(ctx context.Context, some []*arrival, way bool) (n int) {
	limited, cancel := context.WithTimeout(ctx, ingestLimit)
	defer cancel()
	err := s.updateInLine(limited, func(w *work) error {
		all := &tidings{used: map[grant.GrantID]time.Time{}, watch: map[observedKey]ObservedUse{}}
		for n = 0; n < len(some) && (n == 0 || !way || s.verbs.Load() == 0); n++ {
			var err error
			a := some[n]
			a.out, a.err, err = w.ingest(limited, a.from, a.told, all)
			if err != nil {
				return err
			}
		}
		return w.note(limited, all)
	})
	switch {
	case err == nil:
		return n
	case len(some) == 1:
		some[0].out, some[0].err = nil, err
	default:
		for i := range some {
			s.ingestSome(ctx, some[i:i+1], false)
		}
	}
	return len(some)
}

// ingest stores a segment, or says why it is not: refused is about the segment, which
// has then changed nothing; err is about the store, and fails the change. What a stored
// one tells is added to all.
func (w *work) ingest(ctx context.Context, i feed.Instance, t *told, all *tidings) (out *feed.IngestResponse, refused, err error) {
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
	if err := w.anchor(ctx, i, t, all); err != nil {
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

// anchor appends the segment's leaf, stores it, and adds what its records say to all.
func (w *work) anchor(ctx context.Context, i feed.Instance, t *told, all *tidings) error {
	seg := t.Segment
	leaf, err := w.leaf(ctx, audit.TypeSegmentAnchored, seg.Spool, seg.Anchor())
	if err != nil {
		return err
	}
	err = w.tx.Spools().Append(ctx, StoredSegment{
		Spool: seg.Spool, Sidecar: i.Sidecar, First: seg.First, Last: seg.Last, Packed: t.packed,
		Root: seg.Root, ChainHead: seg.ChainHead, Leaf: leaf,
	})
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	all.add(t, leaf)
	return w.seen(ctx, i, t.calls)
}

// tidings are what the segments of one change tell, to be noted together: gateways that
// work under the same grants tell of the same.
type tidings struct {
	used  map[grant.GrantID]time.Time
	named []Named
	watch map[observedKey]ObservedUse
}

func (a *tidings) add(t *told, leaf int64) {
	for id, at := range t.used {
		if at.After(a.used[id]) {
			a.used[id] = at
		}
	}
	for key, u := range t.watch {
		a.watch[key] = a.watch[key].Join(u)
	}
	for _, n := range t.named {
		n.Leaf = leaf
		a.named = append(a.named, n)
	}
}

// note stores where the records of a change are found again, and the use of grants.
func (w *work) note(ctx context.Context, all *tidings) error {
	if err := w.tx.Grants().UsedAll(ctx, w.notLater(all.used)); err != nil {
		return fmt.Errorf("use of grants: %w", err)
	}
	if err := w.noteObserved(ctx, all.watch); err != nil {
		return err
	}
	for _, n := range all.named {
		if strings.HasPrefix(n.ID, "grt_") {
			w.touch(n.ID)
		}
	}
	if err := w.tx.Spools().IndexAll(ctx, all.named); err != nil {
		return fmt.Errorf("index segments: %w", err)
	}
	return nil
}
