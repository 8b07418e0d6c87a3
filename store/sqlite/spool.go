package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflyproxy/mayfly/access"
)

type spools struct{ t *tx }

func (s spools) Head(ctx context.Context, spool string) (next uint64, chain [32]byte, owner string, err error) {
	err = s.t.one(ctx, `SELECT next, chain, sidecar FROM spools WHERE spool = ?`, []any{spool}, asSeq(&next), asHash(&chain), &owner)
	if errors.Is(err, access.ErrNotFound) {
		return 1, [32]byte{}, "", nil
	}
	return next, chain, owner, about(err, "head of spool %s", spool)
}

// Append takes only the segment that begins at the head's next seq.
func (s spools) Append(ctx context.Context, v access.StoredSegment) error {
	next, _, _, err := s.Head(ctx, v.Spool)
	switch {
	case err != nil:
		return err
	case v.First < next:
		return fmt.Errorf("append segment %d of spool %s: %w", v.First, v.Spool, access.ErrExists)
	case v.First != next || v.Last < v.First:
		return fmt.Errorf("append segment %d to %d of spool %s: want one from %d on", v.First, v.Last, v.Spool, next)
	}
	_, err = s.t.exec(ctx, `INSERT INTO spools (spool, sidecar, next, chain) VALUES (?, ?, ?, ?)
		ON CONFLICT (spool) DO UPDATE SET next = excluded.next, chain = excluded.chain`,
		v.Spool, v.Sidecar, seq(v.Last+1), v.ChainHead[:])
	if err != nil {
		return about(err, "append segment %d of spool %s", v.First, v.Spool)
	}
	_, err = s.t.exec(ctx, `INSERT INTO segments (spool, first_seq, last_seq, sidecar, frames, root, chain_head, leaf)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, v.Spool, seq(v.First), seq(v.Last), v.Sidecar, blob(v.Packed),
		v.Root[:], v.ChainHead[:], v.Leaf)
	if err != nil && s.t.one(ctx, `SELECT 1 FROM segments WHERE leaf = ?`, []any{v.Leaf}, new(int)) == nil {
		err = fmt.Errorf("%w: %w", access.ErrExists, err)
	}
	return about(err, "append segment %d of spool %s", v.First, v.Spool)
}

func (s spools) Spools(ctx context.Context) ([]string, error) {
	out, err := list(ctx, s.t, readString, `SELECT spool FROM spools ORDER BY spool`)
	return out, about(err, "list spools")
}

// Segments begins with the segment that holds the frame from.
func (s spools) Segments(ctx context.Context, spool string, from uint64, limit int) ([]access.StoredSegment, error) {
	read := func(r row) (v access.StoredSegment, err error) {
		return v, r.Scan(&v.Spool, &v.Sidecar, asSeq(&v.First), asSeq(&v.Last), &v.Packed,
			asHash(&v.Root), asHash(&v.ChainHead), &v.Leaf)
	}
	out, err := list(ctx, s.t, read, `SELECT spool, sidecar, first_seq, last_seq, frames, root, chain_head, leaf
		FROM segments WHERE spool = ?1 AND last_seq >= ?2
		  AND first_seq >= (SELECT coalesce(max(first_seq), 0) FROM segments WHERE spool = ?1 AND first_seq <= ?2)
		ORDER BY first_seq LIMIT ?3`, spool, seq(from), limitOf(limit))
	return out, about(err, "read segments of spool %s", spool)
}

func (s spools) Index(ctx context.Context, id string, leaf int64) error {
	_, err := s.t.exec(ctx, `INSERT INTO places (id, leaf, seq) VALUES (?, ?, 0) ON CONFLICT DO NOTHING`, id, leaf)
	return about(err, "index %s", id)
}

// indexAtOnce is how many places one statement notes.
const indexAtOnce = 128

// insertPlaces notes as many places as it has rows. Its parameters have no numbers: SQLite
// would look for each among all of them.
func insertPlaces(rows int) string {
	return `INSERT INTO places (id, leaf, seq) VALUES (?, ?, ?)` + strings.Repeat(`, (?, ?, ?)`, rows-1) + ` ON CONFLICT DO NOTHING`
}

var insertAllPlaces = insertPlaces(indexAtOnce)

// IndexAll notes many places a statement: segments name thousands of ids while the one
// writer is held. Neighbours in the tree are written one after the other.
func (s spools) IndexAll(ctx context.Context, named []access.Named) error {
	sorted := slices.SortedFunc(slices.Values(named), func(a, b access.Named) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), cmp.Compare(a.Leaf, b.Leaf), cmp.Compare(a.Seq, b.Seq))
	})
	args := make([]any, 0, 3*indexAtOnce)
	for some := range slices.Chunk(sorted, indexAtOnce) {
		args = args[:0]
		for _, n := range some {
			args = append(args, n.ID, n.Leaf, seq(n.Seq))
		}
		query := insertAllPlaces
		if len(some) < indexAtOnce {
			query = insertPlaces(len(some))
		}
		if _, err := s.t.exec(ctx, query, args...); err != nil {
			return about(err, "index %d ids", len(named))
		}
	}
	return nil
}

// Find returns places as they came onto the record: a gateway chooses the ids of its
// spools, and must not choose what is read first. A frame whose segment is not there is
// an error.
func (s spools) Find(ctx context.Context, id string) ([]access.Place, error) {
	read := func(r row) (p access.Place, err error) { return p, r.Scan(&p.Spool, asSeq(&p.Seq)) }
	out, err := list(ctx, s.t, read, `SELECT CASE places.seq WHEN 0 THEN '' ELSE spool END, CASE places.seq WHEN 0 THEN places.leaf ELSE places.seq END
		FROM places LEFT JOIN segments ON segments.leaf = places.leaf WHERE id = ? ORDER BY places.leaf, places.seq`, id)
	return out, about(err, "find %s", id)
}
