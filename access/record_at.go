package access

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/audit"
)

// recordAt reads one record where the index says that it stands.
func recordAt(ctx context.Context, tx Tx, p Place) (audit.Record, error) {
	if p.Spool == "" {
		leaves, err := tx.Log().ReadLeaves(ctx, int64(p.Seq), int64(p.Seq)+1)
		if err != nil {
			return audit.Record{}, fmt.Errorf("leaf %d: %w", p.Seq, err)
		}
		if len(leaves) != 1 {
			return audit.Record{}, fmt.Errorf("leaf %d is not there", p.Seq)
		}
		return audit.Decode(leaves[0])
	}
	f, err := frameAt(ctx, tx, p)
	if err != nil {
		return audit.Record{}, err
	}
	return audit.Decode(f.Record())
}

// frameAt reads one frame of a spool.
func frameAt(ctx context.Context, tx Tx, p Place) (audit.Frame, error) {
	segments, err := tx.Spools().Segments(ctx, p.Spool, p.Seq, 1)
	if err != nil {
		return audit.Frame{}, fmt.Errorf("spool %s: %w", p.Spool, err)
	}
	if len(segments) != 1 || p.Seq < segments[0].First || p.Seq > segments[0].Last {
		return audit.Frame{}, fmt.Errorf("spool %s: record %d is not there", p.Spool, p.Seq)
	}
	rest := segments[0].Frames
	for seq := segments[0].First; ; seq++ {
		f, err := audit.NextFrame(rest)
		if err != nil {
			return audit.Frame{}, fmt.Errorf("spool %s, record %d: %w", p.Spool, seq, err)
		}
		if seq == p.Seq {
			return f, nil
		}
		rest = rest[f.Size:]
	}
}
