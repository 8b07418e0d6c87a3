package feed

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// There is one reader of changes, whoever has the turn. It reads each change
// once, encodes it once, and queues it on every stream that joined, so that
// what is queued after it, a Pong too, reaches an instance after it.

// take waits for the turn.
func (s *Server) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) pass() { <-s.turn }

// catchUp queues every change up to a position that is not queued yet.
func (s *Server) catchUp(ctx context.Context, upto Position) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.pass()
	return s.advance(ctx, upto)
}

// follow joins st and returns the position from which it is told changes.
func (s *Server) follow(st *stream) (Position, error) {
	if err := s.take(st.ctx); err != nil {
		return Position{}, err
	}
	defer s.pass()
	if !s.tailed {
		if err := s.restart(st.ctx); err != nil {
			return Position{}, err
		}
	} else if err := s.advance(st.ctx, Newest()); err != nil {
		return Position{}, err
	}
	s.join(st)
	return s.tail, nil
}

// restart puts the tail to the head.
func (s *Server) restart(ctx context.Context) error {
	var head Position
	if err := s.source.Snapshot(ctx, nil, func(at Position, _ []*Resource) error { head = at; return nil }); err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	s.tail, s.tailed = head, true
	return nil
}

func (s *Server) advance(ctx context.Context, upto Position) error {
	if !s.tailed || !s.tail.Before(upto) {
		return nil // nobody has joined, or nothing is new
	}
	changes, ok, err := s.source.Changes(ctx, s.tail, upto)
	if err != nil {
		return fmt.Errorf("read changes after %d: %w", s.tail.Revision, err)
	}
	if !ok {
		s.endJoined(codes.Aborted, "the changes are no longer kept: resync")
		return s.restart(ctx)
	}
	all := s.lastShippersFirst()
	for _, c := range changes {
		if !s.tail.Before(c.At) || upto.Before(c.At) {
			return fmt.Errorf("change %d is not between %d and %d", c.At.Revision, s.tail.Revision, upto.Revision)
		}
		if err := s.spread(c, all); err != nil {
			return err
		}
		s.tail = c.At
	}
	if upto != Newest() {
		s.tail = upto
	}
	return nil
}

// spread queues c on those of some streams that it concerns, in their order.
func (s *Server) spread(c Change, some []*stream) error {
	m, err := encode(c)
	if err != nil {
		return err
	}
	pushed := 0
	for _, st := range some {
		switch {
		case c.App == "":
			st.end(codes.Aborted, "the apps of this instance may have changed: join again")
		case st.fronts(c.App):
			st.push(m)
			if pushed++; pushed%atATime == 0 {
				runtime.Gosched() // what is queued is sent before more is
			}
		}
	}
	return nil
}

// atATime is how many streams a change is queued on before their writers have a turn.
const atATime = 16

// lastShippersFirst returns the streams that are told changes. An end is late where
// somebody still uses what has ended: instances that shipped records last stand first.
// One whose only use is a stream that was opened long ago stands anywhere. The caller has
// the turn: nobody joins meanwhile.
func (s *Server) lastShippersFirst() []*stream {
	type shipper struct {
		*stream
		at int64
	}
	s.mu.Lock()
	all := make([]shipper, 0, len(s.joined))
	for _, st := range s.joined {
		all = append(all, shipper{st, st.shipped.Load()})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b shipper) int { return cmp.Compare(b.at, a.at) })
	out := make([]*stream, len(all))
	for n, one := range all {
		out[n] = one.stream
	}
	return out
}

func (s *Server) tellOnWake(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			limited, cancel := context.WithTimeout(ctx, sourceLimit)
			if err := s.catchUp(limited, Newest()); err != nil && ctx.Err() == nil {
				s.log.Warn("changes not told; the next beat tries again", "error", err)
			}
			cancel()
		}
	}
}

// pinged keeps p for the next batch; a newer Ping of the stream takes its place.
func (s *Server) pinged(st *stream, p *Ping) error {
	if p.GetNonce() == "" {
		return status.Error(codes.InvalidArgument, "a ping has a nonce")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[st] {
		s.beats[st] = p
	}
	return nil
}

// waiting takes the batch: the Pings of streams that joined.
func (s *Server) waiting() map[*stream]*Ping {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := map[*stream]*Ping{}
	for _, st := range s.joined {
		if p, ok := s.beats[st]; ok {
			batch[st] = p
			delete(s.beats, st)
		}
	}
	return batch
}

// beat answers the Pings that wait. Nothing is answered before the transaction
// has committed and every change that it could see is queued (contracts §2).
func (s *Server) beat(ctx context.Context) {
	batch := s.waiting()
	if len(batch) == 0 {
		return
	}
	beats := make([]Beat, 0, len(batch))
	for st, p := range batch {
		beats = append(beats, Beat{Instance: st.instance, Ping: p})
	}
	pulse, err := s.source.Beat(ctx, beats)
	if err == nil {
		err = s.catchUp(ctx, pulse.Head)
	}
	if err != nil {
		s.log.Warn("no pongs: their leases run out", "instances", len(beats), "error", err)
		return
	}
	for st, p := range batch {
		if why, ok := pulse.Resync[st.instance]; ok {
			st.end(codes.DataLoss, why)
			continue
		}
		if pulse.Silent[st.instance] {
			continue
		}
		st.push(&told{pong: &Pong{
			Nonce: p.GetNonce(), Epoch: pulse.Head.Epoch, Head: pulse.Head.Revision, TimeUs: micros(pulse.Time),
			Checkpoint: pulse.Checkpoint, CompleteTo: pulse.Head.Revision,
			Leaves: pulse.Leaves[st.instance], Consistency: pulse.Consistency[p.GetCheckpointSize()],
		}})
	}
}
