package access

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/feed"
)

// Beat stores last_pong for each instance that is not in quarantine, and reads
// head, clock and the log's tree in the same write transaction (contracts §2). It
// makes no revision. An instance whose digests are not those of what it was told is in
// quarantine, and is made to take a snapshot; it is out of it once they are equal. The
// checkpoint is signed after the commit.
func (s Source) Beat(ctx context.Context, beats []feed.Beat) (feed.Pulse, error) {
	var out feed.Pulse
	var seen tree
	said, err := s.judge(ctx, beats)
	if err != nil {
		return feed.Pulse{}, err
	}
	var strayed []feed.Instance
	err = s.updateInLine(ctx, func(w *work) error {
		head, err := w.tx.Head().Feed(ctx)
		if err != nil {
			return fmt.Errorf("head: %w", err)
		}
		quiet, err := silent(ctx, w.tx, beats)
		if err != nil {
			return err
		}
		if strayed, err = w.quarantine(ctx, beats, said); err != nil {
			return err
		}
		for _, i := range strayed {
			quiet[i] = true
		}
		var ids []feed.Instance
		for _, b := range beats {
			if !quiet[b.Instance] {
				ids = append(ids, b.Instance)
			}
		}
		if err := w.tx.Instances().SetLastPong(ctx, ids, w.now, w.tx.Passed()); err != nil {
			return fmt.Errorf("last pong: %w", err)
		}
		out = feed.Pulse{Head: head, Time: w.now, Silent: quiet}
		seen, err = readTree(ctx, w.tx.Log())
		return err
	})
	if err != nil {
		return feed.Pulse{}, err
	}
	signed, err := s.signSized(seen)
	if err != nil {
		return feed.Pulse{}, err
	}
	out.Checkpoint = signed.note
	out.Resync = s.digests.resync(said, out.Time)
	s.digests.silence(strayed, out.Time)
	if out.Leaves, err = s.showLeaves(ctx, beats, signed.size); err != nil {
		return feed.Pulse{}, err
	}
	if out.Consistency, err = s.showTrees(ctx, beats, signed.size); err != nil {
		return feed.Pulse{}, err
	}
	for _, b := range beats {
		s.hear(ctx, hearsay{b.Instance, b.Ping.GetCheckpoint(), b.Ping.GetDoubt()}, signed.size)
	}
	s.spools.heard(beats, out.Time)
	s.bundles.heard(beats, out.Time)
	return out, nil
}

// Acknowledge stores the highest receipt of each instance, and what it means for
// the revocations that wait.
func (s Source) Acknowledge(ctx context.Context, receipts []feed.Receipt) error {
	if len(receipts) == 0 {
		return nil
	}
	return s.updateInLine(ctx, func(w *work) error {
		receipts, err := w.receivable(ctx, receipts)
		if err != nil {
			return err
		}
		if err := w.tx.Instances().SetAcked(ctx, receipts, w.now); err != nil {
			return fmt.Errorf("receipts of %d instances: %w", len(receipts), err)
		}
		if err := w.tx.Revocations().Acked(ctx, receipts, w.now, w.tx.Passed()); err != nil {
			return fmt.Errorf("receipts of %d instances: %w", len(receipts), err)
		}
		return w.settle(ctx)
	})
}

// receivable leaves out the receipts for what was never told: of another epoch, or
// further than the feed has gone. One that was taken would count for every end that
// is still to come.
func (w *work) receivable(ctx context.Context, receipts []feed.Receipt) ([]feed.Receipt, error) {
	head, err := w.tx.Head().Feed(ctx)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	var out []feed.Receipt
	for _, r := range receipts {
		if r.At.Epoch == head.Epoch && !head.Before(r.At) {
			out = append(out, r)
			continue
		}
		text := fmt.Sprintf("its receipt for revision %d of epoch %d, which was never told", r.At.Revision, r.At.Epoch)
		w.log.ErrorContext(ctx, "alarm: a receipt is refused", "instance", r.Instance.String(), "receipt", text)
		if err := w.tx.Instances().SetNack(ctx, r.Instance, text, w.now); err != nil {
			return nil, fmt.Errorf("receipt of %s: %w", r.Instance, err)
		}
	}
	return out, nil
}

// Refused notes a NACK: mayfly nodes shows the newest of each instance.
func (s Source) Refused(ctx context.Context, r feed.Refusal) error {
	n := r.Nack
	text := fmt.Sprintf("revision %d: %s %s: %s: %s", n.GetRevision(), clip(n.GetKind()), clip(n.GetId()), clip(n.GetReason()), clipLong(n.GetDetail()))
	return s.updateInLine(ctx, func(w *work) error {
		if err := w.noteNack(ctx, r.Instance, text); err != nil {
			return err
		}
		if n.GetKind() != kindGrant {
			return nil
		}
		return w.refused(ctx, r.Instance, n.GetId(), clip(n.GetReason()))
	})
}

// NoteNack notes that an instance, or the Envoy beside it, refused what it was
// told, in words for mayfly nodes.
func (s *Service) NoteNack(ctx context.Context, i feed.Instance, text string) error {
	return s.updateInLine(ctx, func(w *work) error { return w.noteNack(ctx, i, text) })
}

func (w *work) noteNack(ctx context.Context, i feed.Instance, text string) error {
	if err := w.tx.Instances().SetNack(ctx, i, clipLong(text), w.now); err != nil {
		return fmt.Errorf("nack of %s: %w", i, err)
	}
	return nil
}

func clipLong(s string) string {
	const limit = 2000
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// peerOnly refuses an instance that policy does not list, for the unary calls.
func (w *work) peerOnly(ctx context.Context, i feed.Instance) ([]string, error) {
	if i == (feed.Instance{}) {
		return nil, status.Error(codes.PermissionDenied, "no instance")
	}
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return nil, err
	}
	node, err := nodeOf(set, i)
	if err != nil {
		return nil, err
	}
	return node.Apps, nil
}
