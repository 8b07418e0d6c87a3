package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	batchEvery   = 100 * time.Millisecond // contracts §2, Pings and ACKs
	defaultQueue = 1024
	sourceLimit  = 10 * time.Second
	maxRefusals  = 4096
)

// ServerConfig configures a Server.
type ServerConfig struct {
	// Source is what is told. Required.
	Source Source
	// Peer returns the SPIFFE ID that the caller of an RPC proved. Required; asked
	// again at every message, since a connection outlives its certificate.
	Peer func(ctx context.Context) (spiffeID string, err error)
	// Log is for operators; nil discards.
	Log *slog.Logger
	// Queue is how many messages may wait for one instance before its stream is
	// dropped; 0 means 1024.
	Queue int
}

// Server is the gRPC services Feed, Sessions and Tokens. Make it with NewServer,
// register it with RegisterFeedServer, RegisterSessionsServer and
// RegisterTokensServer, and keep Run running: without it nobody gets a Pong. Safe for
// concurrent use.
type Server struct {
	UnimplementedFeedServer
	UnimplementedSessionsServer
	UnimplementedTokensServer
	source Source
	peer   func(ctx context.Context) (string, error)
	log    *slog.Logger
	queue  int

	began   time.Time
	wake    chan struct{}
	streams sync.WaitGroup // readers and writers

	turn   chan struct{} // held by whoever moves tail
	tail   Position      // every change up to here is queued on every stream that joined before
	tailed bool

	camera  chan struct{} // held by whoever reads a snapshot
	sending chan struct{} // held by those whose snapshot is on its way

	mu       sync.Mutex
	closed   bool
	open     map[*stream]bool     // every stream
	joined   map[Instance]*stream // those that are told changes
	beats    map[*stream]*Ping    // the newest that waits for its Pong
	receipts map[Instance]Receipt
	refusals []Refusal
	expected map[string]*picture // by apps: the next snapshots, which nobody reads yet
}

// NewServer checks c.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Source == nil || c.Peer == nil {
		return nil, errors.New("feed server: Source and Peer are required")
	}
	if c.Queue < 0 {
		return nil, fmt.Errorf("feed server: queue of %d", c.Queue)
	}
	if c.Queue == 0 {
		c.Queue = defaultQueue
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		source: c.Source, peer: c.Peer, log: c.Log, queue: c.Queue, began: time.Now(),
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		camera: make(chan struct{}, 1), sending: make(chan struct{}, atOnce), expected: map[string]*picture{},
		open: map[*stream]bool{}, joined: map[Instance]*stream{}, beats: map[*stream]*Ping{}, receipts: map[Instance]Receipt{},
	}, nil
}

// Run answers Pings, tells changes and stores receipts until ctx ends; then it
// ends every stream and returns nil.
func (s *Server) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { s.each(ctx, s.beat); return nil })
	g.Go(func() error { s.each(ctx, s.store); return nil })
	g.Go(func() error { s.tellOnWake(ctx); return nil })
	<-ctx.Done()
	s.close()
	err := g.Wait()
	s.streams.Wait()
	return err
}

// Wake tells new changes at once, without waiting for a Ping. Call it after a
// verb's transaction has committed.
func (s *Server) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Sync carries one instance's subscription (contracts §3).
func (s *Server) Sync(rpc grpc.BidiStreamingServer[SyncRequest, SyncResponse]) error {
	st := newStream(s, rpc)
	if !s.admit(st) {
		return status.Error(codes.Unavailable, "the server is stopping")
	}
	<-st.ctx.Done() // whatever its goroutines still wait for, returning ends that too
	return s.verdict(context.Cause(st.ctx))
}

// verdict turns the cause of a stream's end into its status.
func (s *Server) verdict(cause error) error {
	switch _, ok := status.FromError(cause); {
	case errors.Is(cause, io.EOF):
		return nil
	case ok:
		return cause
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return status.FromContextError(cause).Err()
	default:
		s.log.Warn("stream failed", "error", cause)
		return status.Error(codes.Unavailable, "the stream failed")
	}
}

// Ingest ships one segment of a spool.
func (s *Server) Ingest(ctx context.Context, r *IngestRequest) (*IngestResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.Ingest(ctx, i, r)
	if out.GetAccepted() {
		s.ships(i)
	}
	return out, s.face(err, "ingest", i)
}

// ships notes that an instance ships records.
func (s *Server) ships(i Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.joined[i]; st != nil {
		st.shipped.Store(int64(time.Since(s.began)))
	}
}

// Reserve acknowledges one intent.
func (s *Server) Reserve(ctx context.Context, r *ReserveRequest) (*ReserveResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.Reserve(ctx, i, r)
	return out, s.face(err, "reserve", i)
}

// speaker returns the instance that text names, if the caller may speak for it.
func (s *Server) speaker(ctx context.Context, text string) (Instance, error) {
	id, err := s.peer(ctx)
	if err != nil {
		return Instance{}, s.refuse(codes.Unauthenticated, "no proven peer", err)
	}
	i, err := ParseInstance(text)
	if err != nil {
		return Instance{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if i.Sidecar != id {
		return Instance{}, s.refuse(codes.PermissionDenied, "the peer speaks for another sidecar", fmt.Errorf("%s claims %s", id, i))
	}
	return i, nil
}

func (s *Server) refuse(code codes.Code, text string, cause error) error {
	s.log.Warn("feed call refused", "reason", text, "error", cause)
	return status.Error(code, text)
}

// face turns a Source's error into what an instance may see of it.
func (s *Server) face(err error, what string, i Instance) error {
	if err == nil {
		return nil
	}
	s.log.Warn("feed source failed", "call", what, "instance", i.String(), "error", err)
	if st, ok := status.FromError(err); ok {
		return st.Err()
	}
	return status.Error(codes.Unavailable, what+" failed; nothing was acknowledged")
}

// each calls f every 100 ms until ctx ends.
func (s *Server) each(ctx context.Context, f func(context.Context)) {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			limited, cancel := context.WithTimeout(ctx, sourceLimit)
			f(limited)
			cancel()
		}
	}
}

// admit starts a stream's goroutines.
func (s *Server) admit(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[st] = true
	s.streams.Go(st.read)
	s.streams.Go(st.write)
	return true
}

// join makes st the stream of its instance: from now on it is told changes.
func (s *Server) join(st *stream) {
	s.mu.Lock()
	older := s.joined[st.instance]
	s.joined[st.instance] = st
	s.mu.Unlock()
	st.joined = true
	if older != nil {
		st.shipped.Store(older.shipped.Load())
		older.end(codes.Aborted, "the instance has a newer stream")
	}
}

// forget drops what waits for st. It reports whether st was its instance's stream.
func (s *Server) forget(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	delete(s.beats, st)
	if !st.joined || s.joined[st.instance] != st {
		return false
	}
	delete(s.joined, st.instance)
	return true
}

func (s *Server) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.endAll(codes.Unavailable, "the server is stopping")
}

func (s *Server) endAll(code codes.Code, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.open {
		st.end(code, text)
	}
}

// endJoined ends the streams that are told changes. One that is about to join was
// told nothing yet: it goes on from the new tail.
func (s *Server) endJoined(code codes.Code, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.joined {
		st.end(code, text)
	}
}
