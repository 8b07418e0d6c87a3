package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
)

// showTrees proves, for each size that Pings named, that the tree of a signed
// checkpoint begins with the one of that size. The instances of a batch name few
// sizes: each is proven once, by one read of about 2 log2 n hashes, and shared. It is
// read after the batch has committed: nobody waits for it who writes. A size that the
// record does not have gets no proof.
func (s Source) showTrees(ctx context.Context, beats []feed.Beat, size int64) (map[int64][][]byte, error) {
	sizes := map[int64]bool{}
	for _, b := range beats {
		if n := b.Ping.GetCheckpointSize(); 0 < n && n < size {
			sizes[n] = true
		}
	}
	if len(sizes) == 0 {
		return nil, nil
	}
	var out map[int64][][]byte
	err := s.store.View(ctx, func(tx Tx) error {
		out = make(map[int64][][]byte, len(sizes))
		for n := range sizes {
			proof, err := audit.ProveTree(ctx, tx.Log(), size, n)
			if err != nil {
				return err
			}
			hashes := make([][]byte, len(proof))
			for i := range proof {
				hashes[i] = proof[i][:]
			}
			out[n] = hashes
		}
		return nil
	})
	return out, err
}

// hear notes what an instance keeps of the record, which has that size here.
func (s Source) hear(ctx context.Context, what hearsay, size int64) {
	k, news := s.keeps.hear(what, s.signer, size)
	if !news {
		return
	}
	if k.Ahead {
		s.log.ErrorContext(ctx, "alarm: a gateway keeps a signed checkpoint of more entries than there are: this database is an older copy",
			"instance", what.instance.String(), "checkpoint", k.Size, "entries", size)
		return
	}
	s.log.ErrorContext(ctx, "alarm: a gateway does not believe what it is shown of the record", "instance", what.instance.String(), "says", k.Doubt)
}

// Doubting is how many gateways of this process do not count what they are shown of
// the record.
func (s *Service) Doubting() int { return s.keeps.doubting() }
