package access

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/mayflyproxy/mayfly/audit"
)

// reader reads records where the index says that they stand. It keeps the segment that
// it read last: what belongs together mostly stands together.
type reader struct {
	tx   Tx
	last unpacked
}

// unpacked is a stored segment and its frames.
type unpacked struct {
	StoredSegment
	frames []byte
}

// named returns the records at p that name id: one leaf, or all of a segment from p on.
func (r *reader) named(ctx context.Context, p Place, id string) ([]Traced, error) {
	if p.Spool == "" {
		leaves, err := r.tx.Log().ReadLeaves(ctx, int64(p.Seq), int64(p.Seq)+1)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", p.Seq, err)
		}
		if len(leaves) != 1 {
			return nil, fmt.Errorf("leaf %d is not there", p.Seq)
		}
		record, err := audit.Decode(leaves[0])
		return []Traced{{p, record}}, err
	}
	if r.last.Spool != p.Spool || p.Seq < r.last.First || p.Seq > r.last.Last {
		seg, err := segmentAt(ctx, r.tx, p)
		if err != nil {
			return nil, err
		}
		r.last = seg
	}
	var out []Traced
	err := r.last.visit(func(seq uint64, f audit.Frame) error {
		if seq < p.Seq || !bytes.Contains(f.Record(), []byte(id)) {
			return nil
		}
		record, err := audit.Decode(f.Record())
		if err != nil {
			return err
		}
		ids, err := idsOf(record)
		if slices.Contains(ids, id) {
			out = append(out, Traced{Place{p.Spool, seq}, record})
		}
		return err
	})
	return out, err
}

func segmentAt(ctx context.Context, tx Tx, p Place) (unpacked, error) {
	segments, err := tx.Spools().Segments(ctx, p.Spool, p.Seq, 1)
	if err != nil {
		return unpacked{}, fmt.Errorf("spool %s: %w", p.Spool, err)
	}
	if len(segments) != 1 || p.Seq < segments[0].First || p.Seq > segments[0].Last {
		return unpacked{}, fmt.Errorf("spool %s: record %d is not there", p.Spool, p.Seq)
	}
	frames, err := segments[0].Frames()
	return unpacked{segments[0], frames}, err
}

// visit calls f with each frame of a segment until it fails.
func (seg unpacked) visit(f func(seq uint64, frame audit.Frame) error) error {
	rest := seg.frames
	for seq := seg.First; seq <= seg.Last; seq++ {
		frame, err := audit.NextFrame(rest)
		if err == nil {
			err = f(seq, frame)
		}
		if err != nil {
			return fmt.Errorf("spool %s, record %d: %w", seg.Spool, seq, err)
		}
		rest = rest[frame.Size:]
	}
	return nil
}

// frameAt reads one frame of a spool.
func frameAt(ctx context.Context, tx Tx, p Place) (out audit.Frame, err error) {
	seg, err := segmentAt(ctx, tx, p)
	if err != nil {
		return audit.Frame{}, err
	}
	err = seg.visit(func(seq uint64, f audit.Frame) error {
		if seq == p.Seq {
			out = f
		}
		return nil
	})
	return out, err
}

// idsOf returns the ids under which a spool's record is found again.
func idsOf(r audit.Record) ([]string, error) {
	body, err := r.Map()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, key := range []string{"action", "grant", "denial"} {
		if id, ok := body[key].(string); ok && id != "" {
			out = append(out, id)
		}
	}
	return out, nil
}
