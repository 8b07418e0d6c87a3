package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

func testLog(t *testing.T, store access.Store) {
	const leaves = 300 // more than an audit tile holds
	s := samples(t)
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		for i := range leaves {
			if _, err := s.leaf(ctx, tx, fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, store, func(ctx context.Context, tx access.Tx) error { return VerifyLog(ctx, tx.Log(), leaves) })
	for name, bad := range map[string]func(context.Context, access.Tx) error{
		"a leaf that is there": func(ctx context.Context, tx access.Tx) error {
			return tx.Log().AppendLeaf(ctx, leaves-1, []byte("x"), []tlog.Hash{{1}})
		},
		"a leaf after a gap": func(ctx context.Context, tx access.Tx) error {
			return tx.Log().AppendLeaf(ctx, leaves+1, []byte("x"), []tlog.Hash{{1}})
		},
		"a leaf without hashes": func(ctx context.Context, tx access.Tx) error {
			return tx.Log().AppendLeaf(ctx, leaves, []byte("x"), nil)
		},
		"leaves beyond the end": func(ctx context.Context, tx access.Tx) error {
			_, err := tx.Log().ReadLeaves(ctx, leaves-1, leaves+1)
			return err
		},
		"a hash that is not there": func(ctx context.Context, tx access.Tx) error {
			_, err := tx.Log().ReadHashes(ctx, []int64{0, tlog.StoredHashCount(leaves)})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, store, nil, bad) })
	}
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		got, err := tx.Log().ReadHashes(ctx, []int64{2, 0, 2})
		if err == nil && (len(got) != 3 || got[0] != got[2] || got[0] == got[1]) {
			t.Errorf("hashes 2, 0, 2 are %v", got)
		}
		return errors.Join(err, VerifyLog(ctx, tx.Log(), leaves))
	})
}

// VerifyLog rebuilds the tree from the leaves and compares it with the stored
// hashes: nil if there are exactly size leaves and all fit.
func VerifyLog(ctx context.Context, log audit.Reader, size int64) error {
	have, err := log.Size(ctx)
	if err != nil || have != size {
		return fmt.Errorf("log has %d leaves, want %d (%w)", have, size, err)
	}
	leaves, err := log.ReadLeaves(ctx, 0, size)
	if err != nil {
		return err
	}
	var hashes []tlog.Hash
	for i, leaf := range leaves {
		if r, err := audit.Decode(leaf); err != nil || r.Seq != uint64(i) {
			return fmt.Errorf("leaf %d says that it is %d: %w", i, r.Seq, err)
		}
		more, err := tlog.StoredHashes(int64(i), leaf, memory(hashes))
		if err != nil {
			return err
		}
		hashes = append(hashes, more...)
	}
	want, err := tlog.TreeHash(size, memory(hashes))
	if err != nil {
		return err
	}
	got, err := audit.TreeHash(ctx, log, size)
	if err == nil && tlog.Hash(got) != want {
		err = fmt.Errorf("stored root %v, leaves give %v", got, want)
	}
	return err
}

type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = m[index]
	}
	return out, nil
}

func testSpools(t *testing.T, store access.Store) {
	first := access.StoredSegment{Spool: "spl_A", Sidecar: "spiffe://acme.example/gw/sidecar", First: 1, Last: 3,
		Packed: []byte("frames 1 to 3"), Root: [32]byte{1}, ChainHead: [32]byte{2}, Leaf: 0}
	second := first
	second.First, second.Last, second.ChainHead, second.Sidecar, second.Leaf = 4, 4, [32]byte{3}, "spiffe://acme.example/other", 1
	head := func(spool string) (next uint64, chain [32]byte, owner string) {
		view(t, store, func(ctx context.Context, tx access.Tx) (err error) {
			next, chain, owner, err = tx.Spools().Head(ctx, spool)
			return err
		})
		return next, chain, owner
	}
	if next, chain, owner := head("spl_A"); next != 1 || chain != [32]byte{} || owner != "" {
		t.Fatalf("a new spool's head is %d, %x, %q", next, chain, owner)
	}
	add := func(v access.StoredSegment) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Spools().Append(ctx, v) }
	}
	update(t, store, add(first))
	update(t, store, add(second))
	if next, chain, owner := head("spl_A"); next != 5 || chain != [32]byte{3} || owner != first.Sidecar {
		t.Fatalf("head after two segments is %d, %x, %q", next, chain, owner)
	}
	refused(t, store, access.ErrExists, add(second))
	gap, backwards := second, second
	gap.First, gap.Last = 7, 8
	backwards.First, backwards.Last = 5, 4
	refused(t, store, nil, add(gap))
	refused(t, store, nil, add(backwards))
	other := first
	other.Spool, other.Leaf = "spl_0", 2
	update(t, store, add(other))
	anchored := other
	anchored.Spool = "spl_1"
	refused(t, store, access.ErrExists, add(anchored)) // by a leaf that anchors another segment
	same(t, "spools", get(t, store, func(ctx context.Context, tx access.Tx) ([]string, error) { return tx.Spools().Spools(ctx) }),
		[]string{"spl_0", "spl_A"})
	segments := func(from uint64, limit int) []access.StoredSegment {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.StoredSegment, error) {
			return tx.Spools().Segments(ctx, "spl_A", from, limit)
		})
	}
	same(t, "all segments", segments(1, 0), []access.StoredSegment{first, second})
	same(t, "one segment", segments(1, 1), []access.StoredSegment{first})
	same(t, "from inside one", segments(2, 0), []access.StoredSegment{first, second})
	same(t, "from the second", segments(4, 0), []access.StoredSegment{second})
	if got := segments(5, 0); len(got) != 0 {
		t.Errorf("segments beyond the end: %v", got)
	}
}

func testIndex(t *testing.T, store access.Store) {
	segment := func(spool string, first, last uint64, leaf int64) {
		update(t, store, func(ctx context.Context, tx access.Tx) error {
			return tx.Spools().Append(ctx, access.StoredSegment{Spool: spool, First: first, Last: last, Packed: []byte("frames"), Leaf: leaf})
		})
	}
	segment("spl_B", 1, 4, 3)
	segment("spl_A", 1, 4, 5)
	segment("spl_B", 5, 900, 7)
	index := func(id string, leaf int64) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Spools().Index(ctx, id, leaf) })
	}
	all := func(named ...access.Named) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Spools().IndexAll(ctx, named) })
	}
	find := func(id string) []access.Place {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Place, error) { return tx.Spools().Find(ctx, id) })
	}
	index("act_1", 6)
	index("act_1", 6) // again: once
	index("act_10", 0)
	all(access.Named{ID: "act_1", Leaf: 7, Seq: 8}, access.Named{ID: "act_1", Leaf: 5, Seq: 2}, access.Named{ID: "grt_1", Leaf: 3, Seq: 3},
		access.Named{ID: "act_1", Leaf: 7, Seq: 5}, access.Named{ID: "act_1", Leaf: 3, Seq: 4}, access.Named{ID: "act_1", Leaf: 5, Seq: 2})
	all(access.Named{ID: "act_1", Leaf: 3, Seq: 4})
	all()
	same(t, "places, as they came onto the record", find("act_1"), []access.Place{
		{Spool: "spl_B", Seq: 4}, {Spool: "spl_A", Seq: 2}, {Seq: 6}, {Spool: "spl_B", Seq: 5}, {Spool: "spl_B", Seq: 8},
	})
	same(t, "a place in a segment alone", find("grt_1"), []access.Place{{Spool: "spl_B", Seq: 3}})
	same(t, "the first leaf", find("act_10"), []access.Place{{}})
	var many []access.Named
	for n := range uint64(300) {
		many = append(many, access.Named{ID: fmt.Sprintf("act_%d", 400-n), Leaf: 7, Seq: 100 + n})
	}
	all(many...)
	for _, n := range many {
		same(t, "one of many places", find(n.ID), []access.Place{{Spool: "spl_B", Seq: n.Seq}})
	}
	if got := find("act_"); len(got) != 0 {
		t.Errorf("places of an id that nobody named: %v", got)
	}
}

func testHead(t *testing.T, store access.Store) {
	at := func() feed.Position {
		return get(t, store, func(ctx context.Context, tx access.Tx) (feed.Position, error) { return tx.Head().Feed(ctx) })
	}
	same(t, "a new head", at(), feed.Position{Epoch: 1})
	set := func(p feed.Position) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Head().SetFeed(ctx, p) }
	}
	update(t, store, set(feed.Position{Epoch: 1, Revision: 12}))
	refused(t, store, nil, set(feed.Position{Epoch: 1, Revision: 11}))
	refused(t, store, nil, set(feed.Position{Epoch: 0, Revision: 99}))
	same(t, "head", at(), feed.Position{Epoch: 1, Revision: 12})
	update(t, store, set(feed.Position{Epoch: 2, Revision: 0}))
	same(t, "head in a new epoch", at(), feed.Position{Epoch: 2})
}

func testChanges(t *testing.T, store access.Store) {
	pos := func(epoch, revision int64) feed.Position { return feed.Position{Epoch: epoch, Revision: revision} }
	all := []access.StoredChange{
		{At: pos(1, 2), App: "stripe", Body: []byte("a")}, {At: pos(1, 5), App: "stripe", Body: []byte("b")},
		{At: pos(1, 5), App: "wiki", Body: []byte("c")}, {At: pos(1, 9), App: "stripe", Body: []byte("d")},
		{At: pos(2, 1), App: "stripe", Body: []byte("e")},
	}
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		for _, c := range all {
			if err := tx.Changes().Append(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	refused(t, store, access.ErrExists, func(ctx context.Context, tx access.Tx) error { return tx.Changes().Append(ctx, all[1]) })
	between := func(after, upto feed.Position) []access.StoredChange {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]access.StoredChange, error) {
			return tx.Changes().Between(ctx, after, upto)
		})
	}
	oldest := func() feed.Position {
		return get(t, store, func(ctx context.Context, tx access.Tx) (feed.Position, error) { return tx.Changes().Oldest(ctx) })
	}
	same(t, "all", between(feed.Position{}, pos(2, 1)), all)
	same(t, "after 2 up to 5", between(pos(1, 2), pos(1, 5)), all[1:3])
	same(t, "across epochs", between(pos(1, 6), pos(2, 1)), all[3:])
	if got := between(pos(1, 9), pos(1, 9)); len(got) != 0 {
		t.Errorf("an empty range has %v", got)
	}
	same(t, "oldest of a new store", oldest(), pos(1, 0))
	prune := func(p feed.Position) {
		update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Changes().Prune(ctx, p) })
	}
	prune(pos(1, 5))
	same(t, "what is left", between(feed.Position{}, pos(2, 1)), all[3:])
	same(t, "oldest: whoever is there finds every later change", oldest(), pos(1, 5))
	prune(pos(1, 2))
	same(t, "oldest after pruning less", oldest(), pos(1, 5))
}
