package sqlite

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// controlLog is audit.Storage: the leaves and the hashes of their Merkle tree.
type controlLog struct{ t *tx }

func (l controlLog) Size(ctx context.Context) (n int64, err error) {
	err = l.t.one(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM leaves`, nil, &n)
	return n, about(err, "size of the control log")
}

// ReadHashes reads all indexes in one statement: a tree of n leaves asks for at
// most about 2 log2 n, an audit tile for 256.
func (l controlLog) ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	type stored struct {
		index int64
		hash  tlog.Hash
	}
	read := func(r row) (s stored, err error) {
		return s, r.Scan(&s.index, asHash((*[32]byte)(&s.hash)))
	}
	rows, err := list(ctx, l.t, read,
		`SELECT idx, hash FROM hashes WHERE idx IN (SELECT value FROM json_each(?))`, object{indexes})
	if err != nil {
		return nil, about(err, "read hashes")
	}
	have := make(map[int64]tlog.Hash, len(rows))
	for _, s := range rows {
		have[s.index] = s.hash
	}
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, ok := have[index]
		if !ok {
			return nil, fmt.Errorf("read hashes: the log has no hash %d", index)
		}
		out[i] = h
	}
	return out, nil
}

func (l controlLog) ReadLeaves(ctx context.Context, from, to int64) ([][]byte, error) {
	if from < 0 || to < from {
		return nil, fmt.Errorf("read leaves from %d to %d: not a range", from, to)
	}
	leaves, err := list(ctx, l.t, readBytes, `SELECT leaf FROM leaves WHERE idx >= ? AND idx < ? ORDER BY idx`, from, to)
	if err == nil && int64(len(leaves)) != to-from {
		err = fmt.Errorf("the log has only %d of them", len(leaves))
	}
	if err != nil {
		return nil, about(err, "read leaves from %d to %d", from, to)
	}
	return leaves, nil
}

func (l controlLog) AppendLeaf(ctx context.Context, index int64, leaf []byte, hashes []tlog.Hash) error {
	if _, err := l.t.exec(ctx, `INSERT INTO leaves (idx, leaf) VALUES (?, ?)`, index, blob(leaf)); err != nil {
		return about(err, "append leaf %d", index)
	}
	if len(hashes) == 0 {
		return fmt.Errorf("append leaf %d: no hashes", index)
	}
	args := make([]any, 0, 2*len(hashes))
	for i, h := range hashes {
		args = append(args, tlog.StoredHashCount(index)+int64(i), h[:])
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?), ", len(hashes)), ", ")
	_, err := l.t.exec(ctx, `INSERT INTO hashes (idx, hash) VALUES `+values, args...)
	return about(err, "append the hashes of leaf %d", index)
}

func readBytes(r row) (b []byte, err error) { return b, r.Scan(&b) }

func readString(r row) (s string, err error) { return s, r.Scan(&s) }
