package xds

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestLintTakesWhatIsBuilt(t *testing.T) {
	for name, g := range goldens(t) {
		if err := Lint(build(t, g)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A field that Build never sets has no business on the list.
func TestLintListIsNoLongerThanNeeded(t *testing.T) {
	used := map[string]bool{}
	for _, g := range goldens(t) {
		for _, f := range usedFields(build(t, g)) {
			used[f] = true
		}
	}
	for message, fields := range allowedFields() {
		for f := range fields {
			if name := string(message) + "." + string(f); !used[name] {
				t.Errorf("%s is allowed and never set", name)
			}
		}
	}
}

func usedFields(s *Snapshot) []string {
	w := &walker{allowed: allowedFields(), seen: map[string]bool{}}
	w.snapshot(s)
	var out []string
	for f := range w.seen {
		out = append(out, f)
	}
	return out
}

// planted is a configuration in the making: the web and the stripe app, unpacked.
type planted struct {
	*Snapshot
	t     *testing.T
	chain *listenerv3.FilterChain
	hcm   *hcmv3.HttpConnectionManager
	authz *authzv3.ExtAuthz
	tls   *tlsv3.DownstreamTlsContext
	rc    *routev3.RouteConfiguration
	vh    *routev3.VirtualHost // of the hop app, with a body route and the catch-all
	route *routev3.Route       // its catch-all
	app   *clusterv3.Cluster   // of the direct app
	hop   *clusterv3.Cluster
}

func plant(t *testing.T) *planted {
	t.Helper()
	return plantAt(t, "mixed", DoorServices, "stripe", "stripe")
}

// plantAt unpacks one chain at one door of a golden input.
func plantAt(t *testing.T, golden, door, app, chain string) *planted {
	t.Helper()
	p := &planted{Snapshot: build(t, goldens(t)[golden]), t: t}
	l := p.Listeners[slices.IndexFunc(p.Listeners, func(l *listenerv3.Listener) bool { return l.Name == door })]
	i := slices.IndexFunc(l.FilterChains, func(c *listenerv3.FilterChain) bool { return c.Name == chain })
	p.chain, p.hcm, p.authz, p.tls = l.FilterChains[i], &hcmv3.HttpConnectionManager{}, &authzv3.ExtAuthz{}, &tlsv3.DownstreamTlsContext{}
	p.open(p.chain.Filters[0].GetTypedConfig(), p.hcm)
	p.open(p.authzFilter().GetTypedConfig(), p.authz)
	p.open(p.chain.TransportSocket.GetTypedConfig(), p.tls)
	p.rc = p.Routes[slices.IndexFunc(p.Routes, func(r *routev3.RouteConfiguration) bool { return r.Name == door })]
	i = slices.IndexFunc(p.rc.VirtualHosts, func(v *routev3.VirtualHost) bool { return v.Name == app })
	p.vh = p.rc.VirtualHosts[i]
	p.route = p.vh.Routes[len(p.vh.Routes)-1]
	for _, c := range p.Clusters {
		switch c.Name {
		case "hop":
			p.hop = c
		case "app/wiki":
			p.app = c
		}
	}
	return p
}

func (p *planted) open(from *anypb.Any, into proto.Message) {
	p.t.Helper()
	if err := from.UnmarshalTo(into); err != nil {
		p.t.Fatal(err)
	}
}

func (p *planted) pack(m proto.Message) *anypb.Any {
	p.t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// authzFilter returns nil if ext_authz is not among the filters.
func (p *planted) authzFilter() *hcmv3.HttpFilter {
	for _, f := range p.hcm.HttpFilters {
		if f.GetName() == extExtAuthz {
			return f
		}
	}
	return nil
}

// close packs the parts that plant unpacked.
func (p *planted) close() *Snapshot {
	if f := p.authzFilter(); f.GetTypedConfig().MessageIs(p.authz) {
		f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(p.authz)}
	}
	if len(p.chain.Filters) > 0 && p.chain.Filters[0].GetTypedConfig().MessageIs(p.hcm) {
		p.chain.Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: p.pack(p.hcm)}
	}
	if p.chain.TransportSocket != nil {
		p.chain.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: p.pack(p.tls)}
	}
	return p.Snapshot
}

// badCase plants something and says what of the finding must be there.
type badCase struct {
	name string
	bad  func(p *planted)
	want string
}

func refuseAll(t *testing.T, plant func(*testing.T) *planted, cases []badCase) {
	t.Helper()
	if err := Lint(plant(t).close()); err != nil {
		t.Fatalf("with nothing planted: %v", err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := plant(t)
			c.bad(p)
			err := Lint(p.close())
			if !errors.Is(err, ErrLint) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want a finding with %q, got: %v", c.want, err)
			}
		})
	}
}

func TestP2_LintRefusesWaysAroundExtAuthz(t *testing.T) {
	no, yes := wrapperspb.Bool(false), wrapperspb.Bool(true)
	perRoute := func(p *planted, m proto.Message) map[string]*anypb.Any {
		return map[string]*anypb.Any{extExtAuthz: p.pack(m)}
	}
	refuseAll(t, plant, []badCase{
		// ext_authz itself
		{"failure mode allow", func(p *planted) { p.authz.FailureModeAllow = true }, "failure_mode_allow"},
		{"runs for some requests only", func(p *planted) { p.authz.FilterEnabled = &corev3.RuntimeFractionalPercent{} }, "filter_enabled"},
		{"shadow mode", func(p *planted) { p.authz.ShadowMode = true }, "shadow_mode"},
		{"partial bodies", func(p *planted) { p.authz.WithRequestBody.AllowPartialMessage = true }, "allow_partial_message"},
		{"asks another cluster", func(p *planted) { p.authz.GetGrpcService().GetEnvoyGrpc().ClusterName = "app/wiki" }, "does not ask the sidecar"},
		{"waits without end", func(p *planted) { p.authz.GetGrpcService().Timeout = nil }, "ext_authz waits"},
		{"waits too long", func(p *planted) { p.authz.GetGrpcService().Timeout = durationpb.New(6 * time.Second) }, "ext_authz waits"},
		{"no certificate shown", func(p *planted) { p.authz.IncludePeerCertificate = false }, "is not told the certificate"},
		{"bad mutations dropped", func(p *planted) { p.authz.DecoderHeaderMutationRules.DisallowIsError = nil }, "dropped unseen"},
		{"a person's name from a workload's door", func(p *planted) {
			p.authz.DecoderHeaderMutationRules.AllowExpression.Regex = headersFromSidecar + "|x-auth-user"
		}, "other headers"},
		{"any header", func(p *planted) { p.authz.DecoderHeaderMutationRules.AllowExpression.Regex = ".*" }, "other headers"},
		{"deadline without effect", func(p *planted) { p.authz.ClearRouteCacheHeaders = nil }, "does not reach the route"},
		{"not told the app", func(p *planted) { p.authz.RouteMetadataContextNamespaces = nil }, "not told the app"},
		// the other door
		{"people's routes", func(p *planted) { p.hcm.GetRds().RouteConfigName = DoorPeople }, `routes of the door "people"`},
		{"told the other door", func(p *planted) {
			p.route.Metadata.FilterMetadata[RouteMetadata].Fields["door"] = structpb.NewStringValue(DoorPeople)
		}, `told the door "people"`},
		{"told no door", func(p *planted) { delete(p.route.Metadata.FilterMetadata[RouteMetadata].Fields, "door") }, `told the door ""`},
		{"a listener of another name", func(p *planted) { p.Listeners[0].Name = "others" }, "no door of ours"},
		{"two listeners of one name", func(p *planted) { p.Listeners = append(p.Listeners, p.Listeners[0]) }, "there are two"},
		{"routes of another name", func(p *planted) { p.rc.Name = "others" }, "routes of no door"},
		{"a certificate for browsers", func(p *planted) {
			p.tls.CommonTlsContext.TlsCertificateSdsSecretConfigs[0].Name = "web/stripe.acme.example"
		}, "listener's own certificate"},
		// filters around it
		{"no ext_authz", func(p *planted) { p.hcm.HttpFilters = p.hcm.HttpFilters[1:] }, "want the filters"},
		{"ext_authz after the router", func(p *planted) { slices.Reverse(p.hcm.HttpFilters) }, "not the last filter before the router"},
		{"ext_authz switched off", func(p *planted) { p.hcm.HttpFilters[0].Disabled = true }, "disabled"},
		{"ext_authz optional", func(p *planted) { p.hcm.HttpFilters[0].IsOptional = true }, "is_optional"},
		{"another filter between", func(p *planted) {
			f := &hcmv3.HttpFilter{Name: "envoy.filters.http.buffer", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(&bufferv3.Buffer{})}}
			p.hcm.HttpFilters = slices.Insert(p.hcm.HttpFilters, 1, f)
		}, "want the filters"},
		{"another filter under its name", func(p *planted) {
			p.hcm.HttpFilters[0].ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(&bufferv3.Buffer{})}
		}, "not the last filter before the router"},
		// connection manager
		{"websocket", func(p *planted) {
			p.hcm.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
		}, "upgrade_configs"},
		{"extended connect", func(p *planted) { p.hcm.Http2ProtocolOptions.AllowConnect = true }, "allow_connect"},
		{"internal addresses", func(p *planted) {
			p.hcm.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{}
		}, "internal_address_config"},
		{"inline routes", func(p *planted) {
			p.hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{}}
		}, "route_config"},
		{"routes that are not there", func(p *planted) { p.hcm.GetRds().RouteConfigName = "other" }, "not in the snapshot"},
		{"caller's own headers", func(p *planted) { p.hcm.EarlyHeaderMutationExtensions = nil }, "x-mayfly"},
		{"slashes read twice", func(p *planted) { p.hcm.MergeSlashes = false }, "two ways"},
		{"late close", func(p *planted) { p.hcm.DelayedCloseTimeout = nil }, "delayed_close_timeout"},
		{"no outcome log", func(p *planted) { p.hcm.AccessLog = nil }, "outcomes are not logged"},
		{"refusals without reason", func(p *planted) { p.hcm.LocalReplyConfig = nil }, "no reason"},
		// listener
		{"plain TCP past HTTP", func(p *planted) {
			p.chain.Filters[0] = &listenerv3.Filter{Name: "envoy.filters.network.tcp_proxy", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: p.pack(&tcpv3.TcpProxy{StatPrefix: "x"})}}
		}, "bypass ext_authz"},
		{"no TLS", func(p *planted) { p.chain.TransportSocket = nil }, "no TLS"},
		{"no client certificate", func(p *planted) { p.tls.RequireClientCertificate = no }, "need no certificate"},
		{"resumption", func(p *planted) { p.tls.DisableStatefulSessionResumption = false }, "resumed"},
		{"TLS 1.2", func(p *planted) {
			p.tls.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_2
		}, "older than TLS 1.3"},
		{"any trust domain", func(p *planted) {
			p.tls.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.MatchTypedSubjectAltNames = nil
		}, "any trust domain"},
		{"open end of a trust domain", func(p *planted) {
			m := p.tls.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.MatchTypedSubjectAltNames[0]
			m.Matcher.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://acme.example"}
		}, "does not end a trust domain"},
		{"unverified chain", func(p *planted) {
			p.tls.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}, "trust_chain_verification"},
		{"any server name", func(p *planted) { p.chain.FilterChainMatch = nil }, "any server name"},
		{"default chain", func(p *planted) { p.Listeners[0].DefaultFilterChain = &listenerv3.FilterChain{} }, "default_filter_chain"},
		{"shared port", func(p *planted) { p.Listeners[0].EnableReusePort = yes }, "reuse_port"},
		{"refused connections unseen", func(p *planted) { p.Listeners[0].AccessLog = nil }, "not logged"},
		{"log to a file", func(p *planted) {
			p.Listeners[0].AccessLog = []*accesslogv3.AccessLog{{Name: "x", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: p.pack(&bufferv3.Buffer{})}}}
		}, "not an allowed message"},
		// routes
		{"switched off for a route", func(p *planted) {
			p.route.TypedPerFilterConfig = perRoute(p, &authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
		}, "disabled"},
		{"switched off for a host", func(p *planted) {
			p.vh.TypedPerFilterConfig = perRoute(p, &authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
		}, "disabled"},
		{"switched off another way", func(p *planted) {
			p.route.TypedPerFilterConfig = perRoute(p, &routev3.FilterConfig{Disabled: true})
		}, "FilterConfig is not an allowed message"},
		{"another service for a route", func(p *planted) {
			p.route.TypedPerFilterConfig = perRoute(p, &authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: &authzv3.CheckSettings{
				ServiceOverride: &authzv3.CheckSettings_GrpcService{GrpcService: sidecarService(nil)}}}})
		}, "CheckSettings.grpc_service"},
		{"retries", func(p *planted) { p.route.GetRoute().RetryPolicy = &routev3.RetryPolicy{} }, "retry_policy"},
		{"retries for a host", func(p *planted) { p.vh.RetryPolicy = &routev3.RetryPolicy{} }, "retry_policy"},
		{"mirror", func(p *planted) {
			p.route.GetRoute().RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "app/wiki"}}
		}, "request_mirror_policies"},
		{"hedge", func(p *planted) { p.route.GetRoute().HedgePolicy = &routev3.HedgePolicy{} }, "hedge_policy"},
		{"internal redirect", func(p *planted) { p.route.GetRoute().InternalRedirectPolicy = &routev3.InternalRedirectPolicy{} }, "internal_redirect_policy"},
		{"caller picks the cluster", func(p *planted) {
			p.route.GetRoute().ClusterSpecifier = &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"}
		}, "cluster_header"},
		{"missing cluster", func(p *planted) {
			p.route.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "gone"}
		}, `cluster "gone" is not in the snapshot`},
		{"to the sidecar's own door", func(p *planted) {
			p.route.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: clusterSidecar}
		}, "the sidecar's own services"},
		{"past the hop", func(p *planted) {
			p.route.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "app/wiki"}
		}, "told hop=true"},
		{"to the hop unannounced", func(p *planted) {
			p.route.Metadata.FilterMetadata[RouteMetadata].Fields["hop"] = structpb.NewBoolValue(false)
		}, "told hop=false"},
		{"no app named", func(p *planted) { p.route.Metadata = nil }, "not told the app"},
		{"connect", func(p *planted) {
			p.vh.Routes[0].Match.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
		}, "connect_matcher"},
		{"path by expression", func(p *planted) {
			p.vh.Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}}
		}, "safe_regex"},
		{"routes on a caller's header", func(p *planted) { p.vh.Routes[0].Match.Headers[0].Name = "x-team" }, "header x-team"},
		{"no catch-all", func(p *planted) { p.route.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/v1"} }, "not a catch-all"},
		{"no route at all", func(p *planted) { p.vh.Routes = nil }, "no catch-all"},
		{"unknown hosts without a route", func(p *planted) {
			p.rc.VirtualHosts = slices.DeleteFunc(p.rc.VirtualHosts, func(v *routev3.VirtualHost) bool { return v.Name == vhostUnknown })
		}, "exactly one virtual host for unknown hosts"},
		{"unknown hosts reach an app", func(p *planted) { p.vh.Domains = []string{"*"} }, "one direct response"},
		{"success without an app", func(p *planted) {
			p.rc.VirtualHosts[len(p.rc.VirtualHosts)-1].Routes[0].GetDirectResponse().Status = 200
		}, "looks like success"},
		{"no deadline", func(p *planted) { p.route.GetRoute().MaxStreamDuration = nil }, "max_stream_duration is 0s"},
		{"deadline without a cap", func(p *planted) { p.route.GetRoute().MaxStreamDuration.GrpcTimeoutHeaderMax = durationpb.New(0) }, "grpc_timeout_header_max is 0s"},
		{"cap over a day", func(p *planted) {
			p.route.GetRoute().MaxStreamDuration.MaxStreamDuration = durationpb.New(25 * time.Hour)
		}, "max_stream_duration is 25h"},
		{"action id returned", func(p *planted) { p.rc.ResponseHeadersToRemove = nil }, headerAction},
		// clusters
		{"plain http elsewhere", func(p *planted) { endpointAddress(p.app).GetSocketAddress().Address = "192.0.2.1" }, "not loopback"},
		{"app on a Unix socket", func(p *planted) {
			endpointAddress(p.app).Address = &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/mayfly/gw-1/admin.sock"}}
		}, "Unix socket"},
		{"hop on another socket", func(p *planted) { endpointAddress(p.hop).GetPipe().Path = "/run/mayfly/gw-1/admin.sock" }, "want the sidecar's hop.sock"},
		{"hop in another folder", func(p *planted) { endpointAddress(p.hop).GetPipe().Path = "/tmp/hop.sock" }, "two folders"},
		{"original destination", func(p *planted) {
			p.app.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		}, "ORIGINAL_DST"},
		{"cluster twice", func(p *planted) { p.Clusters = append(p.Clusters, p.app) }, "there are two"},
		{"upstream name unchecked", func(p *planted) {
			c := p.Clusters[slices.IndexFunc(p.Clusters, func(c *clusterv3.Cluster) bool { return c.Name == "app/billing" })]
			var tls tlsv3.UpstreamTlsContext
			p.open(c.TransportSocket.GetTypedConfig(), &tls)
			tls.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext = nil
			c.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: p.pack(&tls)}
		}, "name is not checked"},
		// the walk
		{"unreadable message", func(p *planted) {
			p.chain.TransportSocket = nil
			p.Listeners[0].AccessLog[0].ConfigType = &accesslogv3.AccessLog_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/envoy.Nothing"}}
		}, "cannot read"},
		{"field of a later version", func(p *planted) { p.rc.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 0x01}) }, "does not know"},
	})
}

func endpointAddress(c *clusterv3.Cluster) *corev3.Address {
	return c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address
}
