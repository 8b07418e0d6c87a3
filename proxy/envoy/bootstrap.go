package envoy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	defaultHeap    = 1 << 30 // bytes
	maxConnections = 20_000  // of one Envoy
	maxServices    = 10_000  // of its services listener
	maxPeople      = 6_000   // of its people listener: strangers alone cannot take what is left for workloads
	maxClients     = 3_000   // of its clients listener, likewise
	maxSocketPath  = 107     // sun_path, less its NUL
)

// Config is what Envoy needs to know before it hears from mayflyd.
type Config struct {
	NodeID          string         // instance id: <sidecar SPIFFE ID>#<32 hexadecimal digits>
	ServicesAddress netip.AddrPort // where mayflyd will have it listen for workloads
	PeopleAddress   netip.AddrPort // where it will have it listen for browsers; zero: nowhere
	ClientsAddress  netip.AddrPort // where it will have it listen for programs without a certificate; zero: nowhere
	PeopleHosts     []string       // that there are certificates for, for people and clients
	RunDir          string         // absolute folder of the sockets, 0700
	Version         string         // of the sidecar, shown by `mayfly nodes`
	ControlAddress  string         // host:port of mayflyd's door for nodes (:8444)
	ControlID       spiffeid.ID    // the only SPIFFE ID that mayflyd may have
	MaxHeap         uint64         // bytes after which requests are refused; 0 = 1 GiB
}

func (c Config) check() error {
	switch {
	case c.NodeID == "":
		return errors.New("no node id")
	case !c.ServicesAddress.IsValid() || c.ServicesAddress.Port() == 0:
		return fmt.Errorf("services address %q: want IP:port", c.ServicesAddress)
	case c.PeopleAddress != (netip.AddrPort{}) && (!c.PeopleAddress.IsValid() || c.PeopleAddress.Port() == 0):
		return fmt.Errorf("people address %q: want IP:port", c.PeopleAddress)
	case c.ClientsAddress != (netip.AddrPort{}) && (!c.ClientsAddress.IsValid() || c.ClientsAddress.Port() == 0):
		return fmt.Errorf("clients address %q: want IP:port", c.ClientsAddress)
	case (c.PeopleAddress.IsValid() || c.ClientsAddress.IsValid()) != (len(c.PeopleHosts) > 0):
		return errors.New("a people or clients address and certificates for hosts go together")
	case !filepath.IsAbs(c.RunDir) || filepath.Clean(c.RunDir) != c.RunDir:
		return fmt.Errorf("run directory %q: want an absolute, clean path", c.RunDir)
	case len(filepath.Join(c.RunDir, SocketSidecar)) > maxSocketPath:
		return fmt.Errorf("run directory %q: too long for a socket path of %d bytes", c.RunDir, maxSocketPath)
	case c.ControlID.IsZero() || c.ControlID.Path() == "":
		return errors.New("no SPIFFE ID of mayflyd")
	}
	return nil
}

// Bootstrap returns the JSON that Envoy starts with. It holds no secret and no
// listener: those come by SDS and ADS, the latter past the lint of mayflyd.
func Bootstrap(c Config) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("envoy bootstrap: %w", err)
	}
	b := &bootstrap{Config: c}
	m, err := b.message()
	if err != nil {
		return nil, fmt.Errorf("envoy bootstrap: %w", err)
	}
	return protojson.Marshal(m)
}

type bootstrap struct {
	Config
	err error
}

func (b *bootstrap) any(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return out
}

func (b *bootstrap) message() (*bootstrapv3.Bootstrap, error) {
	control, err := b.control()
	if err != nil {
		return nil, err
	}
	ads := &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
	runtime, err := structpb.NewStruct(map[string]any{
		"envoy.reloadable_features.strict_chunk_parsing":           true,
		"envoy.resource_limits.listener.services.connection_limit": maxServices,
		"envoy.resource_limits.listener.people.connection_limit":   maxPeople,
		"envoy.resource_limits.listener.clients.connection_limit":  maxClients,
		"overload.premature_reset_total_stream_count":              100,
		"http.max_requests_per_io_cycle":                           5,
	})
	if err != nil {
		return nil, err
	}
	out := &bootstrapv3.Bootstrap{
		Node:  b.node(),
		Admin: b.admin(),
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: b.grpcSource(clusterControl, 250*time.Millisecond), LdsConfig: ads, CdsConfig: ads,
		},
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name: "mayfly", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: runtime},
		}}},
		OverloadManager: b.overload(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{control, b.sds()}},
	}
	return out, b.err
}

func (b *bootstrap) node() *corev3.Node {
	text := structpb.NewStringValue
	fields := map[string]*structpb.Value{
		MetaServicesAddress: text(b.ServicesAddress.String()),
		MetaRunDir:          text(b.RunDir),
		MetaVersion:         text(b.Version),
	}
	for name, at := range map[string]netip.AddrPort{MetaPeopleAddress: b.PeopleAddress, MetaClientsAddress: b.ClientsAddress} {
		if at.IsValid() {
			fields[name] = text(at.String())
		}
	}
	if len(b.PeopleHosts) > 0 {
		hosts := &structpb.ListValue{}
		for _, h := range b.PeopleHosts {
			hosts.Values = append(hosts.Values, text(h))
		}
		fields[MetaPeopleHosts] = structpb.NewListValue(hosts)
	}
	return &corev3.Node{Id: b.NodeID, Cluster: "mayfly", Metadata: &structpb.Struct{Fields: fields}}
}

// admin answers only to our own uid, and only what cannot change or dump anything.
func (b *bootstrap) admin() *bootstrapv3.Admin {
	exact := func(p string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: p}}
	}
	return &bootstrapv3.Admin{
		Address: b.pipe(SocketAdmin, 0o600),
		AllowPaths: []*matcherv3.StringMatcher{
			exact("/ready"), exact("/server_info"),
			{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "/stats"}},
		},
	}
}

func (b *bootstrap) pipe(socket string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: filepath.Join(b.RunDir, socket), Mode: mode}}}
}

func (b *bootstrap) overload() *overloadv3.OverloadManager {
	const heap = "envoy.resource_monitors.fixed_heap"
	limit := b.MaxHeap
	if limit == 0 {
		limit = defaultHeap
	}
	monitor := func(name string, config proto.Message) *overloadv3.ResourceMonitor {
		return &overloadv3.ResourceMonitor{Name: name, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.any(config)}}
	}
	return &overloadv3.OverloadManager{
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			monitor(heap, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: limit}),
			monitor("envoy.resource_monitors.global_downstream_max_connections", &connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections}),
		},
		Actions: []*overloadv3.OverloadAction{{
			Name: "envoy.overload_actions.stop_accepting_requests",
			Triggers: []*overloadv3.Trigger{{
				Name:         heap,
				TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: 0.98}},
			}},
		}},
	}
}

// control is mayflyd: TLS 1.3 with the listener's certificate, to exactly one
// SPIFFE ID. Sessions are not resumed, a resumed one is not validated.
func (b *bootstrap) control() (*clusterv3.Cluster, error) {
	host, portText, err := net.SplitHostPort(b.ControlAddress)
	if err != nil {
		return nil, fmt.Errorf("control address %q: want host:port", b.ControlAddress)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 || host == "" {
		return nil, fmt.Errorf("control address %q: want host:port", b.ControlAddress)
	}
	c := b.cluster(clusterControl, 2*time.Second, &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}})
	if _, err := netip.ParseAddr(host); err != nil {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	}
	c.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(&tlsv3.UpstreamTlsContext{
			Sni: "mayflyd", MaxSessionKeys: wrapperspb.UInt32(0), CommonTlsContext: b.controlTLS(),
		})},
	}
	return c, nil
}

func (b *bootstrap) controlTLS() *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  []string{"h2"},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{b.secret(SecretListener)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_URI,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: b.ControlID.String()}},
			}}},
			ValidationContextSdsSecretConfig: b.secret(SecretControl),
		}},
	}
}

func (b *bootstrap) sds() *clusterv3.Cluster {
	return b.cluster(clusterSDS, time.Second, b.pipe(SocketSDS, 0))
}

// secret waits for its first value without limit: nothing connects or listens
// without it.
func (b *bootstrap) secret(name string) *tlsv3.SdsSecretConfig {
	source := b.grpcSource(clusterSDS, 50*time.Millisecond)
	source.SetNodeOnFirstMessageOnly = false
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: source},
	}}
}

// grpcSource tries again after backoff and up to two seconds. Envoy's first try is
// always too early for its own clusters, so the backoff is part of every start.
func (b *bootstrap) grpcSource(cluster string, backoff time.Duration) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
		TransportApiVersion:       corev3.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
			ClusterName: cluster,
			RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
				BaseInterval: durationpb.New(backoff), MaxInterval: durationpb.New(2 * time.Second),
			}},
		}}}},
	}
}

// cluster is HTTP/2 with pings every two seconds.
func (b *bootstrap) cluster(name string, connect time.Duration, at *corev3.Address) *clusterv3.Cluster {
	options := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
				ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: durationpb.New(2 * time.Second), Timeout: durationpb.New(time.Second)},
			}},
		},
	}}
	return &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(connect),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.any(options)},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}}}},
		}}},
	}
}
