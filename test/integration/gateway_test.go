package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/xds"
)

const patience = 15 * time.Second // until a test gives up on another process

// findEnvoy returns the Envoy to test with, or skips.
func findEnvoy(t testing.TB) envoy.Binary {
	t.Helper()
	b, err := envoy.Find(t.Context(), envoy.FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: "../../.cache/envoy/envoy"})
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIP: ", err)
	}
	if b.Path, err = filepath.Abs(b.Path); err != nil {
		t.Fatal(err)
	}
	return b
}

// control stands for mayflyd: ADS over mTLS.
type control struct {
	ca      *dev.CA
	xds     *xds.Server
	address string

	mu   sync.Mutex
	apps []xds.App
}

func startControl(t testing.TB, ca *dev.CA, apps ...xds.App) *control {
	t.Helper()
	return startControlAs(t, ca, "/mayflyd", apps...)
}

func startControlAs(t testing.TB, ca *dev.CA, path string, apps ...xds.App) *control {
	t.Helper()
	c := &control{ca: ca, apps: apps}
	verifier := devtest.Verifier(t, ca)
	config, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, path), Verifier: verifier, Authorize: spiffe.AnyWorkload(), NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.xds, err = xds.NewServer(xds.Config{
		Peer: func(ctx context.Context) (identity.Principal, error) {
			p, err := verifier.PeerFromContext(ctx, time.Now())
			return p.Principal, err
		},
		Apps: c.appsOf, TrustDomains: []string{ca.TrustDomain().Name()}, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(append(xds.ServerOptions(), grpc.Creds(credentials.NewTLS(config)))...)
	c.xds.Register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	serve(t, func() error { return s.Serve(l) }, s.Stop)
	return c
}

// appsOf registers one node: /gw/sidecar with /gw/listener.
func (c *control) appsOf(_ context.Context, listener, sidecar identity.Principal) ([]xds.App, error) {
	if listener.String() != "spiffe://acme.example/gw/listener" || sidecar.String() != "spiffe://acme.example/gw/sidecar" {
		return nil, errors.New("no such node")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.apps), nil
}

// commit changes the apps as a policy commit does.
func (c *control) commit(t testing.TB, apps ...xds.App) {
	c.mu.Lock()
	c.apps = apps
	c.mu.Unlock()
	c.xds.Refresh(t.Context())
}

// status waits until the instance's status satisfies ok.
func (c *control) status(t testing.TB, node, what string, ok func(xds.Status) bool) xds.Status {
	t.Helper()
	var last xds.Status
	eventually(t, what, func() error {
		for _, s := range c.xds.Statuses() {
			if s.Node.ID == node {
				last = s
				if ok(s) {
					return nil
				}
			}
		}
		return fmt.Errorf("status is %+v", last)
	})
	return last
}

// gateway stands for the sidecar with its Envoy.
type gateway struct {
	node     string
	address  string // of the services port
	people   string // of the people port, "" if it takes none
	clients  string // of the clients port, likewise
	run      string
	envoy    *envoy.Supervisor
	decision *decider
	hop      *recorder
}

type gatewayConfig struct {
	node     string // after the #
	address  netip.AddrPort
	identity envoy.Identity // nil: a fixed listener SVID
	people   netip.AddrPort // zero: none
	clients  netip.AddrPort // zero: none
	web      *envoy.WebCertificates
}

func startGateway(t testing.TB, c *control, gc gatewayConfig) *gateway {
	t.Helper()
	binary := findEnvoy(t)
	run := filepath.Dir(devtest.Socket(t, "x"))
	g := &gateway{
		node: "spiffe://acme.example/gw/sidecar#" + gc.node, address: gc.address.String(), run: run,
		decision: &decider{}, hop: &recorder{},
	}
	config := envoy.Config{
		NodeID: g.node, ServicesAddress: gc.address, RunDir: run, Version: "test",
		ControlAddress: c.address, ControlID: devtest.ID(t, "/mayflyd"),
	}
	if gc.web != nil {
		config.PeopleAddress, config.PeopleHosts, g.people = gc.people, gc.web.Hosts(), gc.people.String()
		config.ClientsAddress, g.clients = gc.clients, gc.clients.String()
	}
	bootstrap, err := envoy.Bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	g.envoy, err = envoy.NewSupervisor(envoy.SupervisorConfig{Binary: binary, Bootstrap: bootstrap, RunDir: run, Concurrency: 1, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	g.serveSDS(t, c.ca, gc)
	g.serveDecisions(t)
	hop := &http.Server{Handler: g.hop}
	hopListener := g.listen(t, envoy.SocketHop)
	serve(t, func() error { return hop.Serve(hopListener) }, func() { hop.Close() })
	ctx, stop := context.WithCancel(context.Background())
	serve(t, func() error { return g.envoy.Run(ctx) }, stop)
	return g
}

func (g *gateway) listen(t testing.TB, socket string) net.Listener {
	t.Helper()
	l, err := envoy.Listen(filepath.Join(g.run, socket), g.envoy.PID, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (g *gateway) serveSDS(t testing.TB, ca *dev.CA, gc gatewayConfig) {
	t.Helper()
	identity := gc.identity
	if identity == nil {
		identity = devtest.Source(t, ca, "/gw/listener")
	}
	sds, err := envoy.NewSDS(envoy.SDSConfig{
		NodeID: g.node, Identity: identity, ControlDomain: ca.TrustDomain(), ClientDomains: []spiffeid.TrustDomain{ca.TrustDomain()}, Web: gc.web, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	serve(t, func() error { return sds.Run(ctx) }, stop)
	if gc.web != nil {
		ctx, stop := context.WithCancel(context.Background())
		serve(t, func() error { return gc.web.Run(ctx) }, stop)
	}
	s := grpc.NewServer(envoy.ServerOptions()...)
	sds.Register(s)
	l := g.listen(t, envoy.SocketSDS)
	serve(t, func() error { return s.Serve(l) }, s.Stop)
}

func (g *gateway) serveDecisions(t testing.TB) {
	t.Helper()
	s := grpc.NewServer(envoy.ServerOptions()...)
	authv3.RegisterAuthorizationServer(s, g.decision)
	alsv3.RegisterAccessLogServiceServer(s, g.decision)
	l := g.listen(t, envoy.SocketSidecar)
	serve(t, func() error { return s.Serve(l) }, s.Stop)
}
