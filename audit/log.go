package audit

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads the control log. What it returns must be one consistent view, as
// a transaction gives it. A short answer is an error.
type Reader interface {
	// Size returns the number of leaves.
	Size(ctx context.Context) (int64, error)
	// ReadHashes returns the hashes stored at the given indexes, in their order.
	ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	// ReadLeaves returns the leaves with from ≤ index < to.
	ReadLeaves(ctx context.Context, from, to int64) ([][]byte, error)
}

// Storage is a Reader that also appends: a write transaction that nobody else
// appends beside. It must read its own writes, and everything must become
// durable, or nothing, with that transaction.
type Storage interface {
	Reader
	// AppendLeaf stores a leaf, whose index is the size so far, and its hashes
	// at tlog.StoredHashCount(index) and the indexes after it.
	AppendLeaf(ctx context.Context, index int64, leaf []byte, hashes []tlog.Hash) error
}

// Append writes r as the next leaf and returns its index, which becomes r.Seq.
// The type must be one of a leaf.
func Append(ctx context.Context, s Storage, r Record) (int64, error) {
	if r.Type.Where() != WhereLeaf {
		return 0, fmt.Errorf("append leaf: type %.40q does not belong in the control log", r.Type)
	}
	index, err := s.Size(ctx)
	if err != nil {
		return 0, fmt.Errorf("append leaf: size: %w", err)
	}
	r.Seq = uint64(index)
	leaf, err := Encode(r)
	if err != nil {
		return 0, fmt.Errorf("append leaf: %w", err)
	}
	hashes, err := tlog.StoredHashes(index, leaf, hashReader(ctx, s))
	if err != nil {
		return 0, fmt.Errorf("append leaf %d: %w", index, err)
	}
	if err := s.AppendLeaf(ctx, index, leaf, hashes); err != nil {
		return 0, fmt.Errorf("append leaf %d: %w", index, err)
	}
	return index, nil
}

// TreeHash returns the root of the tree of the first size leaves.
func TreeHash(ctx context.Context, r Reader, size int64) (Hash, error) {
	if err := checkSize(ctx, r, size); err != nil {
		return Hash{}, err
	}
	h, err := tlog.TreeHash(size, hashReader(ctx, r))
	if err != nil {
		return Hash{}, fmt.Errorf("tree hash at %d: %w", size, err)
	}
	return Hash(h), nil
}

// ProveLeaf returns the proof that the leaf at index is in the tree of size.
func ProveLeaf(ctx context.Context, r Reader, size, index int64) ([]Hash, error) {
	if err := checkSize(ctx, r, size); err != nil {
		return nil, err
	}
	if index < 0 || index >= size {
		return nil, fmt.Errorf("prove leaf %d: the tree has %d leaves", index, size)
	}
	p, err := tlog.ProveRecord(size, index, hashReader(ctx, r))
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in %d: %w", index, size, err)
	}
	return fromTlog(p), nil
}

// CheckLeaf reports, as nil, that leaf stands at index in the tree of c.
func CheckLeaf(proof []Hash, c Checkpoint, index int64, leaf []byte) error {
	if index < 0 || index >= c.Size {
		return fmt.Errorf("leaf %d: the tree has %d leaves", index, c.Size)
	}
	if err := tlog.CheckRecord(toTlog(proof), c.Size, tlog.Hash(c.Root), index, tlog.RecordHash(leaf)); err != nil {
		return fmt.Errorf("leaf %d in %d: %w", index, c.Size, err)
	}
	return nil
}

// ProveTree returns the proof that the tree of size begins with that of old.
func ProveTree(ctx context.Context, r Reader, size, old int64) ([]Hash, error) {
	if err := checkSize(ctx, r, size); err != nil {
		return nil, err
	}
	if old < 0 || old > size {
		return nil, fmt.Errorf("prove tree %d: the tree has %d leaves", old, size)
	}
	if old == 0 {
		return nil, nil
	}
	p, err := tlog.ProveTree(size, old, hashReader(ctx, r))
	if err != nil {
		return nil, fmt.Errorf("prove tree %d in %d: %w", old, size, err)
	}
	return fromTlog(p), nil
}

// CheckTree reports, as nil, that the tree of c begins with that of old.
func CheckTree(proof []Hash, c, old Checkpoint) error {
	if old.Size < 0 || old.Size > c.Size {
		return fmt.Errorf("tree of %d leaves cannot begin with %d", c.Size, old.Size)
	}
	if old.Size == 0 {
		if len(proof) != 0 || old.Root != merkleRoot(nil) {
			return fmt.Errorf("tree of 0 leaves: want no proof and the empty root")
		}
		return nil
	}
	if err := tlog.CheckTree(toTlog(proof), c.Size, tlog.Hash(c.Root), old.Size, tlog.Hash(old.Root)); err != nil {
		return fmt.Errorf("tree of %d leaves does not begin with the one of %d: %w", c.Size, old.Size, err)
	}
	return nil
}

func checkSize(ctx context.Context, r Reader, size int64) error {
	have, err := r.Size(ctx)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if size < 0 || size > have {
		return fmt.Errorf("tree of %d leaves: the log has %d", size, have)
	}
	return nil
}

func hashReader(ctx context.Context, r Reader) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) { return r.ReadHashes(ctx, indexes) }
}

func fromTlog(in []tlog.Hash) []Hash {
	out := make([]Hash, len(in))
	for i, h := range in {
		out[i] = Hash(h)
	}
	return out
}

func toTlog(in []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		out[i] = tlog.Hash(h)
	}
	return out
}
