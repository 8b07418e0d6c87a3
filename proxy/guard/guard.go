package guard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// lastWords is how long Envoy may take to act on a cut before its gRPC stream is
// broken instead, which cuts too.
const lastWords = time.Second

// Config configures a Server. All fields but Log are required.
type Config struct {
	Table   *proxy.Table
	Actions *proxy.Actions
	Journal proxy.Journal
	Log     *slog.Logger // nil discards
}

// Server is Envoy's external processor. It is safe for concurrent use.
type Server struct {
	extprocv3.UnimplementedExternalProcessorServer
	c Config
}

// New checks c.
func New(c Config) (*Server, error) {
	if c.Table == nil || c.Actions == nil || c.Journal == nil {
		return nil, errors.New("guard: a required field of Config is missing")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{c: c}, nil
}

// errOver ends a gRPC stream whose request is over: never nil, which would tell Envoy
// that a request may go on unguarded.
var errOver = status.Error(codes.Unavailable, "the stream is no longer guarded")

// Process implements envoy.service.ext_proc.v3.ExternalProcessor. It never returns nil.
func (s *Server) Process(g extprocv3.ExternalProcessor_ProcessServer) error {
	m, err := g.Recv()
	if err != nil {
		return errOver
	}
	ask, err := readAsk(m)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	st := &stream{Server: s, rpc: g, ask: ask}
	action, err := s.c.Actions.TakeGuarded(ask.action, ask.method, ask.authority, ask.path, s.c.Table.Now())
	if err != nil {
		s.c.Log.WarnContext(g.Context(), "guard refused a stream", "action", ask.action.String(), "reason", grant.ReasonOf(err))
		return st.refuse(grant.Of(err))
	}
	return st.guard(action)
}

// stream is one request that Envoy has the guard hold.
type stream struct {
	*Server
	ask ask

	mu  sync.Mutex // one message is sent at a time
	rpc extprocv3.ExternalProcessor_ProcessServer
}

// guard lets the request through after the last look, and holds it to its end.
func (s *stream) guard(a proxy.Action) error {
	hold := s.c.Table.Hold(a)
	if err := s.let(a); err != nil {
		hold.LetGo(false)
		d := grant.Of(err)
		s.c.Actions.Over(a.ID, &proxy.Cut{By: proxy.EndedByGrant, Denial: d}, s.c.Table.Now())
		return s.refuse(d)
	}
	ctx, over := context.WithCancel(s.rpc.Context())
	defer over()
	go func() { // gRPC ends it when this handler returns
		defer over()
		s.listen()
	}()
	cut := s.wait(ctx, hold)
	if cut != nil {
		s.send(immediate(cut.Denial, s.ask.grpc))
	}
	hold.LetGo(cut != nil)
	s.c.Actions.Over(a.ID, cut, s.c.Table.Now())
	if cut != nil {
		s.acted(ctx)
	}
	return errOver
}

// wait returns why the stream is to be cut, nil if it is over by itself. It goes on
// while another grant covers it, and that is on the record.
func (s *stream) wait(ctx context.Context, hold *proxy.Hold) *proxy.Cut {
	for {
		cut := hold.Wait(ctx)
		if cut == nil {
			return nil
		}
		next, err := hold.Rebind(ctx, s.c.Journal)
		if err != nil {
			if !errors.Is(err, proxy.ErrNoOther) && ctx.Err() == nil {
				s.c.Log.WarnContext(ctx, "guard cuts a stream: the record does not take under which grant it goes on", "action", s.ask.action.String(), "error", err)
			}
			return cut
		}
		s.c.Actions.Rebound(next)
	}
}

// let has Envoy pass the request on, in one section with the last look.
func (s *stream) let(a proxy.Action) error {
	return s.c.Table.LastLookAt(a, func() error {
		if !s.send(goOn()) {
			return grant.Deny(grant.Timeout, "the caller did not wait for the answer")
		}
		return nil
	})
}

// listen answers what Envoy says until the request is over: the trailers of an answer.
func (s *stream) listen() {
	for {
		m, err := s.rpc.Recv()
		if err != nil {
			return
		}
		if m.GetResponseTrailers() == nil || !s.send(goOnWithTrailers()) {
			return // Envoy says no more than it was asked to
		}
	}
}

func (s *stream) send(m *extprocv3.ProcessingResponse) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rpc.Send(m) == nil
}

// refuse answers in place of the app.
func (s *stream) refuse(d *grant.Denial) error {
	s.send(immediate(d, s.ask.grpc))
	s.acted(s.rpc.Context())
	return errOver
}

// acted waits until Envoy has ended its gRPC stream, but not for long.
func (s *stream) acted(ctx context.Context) {
	late := time.NewTimer(lastWords)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-late.C:
	}
}

// header returns one header as Envoy sends it.
func header(m *corev3.HeaderMap, name string) string {
	for _, h := range m.GetHeaders() {
		if h.GetKey() != name {
			continue
		}
		if raw := h.GetRawValue(); len(raw) > 0 {
			return string(raw)
		}
		return h.GetValue()
	}
	return ""
}
