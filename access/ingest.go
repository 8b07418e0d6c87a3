package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// Ingest stores one segment of a spool with its anchor, or says what it wants
// instead. A duplicate of the same records is accepted again and changes nothing;
// a gap is answered with the seq that is expected; another history, another owner
// or damaged frames are refused for good.
func (s Source) Ingest(ctx context.Context, i feed.Instance, r *feed.IngestRequest) (*feed.IngestResponse, error) {
	if err := s.listed(ctx, i); err != nil {
		return nil, err // before anything of it is read
	}
	in, err := openSegment(r)
	if err != nil {
		return nil, err
	}
	var out *feed.IngestResponse
	err = s.update(ctx, func(w *work) error {
		if _, err := w.peerOnly(ctx, i); err != nil {
			return err
		}
		var err error
		out, err = w.ingest(ctx, i, in)
		return err
	})
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

// opened is a segment that was read before the change that stores it: reading
// thousands of records takes longer than storing them, and meanwhile nobody else
// could write, a revoke neither.
type opened struct {
	audit.Segment
	entries []audit.Entry
	named   []Named
	err     error // what is wrong with it, if it is new
}

func openSegment(r *feed.IngestRequest) (opened, error) {
	seg, err := segmentOf(r)
	if err != nil {
		return opened{}, err
	}
	in := opened{Segment: seg}
	if in.entries, in.err = seg.Open(); in.err != nil {
		return in, nil
	}
	for _, e := range in.entries {
		ids, err := idsOf(e.Record)
		if err != nil {
			in.err = err
			return in, nil
		}
		for _, id := range ids {
			in.named = append(in.named, Named{ID: id, Seq: e.Seq})
		}
	}
	return in, nil
}

func (w *work) ingest(ctx context.Context, i feed.Instance, in opened) (*feed.IngestResponse, error) {
	seg := in.Segment
	next, chain, owner, err := w.tx.Spools().Head(ctx, seg.Spool)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", seg.Spool, err)
	}
	if owner != "" && owner != i.Sidecar {
		return nil, status.Errorf(codes.PermissionDenied, "spool %s belongs to another sidecar", seg.Spool)
	}
	if err = seg.Follows(chain, next); err == nil {
		err = in.err
	}
	var gap *audit.GapError
	switch {
	case errors.Is(err, audit.ErrDuplicate):
		if err := w.sameHistory(ctx, seg); err != nil {
			return nil, err
		}
		return &feed.IngestResponse{Accepted: true, NextSeq: next, ChainHead: chain[:]}, nil
	case errors.As(err, &gap):
		return &feed.IngestResponse{NextSeq: next, ChainHead: chain[:]}, nil
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := w.anchor(ctx, i, in); err != nil {
		return nil, err
	}
	return &feed.IngestResponse{Accepted: true, NextSeq: seg.Last + 1, ChainHead: seg.ChainHead[:]}, nil
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

// segmentOf reads a segment off the wire. What it claims of its frames is for
// audit.CheckSegment to hold; the link to the frame before stands in the first.
func segmentOf(r *feed.IngestRequest) (audit.Segment, error) {
	bad := func(format string, args ...any) error { return status.Errorf(codes.InvalidArgument, format, args...) }
	if len(r.GetRoot()) != len(audit.Hash{}) || len(r.GetChainHead()) != len(audit.Hash{}) {
		return audit.Segment{}, bad("root and chain head are 32 bytes")
	}
	if _, err := parseSpoolID(r.GetSpool()); err != nil {
		return audit.Segment{}, bad("%v", err)
	}
	first, err := audit.NextFrame(r.GetFrames())
	if err != nil {
		return audit.Segment{}, bad("segment: %v", err)
	}
	return audit.Segment{
		Spool: r.GetSpool(), First: r.GetFirst(), Last: r.GetLast(), Frames: r.GetFrames(),
		Root: audit.Hash(r.GetRoot()), ChainHead: audit.Hash(r.GetChainHead()), Prev: first.Prev(),
	}, nil
}

// anchor appends the segment's leaf, stores it, and indexes the ids that its
// records name.
func (w *work) anchor(ctx context.Context, i feed.Instance, in opened) error {
	seg := in.Segment
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
	if err := w.used(ctx, in.entries); err != nil {
		return err
	}
	for _, n := range in.named {
		if strings.HasPrefix(n.ID, "grt_") {
			w.touch(n.ID)
		}
	}
	if err := w.tx.Spools().IndexAll(ctx, seg.Spool, in.named); err != nil {
		return fmt.Errorf("index segment: %w", err)
	}
	return w.seen(ctx, i, in.entries)
}

// idsOf returns the ids under which a spool's record is found again.
func idsOf(r audit.Record) ([]string, error) {
	switch r.Type {
	case audit.TypeActionIntent, audit.TypeActionRebound:
		under, action, err := actionUnder(r)
		return nonEmpty(action, under), err
	case audit.TypeActionDenied:
		var b audit.Denied
		err := r.Into(&b)
		return nonEmpty(b.Action, b.Denial), err
	case audit.TypeActionOutcome:
		var b audit.Outcome
		err := r.Into(&b)
		return nonEmpty(b.Action), err
	default:
		return nil, nil
	}
}

// actionUnder returns the action that a record puts under a grant, and the grant; both
// are empty if it puts none.
func actionUnder(r audit.Record) (under, action string, err error) {
	switch r.Type {
	case audit.TypeActionIntent:
		var b audit.Intent
		err := r.Into(&b)
		return b.Grant, b.Action, err
	case audit.TypeActionRebound:
		var b audit.Rebound
		err := r.Into(&b)
		return b.Grant, b.Action, err
	default:
		return "", "", nil
	}
}

func nonEmpty(ids ...string) []string {
	out := ids[:0]
	for _, id := range ids {
		if id != "" {
			out = append(out, id)
		}
	}
	return out
}
