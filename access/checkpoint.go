package access

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/audit"
)

// signedCheckpoint is the newest checkpoint that was signed.
type signedCheckpoint struct {
	size int64
	note []byte
}

// tree is the size and root of the log as one transaction saw it.
type tree struct {
	size int64
	root audit.Hash
}

func readTree(ctx context.Context, r audit.Reader) (tree, error) {
	size, err := r.Size(ctx)
	if err != nil {
		return tree{}, fmt.Errorf("log size: %w", err)
	}
	root, err := audit.TreeHash(ctx, r, size)
	if err != nil {
		return tree{}, err
	}
	return tree{size, root}, nil
}

// Checkpoint returns the signed checkpoint of the log as committed now.
func (s *Service) Checkpoint(ctx context.Context) ([]byte, error) {
	var t tree
	err := s.store.View(ctx, func(tx Tx) (err error) {
		t, err = readTree(ctx, tx.Log())
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.sign(t)
}

// sign signs a committed tree, or returns the newer checkpoint that was signed
// meanwhile. It is never called inside a transaction: what does not commit is
// not signed.
func (s *Service) sign(t tree) ([]byte, error) {
	c, err := s.signSized(t)
	return c.note, err
}

// signSized is sign, and says how many leaves the checkpoint has.
func (s *Service) signSized(t tree) (signedCheckpoint, error) {
	s.signMu.Lock()
	defer s.signMu.Unlock()
	if s.signed.note != nil && t.size <= s.signed.size {
		return s.signed, nil
	}
	note, err := s.signer.Sign(t.size, t.root)
	if err != nil {
		return signedCheckpoint{}, err
	}
	s.signed = signedCheckpoint{t.size, note}
	s.published(note)
	return s.signed, nil
}
