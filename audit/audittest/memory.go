// Package audittest owns an in-memory control log, and the keys of one, for tests of
// audit and of the packages that use it. No product binary links it.
package audittest

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Memory is an audit.Storage in memory. The zero value is an empty log. It is
// not safe for concurrent use.
type Memory struct {
	Leaves [][]byte
	Hashes []tlog.Hash
}

// Size returns the number of leaves.
func (m *Memory) Size(context.Context) (int64, error) { return int64(len(m.Leaves)), nil }

// ReadHashes returns stored hashes by index.
func (m *Memory) ReadHashes(_ context.Context, indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at < 0 || at >= int64(len(m.Hashes)) {
			return nil, fmt.Errorf("no stored hash %d", at)
		}
		out[i] = m.Hashes[at]
	}
	return out, nil
}

// ReadLeaves returns the leaves with from ≤ index < to.
func (m *Memory) ReadLeaves(_ context.Context, from, to int64) ([][]byte, error) {
	if from < 0 || to < from || to > int64(len(m.Leaves)) {
		return nil, fmt.Errorf("no leaves %d to %d", from, to)
	}
	return slices.Clone(m.Leaves[from:to]), nil
}

// AppendLeaf stores the next leaf.
func (m *Memory) AppendLeaf(_ context.Context, index int64, leaf []byte, hashes []tlog.Hash) error {
	if index != int64(len(m.Leaves)) || tlog.StoredHashCount(index) != int64(len(m.Hashes)) {
		return fmt.Errorf("leaf %d is not the next: %d", index, len(m.Leaves))
	}
	m.Leaves = append(m.Leaves, slices.Clone(leaf))
	m.Hashes = append(m.Hashes, hashes...)
	return nil
}
