package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/proxy"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/proxy/guard"
	"github.com/mayflyproxy/mayfly/proxy/hop"
	"github.com/mayflyproxy/mayfly/proxy/spool"
	"github.com/mayflyproxy/mayfly/spiffe"
)

// gateway opens Envoy's sockets, each for the child alone, and then starts it.
func (s *sidecar) gateway(ctx context.Context, g *errgroup.Group, sp *spool.Spool) error {
	pool, pem, err := s.c.roots()
	if err != nil {
		return err
	}
	supervisor, err := s.supervisor(ctx)
	if err != nil {
		return err
	}
	if err := s.serveSDS(ctx, g, supervisor, pem); err != nil {
		return err
	}
	if err := s.decisions(ctx, g, supervisor, sp); err != nil {
		return err
	}
	if err := s.hop(ctx, g, supervisor, sp, pool); err != nil {
		return err
	}
	g.Go(func() error { return s.halfway.Run(ctx) })
	s.log.InfoContext(ctx, "serving", "instance", s.instance.String(), "services", s.c.Services.String(), "people", s.c.People.String(), "clients", s.c.Clients.String())
	return supervisor.Run(ctx)
}

func (s *sidecar) supervisor(ctx context.Context) (*envoy.Supervisor, error) {
	named := s.c.Envoy.Path
	if named == "" {
		named = os.Getenv("MAYFLY_ENVOY")
	}
	binary, err := envoy.Find(ctx, envoy.FindConfig{Named: named, Fallback: filepath.Join(".cache", "envoy", "envoy")})
	if err != nil {
		return nil, err
	}
	if binary.Path, err = filepath.Abs(binary.Path); err != nil {
		return nil, err
	}
	control, err := spiffeid.FromString(s.c.ControlPlane.ID)
	if err != nil {
		return nil, err
	}
	config := envoy.Config{
		NodeID: s.instance.String(), ServicesAddress: s.c.Services, RunDir: s.c.RunDir, Version: version,
		ControlAddress: s.c.ControlPlane.Address, ControlID: control,
	}
	if s.web != nil {
		config.PeopleAddress, config.ClientsAddress, config.PeopleHosts = s.c.People, s.c.Clients, s.web.Hosts()
	}
	bootstrap, err := envoy.Bootstrap(config)
	if err != nil {
		return nil, err
	}
	return envoy.NewSupervisor(envoy.SupervisorConfig{
		Binary: binary, Bootstrap: bootstrap, RunDir: s.c.RunDir, Concurrency: s.c.Envoy.Concurrency, Log: s.log,
	})
}

func (s *sidecar) listen(socket string, sup *envoy.Supervisor) (net.Listener, error) {
	return envoy.Listen(filepath.Join(s.c.RunDir, socket), sup.PID, s.log)
}

// serveSDS serves Envoy's own certificate, those that browsers see, and the callers'
// trust bundles.
func (s *sidecar) serveSDS(ctx context.Context, g *errgroup.Group, sup *envoy.Supervisor, roots []byte) error {
	control, err := spiffeid.FromString(s.c.ControlPlane.ID)
	if err != nil {
		return err
	}
	sds, err := envoy.NewSDS(envoy.SDSConfig{
		NodeID: s.instance.String(), Identity: s.listener, ControlDomain: control.TrustDomain(),
		ClientDomains: s.domains, Web: s.web, UpstreamRoots: roots, Log: s.log,
	})
	if err != nil {
		return err
	}
	g.Go(func() error { return sds.Run(ctx) })
	if s.web != nil {
		g.Go(func() error { return s.web.Run(ctx) })
	}
	server := grpc.NewServer(envoy.ServerOptions()...)
	sds.Register(server)
	l, err := s.listen(envoy.SocketSDS, sup)
	if err != nil {
		return err
	}
	serveGRPC(ctx, g, server, l)
	return nil
}

// decisions serves ext_authz, holds streams, and takes the access log.
func (s *sidecar) decisions(ctx context.Context, g *errgroup.Group, sup *envoy.Supervisor, sp *spool.Spool) error {
	verifier, err := spiffe.NewVerifier(spiffe.VerifierConfig{Bundles: s.listener.Bundles, TrustDomains: s.domains})
	if err != nil {
		return err
	}
	key, err := s.recordKey()
	if err != nil {
		return err
	}
	checker, err := proxy.NewChecker(proxy.CheckerConfig{
		Table: s.table, Kinds: s.kinds, Peers: verifier, Journal: sp, Reserver: proxy.FeedReserver{Client: s.client},
		Sessions: proxy.FeedSessions{Client: s.client}, Actions: s.actions, Minter: s.minter, Denials: &s.denials, RecordKey: key, Traces: s.traces, Log: s.log,
		Asserter: proxy.FeedAsserter{Client: s.client, Bound: s.shown}, ServicesPort: s.c.ServicesPort, ClientsPort: s.c.ClientsPort,
	})
	if err != nil {
		return err
	}
	log := proxy.NewAccessLog(s.actions, sp, s.table.Now, s.log)
	g.Go(func() error {
		for pause(ctx, sweepEvery) {
			log.Sweep(ctx)
		}
		return nil
	})
	held, err := guard.New(guard.Config{Table: s.table, Actions: s.actions, Journal: sp, Log: s.log})
	if err != nil {
		return err
	}
	server := grpc.NewServer(envoy.ServerOptions()...)
	extprocv3.RegisterExternalProcessorServer(server, held)
	authv3.RegisterAuthorizationServer(server, checker)
	accesslogv3.RegisterAccessLogServiceServer(server, log)
	l, err := s.listen(envoy.SocketSidecar, sup)
	if err != nil {
		return err
	}
	serveGRPC(ctx, g, server, l)
	return nil
}

// shown is the SHA-256 of the certificate that the listener shows now.
func (s *sidecar) shown() ([32]byte, error) {
	svid, err := s.listener.SVID()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(svid.Certificates[0].Raw), nil
}

// hop serves the socket behind which credentials are.
func (s *sidecar) hop(ctx context.Context, g *errgroup.Group, sup *envoy.Supervisor, sp *spool.Spool, roots *x509.CertPool) error {
	kinds := map[string]app.Credentialed{}
	for name, k := range s.kinds {
		if c, ok := k.(app.Credentialed); ok {
			kinds[name] = c
		}
	}
	handler, err := hop.New(hop.Config{
		Gate: s.table, Hold: func(a proxy.Action) hop.Hold { return s.table.Hold(a) }, Actions: s.actions, Kinds: kinds, Secrets: s.secrets, Journal: sp, Now: s.table.Now, Log: s.log,
		Roots: roots, SendActionID: s.c.SendActionID, Dev: s.dev,
	})
	if err != nil {
		return err
	}
	l, err := s.listen(envoy.SocketHop, sup)
	if err != nil {
		return err
	}
	serveHTTP(ctx, g, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, l)
	return nil
}

// recordKey is the key of attribute values that the record does not keep: made
// once, kept beside the spool.
func (s *sidecar) recordKey() (audit.PersonKey, error) {
	path := filepath.Join(s.c.StateDir, "record.key")
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		key := audit.NewPersonKey()
		return key, os.WriteFile(path, key.Reveal(), 0o600)
	}
	if err != nil {
		return audit.PersonKey{}, err
	}
	key, err := audit.ParsePersonKey(b)
	if err != nil {
		return audit.PersonKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
