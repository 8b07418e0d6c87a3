package xds

import (
	"path/filepath"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// manyRequests lifts Envoy's default limit of 1,024: over it, the requests of all
// callers would be refused because one of them is slow.
const manyRequests = 100_000

func (b *builder) clusters(g Gateway) []*clusterv3.Cluster {
	out := []*clusterv3.Cluster{b.sidecar(g, clusterSidecar)}
	if slices.ContainsFunc(g.Apps, func(a App) bool { return a.Guard }) {
		out = append(out, b.sidecar(g, clusterGuard))
	}
	hop := false
	for _, a := range g.Apps {
		if a.Hop {
			hop = true
			continue
		}
		out = append(out, b.upstream(a))
	}
	if hop {
		out = append(out, pipeCluster(clusterHop, g.RunDir, SocketHop))
	}
	return out
}

// sidecar is where ext_authz and the access logs go, or where streams are held: HTTP/2
// on a Unix socket, with pings that find a hung sidecar within two seconds.
func (b *builder) sidecar(g Gateway, name string) *clusterv3.Cluster {
	c := pipeCluster(name, g.RunDir, SocketSidecar)
	c.PerConnectionBufferLimitBytes = nil
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{extHTTPOptions: b.any(http2(&corev3.Http2ProtocolOptions{
		ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: seconds(1), Timeout: seconds(1)},
	}))}
	return c
}

func http2(o *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o},
		}},
	}
}

// upstream is a direct app, over HTTP/1.1 or HTTP/2 as policy says: Envoy asks nobody.
func (b *builder) upstream(a App) *clusterv3.Cluster {
	e, err := endpointOf(a.Upstream)
	if err != nil && b.err == nil {
		b.err = err
	}
	c := staticCluster(a.cluster(), tcp(e.host, e.port))
	c.ConnectTimeout = seconds(5)
	if !e.ip {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	}
	if a.HTTP2 {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{extHTTPOptions: b.any(http2(&corev3.Http2ProtocolOptions{}))}
	}
	if e.tls {
		c.TransportSocket = &corev3.TransportSocket{
			Name:       extTLS,
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(upstreamTLS(e, a.HTTP2))},
		}
	}
	return c
}

// upstreamTLS takes the app's own name only, under the roots that the sidecar is
// configured with. Nothing is resumed: a changed root must count at once.
func upstreamTLS(e endpoint, h2 bool) *tlsv3.UpstreamTlsContext {
	san := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: e.host}},
	}
	out := &tlsv3.UpstreamTlsContext{MaxSessionKeys: wrapperspb.UInt32(0)}
	if e.ip {
		san.SanType = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	} else {
		out.Sni = e.host
	}
	protocol := "http/1.1"
	if h2 {
		protocol = "h2"
	}
	out.CommonTlsContext = &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:         []string{protocol},
		ValidationContextType: validation(SecretUpstreamRoots, []*tlsv3.SubjectAltNameMatcher{san}),
	}
	return out
}

func pipeCluster(name, dir, socket string) *clusterv3.Cluster {
	return staticCluster(name, &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: filepath.Join(dir, socket)}}})
}

func staticCluster(name string, at *corev3.Address) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                seconds(1),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(manyRequests),
			MaxPendingRequests: wrapperspb.UInt32(manyRequests),
			MaxRequests:        wrapperspb.UInt32(manyRequests),
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}},
			}}}},
		},
	}
}
