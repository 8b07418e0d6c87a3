package xds

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/identity"
)

// Config is what a Server needs. All fields but Log and Now are required.
type Config struct {
	// Peer returns who is at the other end of a stream, from its certificate.
	Peer func(ctx context.Context) (identity.Principal, error)
	// Apps returns the apps of the node that policy registers under this pair of
	// SPIFFE IDs, and an error for any other pair: the listener identity of one
	// node must not fetch the configuration of another (contracts §3). It is asked
	// when a stream opens and again on each Refresh. Safe for concurrent use.
	Apps func(ctx context.Context, listener, sidecar identity.Principal) ([]App, error)
	// TrustDomains are those whose workloads may call.
	TrustDomains []string
	Log          *slog.Logger     // nil: discarded
	Now          func() time.Time // nil: time.Now
}

// Server gives each Envoy its own configuration over ADS (delta). It implements
// no other method of any discovery service, so nothing can be fetched past the
// check of a stream. Safe for concurrent use.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	cfg   Config
	cache cache.SnapshotCache
	delta delta.Server
	stop  context.CancelFunc
	build func(Gateway) (*Snapshot, error) // Build; tests plant a worse one

	refresh sync.Mutex // one refresh at a time: an older one must not win

	mu    sync.Mutex
	nodes map[string]*nodeState
}

// NewServer checks cfg. Close the Server to end its streams.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Peer == nil || cfg.Apps == nil || len(cfg.TrustDomains) == 0 {
		return nil, errors.New("xds server: Peer, Apps and TrustDomains are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	c := cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	return &Server{
		cfg: cfg, cache: c, stop: stop, build: Build, nodes: map[string]*nodeState{},
		delta: delta.NewServer(ctx, c, nil),
	}, nil
}

// Register puts the service on a gRPC server that was made with ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Close ends all streams. Envoys keep what they have.
func (s *Server) Close() { s.stop() }

// ServerOptions are needed by any gRPC server that an Envoy of ours pings: with
// grpc-go's own rule (a ping in five minutes) quiet streams would be cut.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
		MinTime: 500 * time.Millisecond, PermitWithoutStream: true,
	})}
}

// DeltaAggregatedResources serves one Envoy until its stream ends, another stream
// of the same instance replaces it, or policy no longer has the node.
func (s *Server) DeltaAggregatedResources(real discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	peer, err := s.cfg.Peer(real.Context())
	if err != nil {
		s.cfg.Log.WarnContext(real.Context(), "ads stream refused", "error", err)
		return status.Error(codes.Unauthenticated, "the certificate of this stream names nobody")
	}
	st := newStream(s, real, peer)
	defer s.leave(st)
	if err := s.delta.DeltaStreamHandler(st, resource.AnyType); err != nil {
		return err
	}
	return st.reason()
}

// join binds a stream to the node of its first request, if policy agrees, and puts
// its configuration in place.
func (s *Server) join(st *stream, n Node) error {
	ctx := st.Context()
	s.refresh.Lock()
	defer s.refresh.Unlock()
	apps, err := s.cfg.Apps(ctx, st.peer, n.Sidecar)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "ads node refused", "node", n.ID, "peer", st.peer.String(), "error", err)
		return status.Error(codes.PermissionDenied, "policy has no node with this pair of sidecar and listener")
	}
	s.mu.Lock()
	state := s.nodes[n.ID]
	if state == nil {
		state = &nodeState{}
		s.nodes[n.ID] = state
	}
	old := state.stream
	state.stream, state.Node, state.Listener = st, n, st.peer
	state.Connected, state.Since, state.acked = true, s.cfg.Now(), versions{}
	state.refused = nil
	s.mu.Unlock()
	if old != nil {
		old.cut(status.Error(codes.Aborted, "another stream of this instance has opened"))
	}
	s.set(ctx, n, apps)
	return nil
}

// leave forgets the configuration of a stream that ended, unless another took over.
func (s *Server) leave(st *stream) {
	id := st.nodeID()
	if id == "" {
		return
	}
	s.refresh.Lock()
	defer s.refresh.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[id]; n != nil && n.stream == st {
		n.stream, n.Connected, n.Since = nil, false, s.cfg.Now()
		s.cache.ClearSnapshot(id)
	}
	s.forget()
}

// Refresh asks policy again and gives each connected node what it should have now.
// Call it after each policy change. A node that policy no longer has loses its
// stream. A configuration that cannot be built or that the lint refuses is not
// sent: the node keeps the last good one, and Status says why.
func (s *Server) Refresh(ctx context.Context) {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.nodes))
	for _, n := range s.nodes {
		if n.stream != nil {
			streams = append(streams, n.stream)
		}
	}
	s.mu.Unlock()
	for _, st := range streams {
		n := st.boundNode()
		apps, err := s.cfg.Apps(ctx, st.peer, n.Sidecar)
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "ads node dropped", "node", n.ID, "error", err)
			st.cut(status.Error(codes.PermissionDenied, "policy no longer has this node"))
			continue
		}
		s.set(ctx, n, apps)
	}
}

// set builds, lints and serves one node's configuration; the caller holds refresh.
func (s *Server) set(ctx context.Context, n Node, apps []App) {
	g := s.gateway(n, apps)
	snapshot, vs, err := s.prepare(g)
	s.mu.Lock()
	state := s.nodes[n.ID]
	state.Uncovered = g.Uncovered()
	if err != nil {
		state.Problem, state.ProblemAt = clip(err.Error()), s.cfg.Now()
		s.mu.Unlock()
		s.cfg.Log.ErrorContext(ctx, "configuration not sent", "node", n.ID, "error", err)
		return
	}
	state.Problem, state.ProblemAt = "", time.Time{}
	state.wanted, state.Version, state.routes = vs, vs.String(), snapshot.GetVersionMap(resource.RouteType)
	state.settle()
	s.mu.Unlock()
	if err := s.cache.SetSnapshot(ctx, n.ID, snapshot); err != nil {
		s.cfg.Log.ErrorContext(ctx, "configuration not served", "node", n.ID, "error", err)
	}
}

func (s *Server) gateway(n Node, apps []App) Gateway {
	return Gateway{
		ServicesAddress: n.ServicesAddress, PeopleAddress: n.PeopleAddress, ClientsAddress: n.ClientsAddress, PeopleHosts: n.PeopleHosts, RunDir: n.RunDir,
		TrustDomains: slices.Sorted(slices.Values(s.cfg.TrustDomains)), Apps: apps,
	}
}

func (s *Server) prepare(g Gateway) (*cache.Snapshot, versions, error) {
	built, err := s.build(g)
	if err != nil {
		return nil, nil, err
	}
	if err := Lint(built); err != nil {
		return nil, nil, err
	}
	return built.cached()
}

// resumed takes routes as applied that Envoy still holds from an earlier stream:
// they are not sent again, so they are not acknowledged again.
func (s *Server) resumed(st *stream, req *discovery.DeltaDiscoveryRequest) {
	if req.GetTypeUrl() != resource.RouteType || len(req.GetInitialResourceVersions()) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[st.nodeID()]
	if n != nil && n.stream == st && maps.Equal(req.GetInitialResourceVersions(), n.routes) {
		n.answered(resource.RouteType, sending{version: n.wanted[resource.RouteType]}, "", s.cfg.Now())
	}
}

// answered notes an ACK or a NACK of the stream that is the node's current one.
func (s *Server) answered(st *stream, typ string, sent sending, nack string) {
	s.mu.Lock()
	n := s.nodes[st.nodeID()]
	if n != nil && n.stream == st {
		n.answered(typ, sent, nack, s.cfg.Now())
	}
	s.mu.Unlock()
	if nack != "" {
		s.cfg.Log.Error("configuration refused by envoy", "node", st.nodeID(), "type", typeName(typ), "version", sent.version, "error", clip(nack))
	}
}
