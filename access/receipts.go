package access

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
)

// RevocationView is a Revocation at one instant.
type RevocationView struct {
	Revocation
	Passed time.Duration // Tx.Passed then
	Done   bool          // every awaited instance acknowledged or cannot hold it any more
}

func viewRevocation(r Revocation, passed time.Duration) RevocationView {
	return RevocationView{Revocation: r, Passed: passed, Done: settled(r, passed)}
}

// settled reports whether nobody is awaited any more.
func settled(r Revocation, passed time.Duration) bool {
	for _, w := range r.Waits {
		if w.Done(passed) == "" {
			return false
		}
	}
	return true
}

// grantReceipts is the body of the leaf grant.receipts, one for each early end.
type grantReceipts struct {
	Grant     string        `json:"grant"`
	Epoch     string        `json:"epoch"`
	Revision  string        `json:"revision"`
	Instances []receiptBody `json:"instances"`
	// More counts the instances beyond those listed, all of which acknowledged.
	More string `json:"more,omitempty"`
}

type receiptBody struct {
	Instance    string     `json:"instance"`
	How         string     `json:"how"` // acked or closed
	At          audit.Time `json:"at"`
	LastAllowed audit.Time `json:"last_allowed_at,omitzero"`
	LastAction  string     `json:"last_action,omitempty"`
	Bounded     audit.Time `json:"bounded_at,omitzero"`
	StreamsCut  uint32     `json:"streams_cut,string"`
}

// maxReceipts keeps the leaf below the record's limit.
const maxReceipts = 150

// settle writes the leaf grant.receipts for each revocation that nobody is
// awaited for any more, and closes it.
func (w *work) settle(ctx context.Context) error {
	over, err := w.tx.Revocations().Settled(ctx, w.tx.Passed())
	if err != nil {
		return fmt.Errorf("settled revocations: %w", err)
	}
	for _, r := range over {
		w.touch(r.Grant)
		if _, err := w.leaf(ctx, audit.TypeGrantReceipts, r.Grant, receiptsOf(r, w.now, w.tx.Passed()), r.Grant); err != nil {
			return err
		}
		id, err := parseGrantID(r.Grant)
		if err != nil {
			return err
		}
		if err := w.tx.Revocations().Close(ctx, id, w.now); err != nil {
			return fmt.Errorf("close revocation of %s: %w", r.Grant, err)
		}
		w.settled = append(w.settled, r)
	}
	return nil
}

// measure tells how long each instance took, once the transaction that settled the
// revocations is committed.
func (s *Service) measure(settled []Revocation) {
	for _, r := range settled {
		for _, w := range r.Waits {
			if w.AckedAt.IsZero() {
				s.revoked.Closed()
				continue
			}
			last := time.Duration(0)
			if !w.LastAllowed.IsZero() {
				last = w.LastAllowed.Sub(r.Started)
			}
			s.revoked.Acknowledged(w.AckedAt.Sub(r.Started), last)
		}
	}
}

func receiptsOf(r Revocation, now time.Time, passed time.Duration) grantReceipts {
	body := grantReceipts{
		Grant: r.Grant, Epoch: strconv.FormatInt(r.At.Epoch, 10), Revision: strconv.FormatInt(r.At.Revision, 10),
		Instances: []receiptBody{},
	}
	acked, rest := []Wait{}, []Wait{}
	for _, w := range r.Waits {
		if w.AckedAt.IsZero() {
			rest = append(rest, w)
		} else {
			acked = append(acked, w)
		}
	}
	for i, w := range append(rest, acked...) { // who did not answer is named first
		if i == maxReceipts {
			body.More = strconv.Itoa(len(r.Waits) - maxReceipts)
			break
		}
		body.Instances = append(body.Instances, receiptBodyOf(w, now, passed))
	}
	return body
}

// receiptBodyOf writes how a wait ended. One that was closed was so when its lease was
// over, by the clock of now, which may have been moved forward since it began.
func receiptBodyOf(w Wait, now time.Time, passed time.Duration) receiptBody {
	closed := later(w.Until, now.Add(w.UntilPassed-passed))
	b := receiptBody{Instance: w.Instance.String(), How: w.Done(passed), At: audit.At(closed), LastAction: w.LastAction, StreamsCut: w.StreamsCut}
	if !w.AckedAt.IsZero() {
		b.At = audit.At(w.AckedAt)
	}
	if !w.LastAllowed.IsZero() {
		b.LastAllowed = audit.At(w.LastAllowed)
	}
	if !w.Bounded.IsZero() {
		b.Bounded = audit.At(w.Bounded)
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
