package server

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

// record reads the record out of the store, up to what is signed.
type record struct {
	store    access.Store
	service  *access.Service
	verifier *audit.Verifier
}

var _ audit.ExportSource = record{}

// tile returns a tile of the log at its newest signed size.
func (r record) tile(ctx context.Context, path string) ([]byte, error) {
	note, err := r.service.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	head, err := r.verifier.Open(note)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = r.store.View(ctx, func(tx access.Tx) (err error) {
		out, err = audit.Tile(ctx, tx.Log(), head.Size, path)
		return err
	})
	return out, err
}

// export writes everything up to a new checkpoint into dir. What is on record
// never changes, so it is read in many short transactions.
func (r record) export(ctx context.Context, dir string) error {
	note, err := r.service.Checkpoint(ctx)
	if err != nil {
		return err
	}
	return audit.Export(ctx, dir, audit.ExportConfig{Source: r, Key: r.verifier.Key(), Checkpoint: note})
}

// ReadLeaves returns the leaves with from ≤ index < to.
func (r record) ReadLeaves(ctx context.Context, from, to int64) ([][]byte, error) {
	var out [][]byte
	err := r.store.View(ctx, func(tx access.Tx) (err error) {
		out, err = tx.Log().ReadLeaves(ctx, from, to)
		return err
	})
	return out, err
}

// Frames returns the frames of one anchored segment.
func (r record) Frames(ctx context.Context, spool string, first, last uint64) ([]byte, error) {
	var out []byte
	err := r.store.View(ctx, func(tx access.Tx) error {
		found, err := tx.Spools().Segments(ctx, spool, first, 1)
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].First != first || found[0].Last != last {
			return fmt.Errorf("the store has no segment %d..%d of spool %s", first, last, spool)
		}
		out, err = found[0].Frames()
		return err
	})
	return out, err
}
