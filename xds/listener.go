package xds

import (
	"net/netip"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const bufferLimit = 64 << 10 // bytes a connection may hold after an end

// listener is one door: for workloads with a filter chain for each app, for people
// and clients with one for each host, because each host has a certificate of its own. A chain
// of its own keeps the connections of all others when an app comes, changes or
// goes; Envoy drains the connections of a chain that changed.
func (b *builder) listener(g Gateway, door string) *listenerv3.Listener {
	at := map[string]netip.AddrPort{DoorServices: g.ServicesAddress, DoorPeople: g.PeopleAddress, DoorClients: g.ClientsAddress}[door]
	l := &listenerv3.Listener{
		Name:    door,
		Address: tcp(at.Addr().String(), uint32(at.Port())),
		// With reuse_port a second process could share the port unseen.
		EnableReusePort:               wrapperspb.Bool(false),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		ListenerFiltersTimeout:        seconds(5),
		ListenerFilters: []*listenerv3.ListenerFilter{{
			Name:       extTLSInspector,
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: b.any(&inspectorv3.TlsInspector{})},
		}},
		AccessLog: []*accesslogv3.AccessLog{b.connectionLog()},
	}
	for _, a := range g.Apps {
		hosts := g.at(door, a)
		switch {
		case len(hosts) == 0:
		case door == DoorServices:
			l.FilterChains = append(l.FilterChains, b.chain(a, door, a.Name, hosts, servicesTLS(g.TrustDomains)))
		default:
			for _, h := range hosts {
				l.FilterChains = append(l.FilterChains, b.chain(a, door, a.Name+"/"+h, []string{h}, webTLS(h)))
			}
		}
	}
	return l
}

func (b *builder) chain(a App, door, name string, hosts []string, tls *tlsv3.DownstreamTlsContext) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name:                          name,
		FilterChainMatch:              &listenerv3.FilterChainMatch{ServerNames: hosts},
		TransportSocketConnectTimeout: seconds(5),
		TransportSocket: &corev3.TransportSocket{
			Name:       extTLS,
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(tls)},
		},
		Filters: []*listenerv3.Filter{{
			Name:       extHCM,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.any(b.manager(a, door))},
		}},
	}
}

// downstreamTLS is what all doors have in common: TLS 1.3, and no resumption,
// because a resumed session would not be validated again and would outlive the
// certificate that it began with.
func downstreamTLS(certificate string) *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
		DisableStatefulSessionResumption: true,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
			AlpnProtocols:                  []string{"h2", "http/1.1"},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secret(certificate)},
		},
	}
}

// webTLS shows the host's own certificate and asks browsers and clients for none: one
// that they were asked for would open a choice that means nothing here.
func webTLS(host string) *tlsv3.DownstreamTlsContext { return downstreamTLS(SecretWebPrefix + host) }

// servicesTLS asks every caller for an SVID of a known trust domain.
func servicesTLS(domains []string) *tlsv3.DownstreamTlsContext {
	var sans []*tlsv3.SubjectAltNameMatcher
	for _, d := range domains {
		sans = append(sans, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_URI,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + d + "/"}},
		})
	}
	out := downstreamTLS(SecretListener)
	out.RequireClientCertificate = wrapperspb.Bool(true)
	out.CommonTlsContext.ValidationContextType = validation(SecretClients, sans)
	return out
}

func validation(name string, sans []*tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: sans},
		ValidationContextSdsSecretConfig: secret(name),
	}}
}

// secret refers to one secret of the sidecar. Without a limit on the first fetch
// a listener waits for its certificate instead of opening without one. Equal to
// the bootstrap's, so that Envoy keeps one stream for both.
func secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion:  corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:             corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: clusterSDS,
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: millis(50), MaxInterval: seconds(2),
					}},
				}},
			}},
		}},
	}}
}

// connectionLog tells the sidecar of callers that never came as far as HTTP:
// a refused handshake, a server name that no app has.
func (b *builder) connectionLog() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: extTCPGRPCLog,
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{
			Filters: []*accesslogv3.AccessLogFilter{
				{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}}}},
				b.cel("connection.transport_failure_reason != ''"),
			},
		}}},
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.any(&alsv3.TcpGrpcAccessLogConfig{CommonConfig: logConfig(LogConnection)})},
	}
}

func (b *builder) actionLog() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name:       extHTTPGRPCLog,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.any(&alsv3.HttpGrpcAccessLogConfig{CommonConfig: logConfig(LogAction)})},
	}
}

// logConfig sends each entry at once: with a buffer, a killed Envoy loses the
// entries of up to its flush interval.
func logConfig(name string) *alsv3.CommonGrpcAccessLogConfig {
	return &alsv3.CommonGrpcAccessLogConfig{
		LogName:             name,
		TransportApiVersion: corev3.ApiVersion_V3,
		BufferSizeBytes:     wrapperspb.UInt32(0),
		CustomTags: []*tagv3.CustomTag{{
			Tag: "conn", Type: &tagv3.CustomTag_Value{Value: "%CONNECTION_ID%"},
		}},
		GrpcService: sidecarService(nil),
	}
}

func sidecarService(timeout *durationpb.Duration) *corev3.GrpcService {
	return serviceOf(clusterSidecar, timeout)
}

// guardService has no timeout: its streams last as long as those that they hold.
func guardService() *corev3.GrpcService { return serviceOf(clusterGuard, nil) }

func serviceOf(cluster string, timeout *durationpb.Duration) *corev3.GrpcService {
	return &corev3.GrpcService{
		Timeout:         timeout,
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
	}
}

func (b *builder) cel(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name:       extCEL,
		ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: b.any(&celv3.ExpressionFilter{Expression: expression})},
	}}}
}

func tcp(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func seconds(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

func millis(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }
