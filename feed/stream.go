package feed

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stream is one Sync call. Its reader takes what the instance says; its writer
// owns what it is told. Either, or the Server, ends it with a status; then the
// call returns and both goroutines with it.
type stream struct {
	server *Server
	rpc    grpc.BidiStreamingServer[SyncRequest, SyncResponse]
	ctx    context.Context // of this call, ended with the status as its cause
	cancel context.CancelCauseFunc
	hello  chan *Subscribe
	queue  chan *told

	instance Instance // set by the reader before its first message is handed on
	apps     []string // set by the writer before it joins, read by the teller after

	shipped atomic.Int64 // when its instance shipped records last, in ns since the server began; 0: never

	// Owned by the writer.
	joined bool     // it was its instance's stream once
	skip   Position // changes up to here are in what was already sent
	deltas uint64
}

// told is one thing to send: a change, which all streams share with its encoding, or a
// Pong.
type told struct {
	at    Position
	delta *SyncResponse
	pong  *Pong
}

func newStream(s *Server, rpc grpc.BidiStreamingServer[SyncRequest, SyncResponse]) *stream {
	ctx, cancel := context.WithCancelCause(rpc.Context())
	return &stream{server: s, rpc: rpc, ctx: ctx, cancel: cancel, hello: make(chan *Subscribe, 1), queue: make(chan *told, s.queue)}
}

// end ends the call; only the first status counts.
func (st *stream) end(code codes.Code, text string) { st.cancel(status.Error(code, text)) }

// push queues m. An instance that does not keep up is dropped, never waited for.
func (st *stream) push(m *told) {
	select {
	case st.queue <- m:
	default:
		st.end(codes.ResourceExhausted, "the instance does not keep up")
	}
}

// read takes messages until the stream ends. It never waits for the Source.
func (st *stream) read() {
	for first := true; ; first = false {
		m, err := st.rpc.Recv()
		if err != nil {
			st.cancel(err)
			return
		}
		if err := st.take(m, first); err != nil {
			st.cancel(err)
			return
		}
	}
}

func (st *stream) take(m *SyncRequest, first bool) error {
	sub := m.GetSubscribe()
	if first != (sub != nil) {
		return status.Error(codes.InvalidArgument, "a stream begins with one subscribe")
	}
	if first {
		i, err := st.server.speaker(st.ctx, sub.GetInstance())
		if err != nil {
			return err
		}
		st.instance = i
		st.hello <- sub
		return nil
	}
	if _, err := st.server.speaker(st.ctx, st.instance.String()); err != nil {
		return err
	}
	switch x := m.GetMessage().(type) {
	case *SyncRequest_Ping:
		return st.server.pinged(st, x.Ping)
	case *SyncRequest_Ack:
		st.server.acked(st.instance, x.Ack)
	case *SyncRequest_Nack:
		st.server.refused(st.instance, x.Nack)
	}
	return nil // a message of a newer instance
}

// write joins and then tells, until the stream ends.
func (st *stream) write() {
	err := st.tell()
	st.cancel(err)
	if st.server.forget(st) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), sourceLimit)
		defer cancel()
		st.server.source.Leave(ctx, st.instance)
	}
}

func (st *stream) tell() error {
	select {
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	case sub := <-st.hello:
		if err := st.begin(sub); err != nil {
			return err
		}
	}
	for {
		select {
		case <-st.ctx.Done():
			return context.Cause(st.ctx)
		case m := <-st.queue:
			// What was queued after the end counts on a change that never was: a Pong
			// would say that the instance knows it.
			if st.ctx.Err() != nil {
				return context.Cause(st.ctx)
			}
			if err := st.send(m); err != nil {
				return err
			}
		}
	}
}

// begin admits the instance and brings it to the server's tail.
func (st *stream) begin(sub *Subscribe) error {
	s := st.server
	apps, err := s.source.Join(st.ctx, st.instance, sub)
	if err != nil {
		return s.face(err, "join", st.instance)
	}
	st.apps = slices.Compact(slices.Sorted(slices.Values(apps)))
	from, err := s.follow(st)
	if err != nil {
		return s.face(err, "join", st.instance)
	}
	s.log.Info("instance joined", "instance", st.instance.String(), "version", sub.GetVersion(), "apps", st.apps)
	resumed, err := st.resume(sub, from)
	if err != nil || resumed {
		return err
	}
	return st.snapshot(from)
}

// resume sends what happened after the position that the instance holds, if it
// holds one, fronts the same apps, and the changes are still kept.
func (st *stream) resume(sub *Subscribe, from Position) (bool, error) {
	held := Position{sub.GetEpoch(), sub.GetRevision()}
	if held == (Position{}) || !slices.Equal(sub.GetApps(), st.apps) || held.Epoch != from.Epoch || from.Before(held) {
		return false, nil
	}
	changes, ok, err := st.server.source.Changes(st.ctx, held, from)
	if err != nil {
		return false, st.server.face(err, "changes", st.instance)
	}
	if !ok || slices.ContainsFunc(changes, func(c Change) bool { return c.App == "" }) {
		return false, nil
	}
	st.skip = held
	for _, c := range changes {
		m, err := encode(c)
		if err != nil {
			return false, err
		}
		if !st.fronts(c.App) {
			continue
		}
		if err := st.send(m); err != nil {
			return false, err
		}
	}
	st.skip = from
	return true, nil
}

// send sends one change that is new to the instance, or a Pong.
func (st *stream) send(m *told) error {
	if m.pong != nil {
		m.pong.Deltas = st.deltas
		return st.rpc.Send(&SyncResponse{Message: &SyncResponse_Pong{Pong: m.pong}})
	}
	if !st.skip.Before(m.at) {
		return nil
	}
	st.skip = m.at
	st.deltas++
	return st.rpc.Send(m.delta)
}

func (st *stream) fronts(app string) bool {
	_, ok := slices.BinarySearch(st.apps, app)
	return ok || app == Everyone
}

// encode writes a change once for all streams.
func encode(c Change) (*told, error) {
	m, err := raw(&SyncResponse{Message: &SyncResponse_Delta{Delta: &Delta{
		Epoch: c.At.Epoch, Revision: c.At.Revision, Resources: c.Resources, Removals: c.Removals,
	}}})
	if err != nil {
		return nil, fmt.Errorf("change %d: %w", c.At.Revision, err)
	}
	return &told{at: c.At, delta: m}, nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// TimeOf reads a time of the feed; 0 is the zero time.
func TimeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
