package xds

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/identity"
)

const (
	listenerOne, sidecarOne = "spiffe://acme.example/gw/listener", "spiffe://acme.example/gw/sidecar"
	listenerTwo, sidecarTwo = "spiffe://acme.example/gw2/listener", "spiffe://acme.example/gw2/sidecar"
	instanceOne             = sidecarOne + "#0123456789abcdef0123456789abcdef"
	instanceTwo             = sidecarTwo + "#0123456789abcdef0123456789abcdef"
)

// nodes is a policy: which pairs of SPIFFE IDs are nodes, and with which apps.
type nodes struct {
	mu   sync.Mutex
	apps map[[2]string][]App
}

func (n *nodes) of(_ context.Context, listener, sidecar identity.Principal) ([]App, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	apps, ok := n.apps[[2]string{listener.String(), sidecar.String()}]
	if !ok {
		return nil, errors.New("no such node")
	}
	return slices.Clone(apps), nil
}

func (n *nodes) set(listener, sidecar string, apps ...App) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apps[[2]string{listener, sidecar}] = apps
}

func (n *nodes) remove(listener, sidecar string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.apps, [2]string{listener, sidecar})
}

// startServer serves nodes; the peer of a stream is what its metadata says.
func startServer(t *testing.T, n *nodes) (*Server, *grpc.ClientConn) {
	t.Helper()
	s, err := NewServer(Config{
		Peer: func(ctx context.Context) (identity.Principal, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			return identity.ParsePrincipal(strings.Join(md.Get("peer"), ""))
		},
		Apps: n.of, TrustDomains: []string{"acme.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(ServerOptions()...)
	s.Register(g)
	l := bufconn.Listen(1 << 20)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Close()
		g.Stop()
		<-done
	})
	return s, conn
}

func twoNodes(t *testing.T) *nodes {
	t.Helper()
	n := &nodes{apps: map[[2]string][]App{}}
	n.set(listenerOne, sidecarOne, goldens(t)["web"].Apps...)
	n.set(listenerTwo, sidecarTwo, goldens(t)["stripe"].Apps...)
	return n
}

// client is one ADS stream as Envoy makes it.
type client struct {
	t  *testing.T
	st discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func dialADS(t *testing.T, conn *grpc.ClientConn, peer string) client {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "peer", peer)
	st, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return client{t, st}
}

func nodeOf(id string) *corev3.Node {
	text := structpb.NewStringValue
	return &corev3.Node{Id: id, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		MetaServicesAddress: text("127.0.0.1:28443"), MetaRunDir: text("/run/mayfly"), MetaVersion: text("1"),
	}}}
}

func (c client) send(r *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.st.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) recv() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	r, err := c.st.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// refused returns the code that the stream ends with.
func (c client) refused() codes.Code {
	c.t.Helper()
	for {
		if r, err := c.st.Recv(); err != nil {
			return status.Code(err)
		} else if len(r.GetResources()) > 0 {
			c.t.Errorf("was given %s", r.GetResources()[0].GetName())
		}
	}
}

// subscribe asks for a type, takes the answer and acknowledges it, or not.
func (c client) subscribe(node *corev3.Node, typ, nack string, names ...string) *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: typ, ResourceNamesSubscribe: names})
	r := c.recv()
	c.answer(r, nack)
	return r
}

func (c client) answer(r *discovery.DeltaDiscoveryResponse, nack string) {
	c.t.Helper()
	ack := &discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if nack != "" {
		ack.ErrorDetail = &rpcstatus.Status{Code: 13, Message: nack}
	}
	c.send(ack)
}

// settled returns the status of instance one once the server has nothing to do.
// It works in a synctest bubble only.
func settled(t *testing.T, s *Server) Status {
	t.Helper()
	synctest.Wait()
	for _, st := range s.Statuses() {
		if st.Node.ID == instanceOne {
			return st
		}
	}
	t.Fatal("the node does not show")
	return Status{}
}

func TestADSGivesOnlyTheNodesOwnConfiguration(t *testing.T) {
	s, conn := startServer(t, twoNodes(t))
	for peer, want := range map[string]struct{ node, cluster string }{
		listenerOne: {instanceOne, "app/wiki"}, listenerTwo: {instanceTwo, "hop"},
	} {
		r := dialADS(t, conn, peer).subscribe(nodeOf(want.node), resource.ClusterType, "")
		var names []string
		for _, c := range r.GetResources() {
			names = append(names, c.GetName())
		}
		slices.Sort(names)
		if !slices.Contains(names, want.cluster) || len(names) != 2 {
			t.Errorf("%s gets %q", peer, names)
		}
	}
	if got := len(s.Statuses()); got != 2 {
		t.Errorf("%d nodes", got)
	}
}

func TestADSRefuses(t *testing.T) {
	for _, c := range []struct {
		name, peer string
		first      *discovery.DeltaDiscoveryRequest
		want       codes.Code
	}{
		{"nobody", "", &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: resource.ClusterType}, codes.Unauthenticated},
		{"another node's id", listenerOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceTwo), TypeUrl: resource.ClusterType}, codes.PermissionDenied},
		{"the sidecar's own identity", sidecarOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: resource.ClusterType}, codes.PermissionDenied},
		{"a workload", "spiffe://acme.example/ns/pay/sa/refunder", &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: resource.ClusterType}, codes.PermissionDenied},
		{"no node", listenerOne, &discovery.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType}, codes.InvalidArgument},
		{"no instance", listenerOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(sidecarOne), TypeUrl: resource.ClusterType}, codes.InvalidArgument},
		{"short instance", listenerOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(sidecarOne + "#01"), TypeUrl: resource.ClusterType}, codes.InvalidArgument},
		{"no metadata", listenerOne, &discovery.DeltaDiscoveryRequest{Node: &corev3.Node{Id: instanceOne}, TypeUrl: resource.ClusterType}, codes.InvalidArgument},
		{"secrets", listenerOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: resource.SecretType}, codes.InvalidArgument},
		{"no type", listenerOne, &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne)}, codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, conn := startServer(t, twoNodes(t))
			st := dialADS(t, conn, c.peer)
			if err := st.st.Send(c.first); err != nil && c.want != codes.Unauthenticated {
				t.Fatal(err)
			}
			if got := st.refused(); got != c.want {
				t.Errorf("ends with %s, want %s", got, c.want)
			}
			if got := s.Statuses(); len(got) != 0 {
				t.Errorf("it shows as a node: %+v", got)
			}
		})
	}
	t.Run("another id later", func(t *testing.T) {
		_, conn := startServer(t, twoNodes(t))
		c := dialADS(t, conn, listenerOne)
		c.subscribe(nodeOf(instanceOne), resource.ClusterType, "")
		c.send(&discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceTwo), TypeUrl: resource.ListenerType})
		if got := c.refused(); got != codes.PermissionDenied {
			t.Errorf("ends with %s", got)
		}
	})
	t.Run("fetching and other services", func(t *testing.T) {
		_, conn := startServer(t, twoNodes(t))
		ctx := metadata.AppendToOutgoingContext(t.Context(), "peer", listenerOne)
		req := &discovery.DiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: resource.ClusterType}
		if _, err := clusterservice.NewClusterDiscoveryServiceClient(conn).FetchClusters(ctx, req); status.Code(err) != codes.Unimplemented {
			t.Errorf("FetchClusters: %v", err)
		}
		sotw, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sotw.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("StreamAggregatedResources: %v", err)
		}
	})
}

func TestStatusFollowsTheNode(t *testing.T) { synctest.Test(t, followStatus) }

func followStatus(t *testing.T) {
	n := twoNodes(t)
	s, conn := startServer(t, n)
	c := dialADS(t, conn, listenerOne)
	c.subscribe(nodeOf(instanceOne), resource.ClusterType, "")
	c.subscribe(nil, resource.ListenerType, "")
	c.subscribe(nil, resource.RouteType, "", DoorServices)
	first := settled(t, s)
	if !first.InSync() || first.Listener.String() != listenerOne || first.Node.Version != "1" || first.Applied == "" {
		t.Errorf("status %+v", first)
	}

	app := goldens(t)["web"].Apps[0]
	app.MaxStream = time.Minute * 2
	n.set(listenerOne, sidecarOne, app)
	s.Refresh(t.Context())
	r := c.recv()
	if r.GetTypeUrl() != resource.RouteType || len(r.GetResources()) != 1 {
		t.Fatalf("a changed route sends %v", r)
	}
	c.answer(r, "bad route \x1b[31m")
	refused := settled(t, s)
	if !strings.Contains(refused.NACK, "routes: bad route") || refused.Applied != first.Applied || refused.Version == first.Version || refused.InSync() {
		t.Errorf("status %+v", refused)
	}

	n.set(listenerOne, sidecarOne, goldens(t)["web"].Apps...)
	s.Refresh(t.Context())
	c.answer(c.recv(), "")
	if back := settled(t, s); !back.InSync() || back.Applied != first.Applied || back.NACK != "" {
		t.Errorf("status %+v", back)
	}

	app.Upstream = mustURL(t, "http://192.0.2.1")
	n.set(listenerOne, sidecarOne, app)
	s.Refresh(t.Context())
	held := settled(t, s)
	if !strings.Contains(held.Problem, "loopback") || held.Version != first.Version || held.InSync() {
		t.Errorf("status %+v", held)
	}

	n.set(listenerOne, sidecarOne, goldens(t)["web"].Apps...)
	s.build = func(g Gateway) (*Snapshot, error) {
		out, err := Build(g)
		out.Listeners[0].EnableReusePort = nil
		return out, err
	}
	s.Refresh(t.Context())
	if linted := settled(t, s); !strings.Contains(linted.Problem, ErrLint.Error()) || linted.Version != first.Version {
		t.Errorf("status %+v", linted)
	}

	n.remove(listenerOne, sidecarOne)
	s.Refresh(t.Context())
	if got := c.refused(); got != codes.PermissionDenied {
		t.Errorf("a node that policy dropped: %s", got)
	}
	if settled(t, s).Connected {
		t.Error("it shows as connected")
	}
}

func TestReconnectWithTheSameConfigurationIsInSync(t *testing.T) { synctest.Test(t, reconnect) }

func reconnect(t *testing.T) {
	s, conn := startServer(t, twoNodes(t))
	c := dialADS(t, conn, listenerOne)
	held := map[string]map[string]string{}
	for typ, names := range map[string][]string{resource.ClusterType: nil, resource.ListenerType: nil, resource.RouteType: {DoorServices}} {
		r := c.subscribe(nodeOf(instanceOne), typ, "", names...)
		held[typ] = map[string]string{}
		for _, x := range r.GetResources() {
			held[typ][x.GetName()] = x.GetVersion()
		}
	}
	again := dialADS(t, conn, listenerOne)
	for _, typ := range []string{resource.ClusterType, resource.ListenerType, resource.RouteType} {
		req := &discovery.DeltaDiscoveryRequest{Node: nodeOf(instanceOne), TypeUrl: typ, InitialResourceVersions: held[typ]}
		if typ == resource.RouteType {
			req.ResourceNamesSubscribe = []string{DoorServices}
			again.send(req)
			continue // what it holds is not sent again
		}
		again.send(req)
		r := again.recv()
		if len(r.GetResources()) != 0 {
			t.Errorf("%s: sent again", typ)
		}
		again.answer(r, "")
	}
	if got := c.refused(); got != codes.Aborted {
		t.Errorf("the older stream ends with %s", got)
	}
	if st := settled(t, s); !st.InSync() {
		t.Errorf("status %+v", st)
	}
}

// peopleNode is a node that takes people, at hosts that it has certificates for.
func peopleNode(address string, hosts ...string) *corev3.Node {
	n := nodeOf(instanceOne)
	list := &structpb.ListValue{}
	for _, h := range hosts {
		list.Values = append(list.Values, structpb.NewStringValue(h))
	}
	n.Metadata.Fields[MetaPeopleAddress] = structpb.NewStringValue(address)
	n.Metadata.Fields[MetaPeopleHosts] = structpb.NewListValue(list)
	return n
}

func TestPeopleDoorFollowsTheNodesCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := twoNodes(t)
		n.set(listenerOne, sidecarOne, goldens(t)["people"].Apps...)
		for _, c := range []struct {
			node      *corev3.Node
			listeners []string
			uncovered []string
		}{
			{peopleNode("127.0.0.2:28444", "wiki.acme.example", "docs.acme.example", "board.acme.example", "kanban.acme.example"), []string{DoorPeople, DoorServices}, nil},
			{peopleNode("127.0.0.2:28444", "wiki.acme.example", "board.acme.example"), []string{DoorPeople, DoorServices}, []string{"docs.acme.example", "kanban.acme.example"}},
			{peopleNode("127.0.0.2:28444", "elsewhere.acme.example"), []string{DoorServices}, []string{"board.acme.example", "docs.acme.example", "kanban.acme.example", "wiki.acme.example"}},
			{nodeOf(instanceOne), []string{DoorServices}, []string{"board.acme.example", "docs.acme.example", "kanban.acme.example", "wiki.acme.example"}},
		} {
			s, conn := startServer(t, n)
			r := dialADS(t, conn, listenerOne).subscribe(c.node, resource.ListenerType, "")
			var got []string
			for _, x := range r.GetResources() {
				got = append(got, x.GetName())
			}
			slices.Sort(got)
			if st := settled(t, s); !slices.Equal(got, c.listeners) || !slices.Equal(st.Uncovered, c.uncovered) || st.Problem != "" {
				t.Errorf("listeners %q, uncovered %q, problem %q", got, st.Uncovered, st.Problem)
			}
		}
	})
}

func TestADSRefusesABadPeopleDoor(t *testing.T) {
	for name, node := range map[string]*corev3.Node{
		"no port":           peopleNode("127.0.0.2", "wiki.acme.example"),
		"port 0":            peopleNode("127.0.0.2:0", "wiki.acme.example"),
		"hosts, no address": peopleNode("", "wiki.acme.example"),
		"a wildcard":        peopleNode("127.0.0.2:28444", "*.acme.example"),
		"not a name":        peopleNode("127.0.0.2:28444", ""),
	} {
		_, conn := startServer(t, twoNodes(t))
		c := dialADS(t, conn, listenerOne)
		c.send(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ClusterType})
		if got := c.refused(); got != codes.InvalidArgument {
			t.Errorf("%s: ends with %s", name, got)
		}
	}
}

// The routes of the doors are answered one by one: the second that is taken does
// not make up for the first that was refused.
func TestARefusalAtOneDoorShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := twoNodes(t)
		n.set(listenerOne, sidecarOne, goldens(t)["people"].Apps...)
		s, conn := startServer(t, n)
		c := dialADS(t, conn, listenerOne)
		c.subscribe(peopleNode("127.0.0.2:28444", "wiki.acme.example"), resource.ClusterType, "")
		c.subscribe(nil, resource.ListenerType, "")
		c.subscribe(nil, resource.RouteType, "bad route", DoorServices)
		c.subscribe(nil, resource.RouteType, "", DoorPeople)
		if st := settled(t, s); st.InSync() || !strings.Contains(st.NACK, "bad route") || st.Applied != "" {
			t.Errorf("status %+v", st)
		}
		apps := goldens(t)["people"].Apps
		apps[2].MaxStream = time.Minute * 2
		n.set(listenerOne, sidecarOne, apps...)
		s.Refresh(t.Context())
		c.answer(c.recv(), "")
		if st := settled(t, s); !st.InSync() || st.NACK != "" {
			t.Errorf("status %+v", st)
		}
	})
}

func TestInstancesAreForgottenAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{cfg: Config{Now: time.Now}, nodes: map[string]*nodeState{instanceOne: {Status: Status{Node: Node{ID: instanceOne}, Since: time.Now()}}}}
		time.Sleep(forgetAfter)
		if len(s.Statuses()) != 1 {
			t.Error("forgotten early")
		}
		time.Sleep(time.Second)
		if len(s.Statuses()) != 0 {
			t.Error("not forgotten")
		}
	})
}
