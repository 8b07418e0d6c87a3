package access

import (
	"context"
	"fmt"
	"strconv"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

// Recovered is what Recover did.
type Recovered struct {
	Evidence []audit.Checkpoint // that the record does not continue
	Entries  int64              // as found
	Epoch    int64              // that began
	Grants   int                // ended
	Sessions int                // likewise
}

// recovered is the body of the leaf record.recovered: an operator went on with a
// database that does not continue what had been signed.
type recovered struct {
	Evidence []string   `json:"evidence"` // the signed checkpoints that it does not continue
	Entries  string     `json:"entries"`  // as found
	Root     audit.Hash `json:"root"`     // of those
	Epoch    string     `json:"epoch"`    // that begins
}

// Recover goes on with a database that was set back (contracts §5, rollback and
// forks), in one transaction: the signed checkpoints that its record does not continue
// go on the record as evidence, a new epoch begins, and every live grant and session
// ends, each with its leaf: one that was ended after the copy was made would live
// again. Checkpoints that the record does continue are no evidence; with none there is
// nothing to recover from, and nothing changes. Gateways that have seen more go on only
// when their own operators say so.
func (s *Service) Recover(ctx context.Context, checkpoints [][]byte) (Recovered, error) {
	var out Recovered
	err := s.update(ctx, func(w *work) error {
		out = Recovered{}
		now, err := readTree(ctx, w.tx.Log())
		if err != nil {
			return err
		}
		body := recovered{Entries: strconv.FormatInt(now.size, 10), Root: now.root}
		for _, note := range checkpoints {
			c, continued, err := w.continues(ctx, note, now)
			if err != nil {
				return err
			}
			if !continued {
				out.Evidence = append(out.Evidence, c)
				body.Evidence = append(body.Evidence, string(note))
			}
		}
		if len(out.Evidence) == 0 {
			return fault(CodeInvalid, "", "the record, of %d entries, continues every checkpoint that was given: nothing was rolled back", now.size)
		}
		if out.Epoch, err = w.nextEpoch(ctx); err != nil {
			return err
		}
		body.Epoch = strconv.FormatInt(out.Epoch, 10)
		index, err := w.leaf(ctx, audit.TypeRecordRecovered, body.Epoch, body)
		if err != nil {
			return err
		}
		if err := w.tx.Head().SetFeed(ctx, feed.Position{Epoch: out.Epoch, Revision: index + 1}); err != nil {
			return fmt.Errorf("head: %w", err)
		}
		out.Entries = now.size
		out.Grants, out.Sessions, err = w.endEverything(ctx)
		return err
	})
	if err != nil {
		return Recovered{}, err
	}
	return out, nil
}

// continues reports whether the record, which is at now, continues a checkpoint that
// this installation signed.
func (w *work) continues(ctx context.Context, note []byte, now tree) (audit.Checkpoint, bool, error) {
	c, err := audit.ParseNote(note)
	if err != nil || !w.signer.Signed(note) {
		return c, false, fault(CodeInvalid, "", "a checkpoint that was not signed with this record's key")
	}
	if c.Size > now.size {
		return c, false, nil
	}
	root, err := audit.TreeHash(ctx, w.tx.Log(), c.Size)
	return c, root == c.Root, err
}

// nextEpoch is above every epoch that gateways may have seen: those of a copy that was
// recovered from before, too, of which this database knows nothing. So it is the time.
func (w *work) nextEpoch(ctx context.Context) (int64, error) {
	head, err := w.tx.Head().Feed(ctx)
	if err != nil {
		return 0, fmt.Errorf("head: %w", err)
	}
	return max(head.Epoch+1, w.now.Unix()), nil
}

// endEverything ends every live grant and session.
func (w *work) endEverything(ctx context.Context) (grants, sessions int, err error) {
	var live []grant.Grant
	if err := eachLive(ctx, w.tx, GrantFilter{}, func(g grant.Grant) error { live = append(live, g); return nil }); err != nil {
		return 0, 0, err
	}
	if len(live) > 0 {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return 0, 0, err
		}
		for _, g := range live {
			if err := w.end(ctx, set, g, audit.TypeGrantRevoked, grant.Revoked, identity.Principal{}); err != nil {
				return 0, 0, err
			}
		}
	}
	open, err := w.allLive(ctx, SessionFilter{})
	if err != nil {
		return 0, 0, err
	}
	sessions, err = w.endSessions(ctx, open, grant.SessionEnded, byRecovery)
	return len(live), sessions, err
}
