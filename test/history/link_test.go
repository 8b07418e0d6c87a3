package history

import (
	"context"
	"errors"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
)

// pipe carries the messages of one direction of one stream, as bytes, without
// bound. What a network does to them is said by its fields.
type pipe struct {
	mu      sync.Mutex
	queue   [][]byte
	closed  error // after the queue
	broken  error // at once
	held    bool
	doubles int
	aside   bool // keep the next message until one more was sent
	kept    []byte
	changed chan struct{}
}

func newPipe() *pipe { return &pipe{changed: make(chan struct{})} }

// tell wakes whoever waits. The lock is held.
func (p *pipe) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.tell()
}

// flush sends what was kept aside. The lock is held.
func (p *pipe) flush() {
	if p.kept != nil {
		p.queue = append(p.queue, p.kept)
	}
	p.aside, p.kept = false, nil
}

func (p *pipe) send(m any) error {
	b, err := proto.Marshal(m.(proto.Message))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := errors.Join(p.broken, p.closed); err != nil {
		return err
	}
	switch {
	case p.aside:
		p.aside, p.kept = false, b
	case p.kept != nil:
		p.queue = append(p.queue, b, p.kept)
		p.kept = nil
	default:
		p.queue = append(p.queue, b)
	}
	for ; p.doubles > 0; p.doubles-- {
		p.queue = append(p.queue, slices.Clone(b))
	}
	p.tell()
	return nil
}

func (p *pipe) receive(ctx context.Context, into any) error {
	for {
		b, changed, err := p.next()
		switch {
		case err != nil:
			return err
		case b != nil:
			return proto.Unmarshal(b, into.(proto.Message))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

func (p *pipe) next() ([]byte, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken != nil:
		return nil, nil, p.broken
	case p.held:
		return nil, p.changed, nil
	case len(p.queue) > 0:
		b := p.queue[0]
		p.queue = p.queue[1:]
		return b, nil, nil
	case p.closed != nil:
		return nil, nil, p.closed
	}
	return nil, p.changed, nil
}

// link is an instance's way to mayflyd: a grpc.ClientConnInterface.
type link struct {
	wg   sync.WaitGroup // streams at their servers
	mu   sync.Mutex
	to   *feed.Server // nil: nobody is there
	cut  bool
	up   bool // held
	down bool // held
	open []*wire
}

// wire is one stream on a link.
type wire struct {
	up, down *pipe
	end      context.CancelCauseFunc // of the server's side
}

var errCut = status.Error(codes.Unavailable, "the connection is gone")

func (l *link) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(codes.Unimplemented, "only the feed is on this link")
}

func (l *link) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.to == nil {
		return nil, errCut
	}
	at, end := context.WithCancelCause(context.Background())
	w := &wire{up: newPipe(), down: newPipe(), end: end}
	w.up.held, w.down.held = l.up, l.down
	l.open = append(l.open, w)
	server := l.to
	l.wg.Go(func() {
		err := server.Sync(&grpc.GenericServerStream[feed.SyncRequest, feed.SyncResponse]{ServerStream: atServer{ctx: at, w: w}})
		if err == nil {
			err = errCut
		}
		w.down.do(func() { w.down.closed = err })
	})
	// That the client is gone travels like a message, and is held like one.
	context.AfterFunc(ctx, func() { w.up.do(func() { w.up.closed = errCut }) })
	return atClient{ctx: ctx, w: w}, nil
}

// hold lets nothing through from now on; nobody is told.
func (l *link) hold(up, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.down = l.up || up, l.down || down
	l.spread()
}

// heal lets everything through again, and what was held first.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.up, l.down = false, false, false
	l.spread()
	for _, w := range l.open {
		w.up.do(w.up.flush)
		w.down.do(w.down.flush)
	}
}

func (l *link) spread() {
	for _, w := range l.open {
		w.up.do(func() { w.up.held = l.up })
		w.down.do(func() { w.down.held = l.down })
	}
}

// sever breaks every stream, both ends see it, and none begins before heal.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	l.drop()
}

// drop breaks every stream. The lock is held.
func (l *link) drop() {
	for _, w := range l.open {
		w.up.do(func() { w.up.broken = errCut })
		w.down.do(func() { w.down.broken = errCut })
		w.end(errCut)
	}
	l.open = nil
}

// lead makes s what is at the other end of new streams. Those to another one end.
func (l *link) lead(s *feed.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = s
	l.drop()
}

// newest is the pipe to the instance of the newest stream.
func (l *link) newest() *pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) == 0 {
		return newPipe()
	}
	return l.open[len(l.open)-1].down
}

type atClient struct {
	ctx context.Context
	w   *wire
}

func (c atClient) Header() (metadata.MD, error) { return nil, nil }
func (c atClient) Trailer() metadata.MD         { return nil }
func (c atClient) CloseSend() error             { return nil }
func (c atClient) Context() context.Context     { return c.ctx }
func (c atClient) SendMsg(m any) error          { return c.w.up.send(m) }
func (c atClient) RecvMsg(m any) error          { return c.w.down.receive(c.ctx, m) }

type atServer struct {
	ctx context.Context
	w   *wire
}

func (s atServer) SetHeader(metadata.MD) error  { return nil }
func (s atServer) SendHeader(metadata.MD) error { return nil }
func (s atServer) SetTrailer(metadata.MD)       {}
func (s atServer) Context() context.Context     { return s.ctx }
func (s atServer) SendMsg(m any) error          { return s.w.down.send(m) }
func (s atServer) RecvMsg(m any) error          { return s.w.up.receive(s.ctx, m) }
