package feed

import (
	"context"
	"slices"
	"time"
)

// receiptOf reads an Ack.
func receiptOf(i Instance, a *Ack) Receipt {
	return Receipt{
		Instance: i, At: Position{a.GetEpoch(), a.GetRevision()}, LastAllowed: TimeOf(a.GetLastAllowedUs()),
		LastAction: a.GetLastAction(), StreamsCut: a.GetStreamsCut(), Bounded: TimeOf(a.GetBoundedUs()),
	}
}

// Ack writes r as a message.
func (r Receipt) Ack() *Ack {
	return &Ack{
		Epoch: r.At.Epoch, Revision: r.At.Revision, LastAllowedUs: micros(r.LastAllowed),
		LastAction: r.LastAction, StreamsCut: r.StreamsCut, BoundedUs: micros(r.Bounded),
	}
}

// Merge returns one receipt that says what r and q say together: the higher
// position, the latest allowed action, all streams cut, the latest bound. A
// revocation's figures are not lost under a later revision.
func (r Receipt) Merge(q Receipt) Receipt {
	out := r
	if r.At.Before(q.At) {
		out.Instance, out.At = q.Instance, q.At
	}
	if q.LastAllowed.After(r.LastAllowed) {
		out.LastAllowed, out.LastAction = q.LastAllowed, q.LastAction
	}
	out.StreamsCut = r.StreamsCut + q.StreamsCut
	out.Bounded = latest(r.Bounded, q.Bounded)
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *Server) acked(i Instance, a *Ack) {
	s.keep([]Receipt{receiptOf(i, a)})
}

func (s *Server) keep(receipts []Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range receipts {
		s.receipts[r.Instance] = s.receipts[r.Instance].Merge(r)
	}
}

func (s *Server) refused(i Instance, n *Nack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refusals) >= maxRefusals {
		s.log.Error("refusal dropped: too many wait", "instance", i.String(), "kind", n.GetKind(), "id", n.GetId())
		return
	}
	s.refusals = append(s.refusals, Refusal{Instance: i, Nack: n})
}

// store hands refusals and receipts to the Source; what it does not take waits for the
// next time. What an instance refused comes first: its receipt for the same revision
// counts for what it holds.
func (s *Server) store(ctx context.Context) {
	s.mu.Lock()
	refusals, held := s.refusals, s.receipts
	s.refusals, s.receipts = nil, map[Instance]Receipt{}
	s.mu.Unlock()
	s.storeRefusals(ctx, refusals)
	s.storeReceipts(ctx, held)
}

func (s *Server) storeRefusals(ctx context.Context, refusals []Refusal) {
	for n, r := range refusals {
		if err := s.source.Refused(ctx, r); err != nil {
			s.log.Warn("refusals not stored; they wait", "error", err)
			s.mu.Lock()
			s.refusals = slices.Concat(refusals[n:], s.refusals)
			s.mu.Unlock()
			return
		}
	}
}

func (s *Server) storeReceipts(ctx context.Context, held map[Instance]Receipt) {
	if len(held) == 0 {
		return
	}
	receipts := make([]Receipt, 0, len(held))
	for _, r := range held {
		receipts = append(receipts, r)
	}
	slices.SortFunc(receipts, func(a, b Receipt) int { return a.Instance.compare(b.Instance) })
	if err := s.source.Acknowledge(ctx, receipts); err != nil {
		s.log.Warn("receipts not stored; they wait", "error", err)
		s.keep(receipts)
	}
}
