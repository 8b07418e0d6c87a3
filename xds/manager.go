package xds

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// headersFromSidecar are the headers that an answer of ext_authz may set or remove
// at every door; at the people door an app's identity headers join them. Any other
// is an error, never silently dropped. The match is full.
const headersFromSidecar = `authorization|cookie|dpop|grpc-timeout|traceparent|tracestate|x-mayfly-.+`

// headerDeadline carries the time that is left to Envoy: ext_authz sets it, the
// route arms its timer from it and takes it off (notes: mechanism A).
const headerDeadline = "grpc-timeout"

// upgradeWebSocket is the one upgrade that a guarded app takes, over HTTP/1.1 only: what
// is said after it is in nobody's sight, so nothing but the guard could end it.
const upgradeWebSocket = "websocket"

// identityHeaders are what ext_authz may also set for a at a door.
func (a App) identityHeaders(door string) []string {
	if door != DoorPeople {
		return nil
	}
	return a.IdentityHeaders
}

// manager is the HTTP connection manager of one app's chain at a door.
func (b *builder) manager(a App, door string) *hcmv3.HttpConnectionManager {
	on := wrapperspb.Bool(true)
	var upgrades []*hcmv3.HttpConnectionManager_UpgradeConfig
	if a.Guard {
		upgrades = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: upgradeWebSocket}}
	}
	return &hcmv3.HttpConnectionManager{
		UpgradeConfigs: upgrades,
		StatPrefix:     door + "_" + a.Name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: door,
			ConfigSource: &corev3.ConfigSource{
				ResourceApiVersion:    corev3.ApiVersion_V3,
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			},
		}},
		// 1 s, the default, shows an end late; 0 loses 403 and 413 answers to
		// HTTP/1.1 clients that are still uploading.
		DelayedCloseTimeout:   millis(100),
		RequestHeadersTimeout: seconds(10),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			MaxHeadersCount:              wrapperspb.UInt32(100),
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(100),
			InitialStreamWindowSize:     wrapperspb.UInt32(64 << 10),
			InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
		},
		UseRemoteAddress:              on,
		NormalizePath:                 on,
		MergeSlashes:                  true,
		PathWithEscapedSlashesAction:  hcmv3.HttpConnectionManager_REJECT_REQUEST,
		AlwaysSetRequestIdInResponse:  true,
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{b.earlyMutation(a)},
		AccessLog:                     []*accesslogv3.AccessLog{b.actionLog()},
		LocalReplyConfig:              b.localReplies(a),
		HttpFilters:                   b.httpFilters(a, door),
	}
}

// httpFilters has ext_authz last before the router, or before the guard of a guarded
// app, which changes nothing in a request; and for people and clients, whose
// hosts are the same to a browser, before it what takes our cookies out of apps'
// answers: answers pass the filters backwards.
func (b *builder) httpFilters(a App, door string) []*hcmv3.HttpFilter {
	out := []*hcmv3.HttpFilter{b.filter(extExtAuthz, extAuthz(a.identityHeaders(door)))}
	if a.Guard {
		guard := b.filter(extExtProc, extProc())
		guard.Disabled = true // the route enables it
		out = append(out, guard)
	}
	out = append(out, b.filter(extRouter, &routerv3.Router{SuppressEnvoyHeaders: true}))
	if web(door) {
		return append([]*hcmv3.HttpFilter{b.filter(extLua, cookieFilter())}, out...)
	}
	return out
}

func (b *builder) filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(config)}}
}

// strippedPrefixes and strippedHeaders go from a request before anything reads
// it: whatever claims to come from Mayfly or Envoy comes from the caller.
func strippedPrefixes() []string {
	return []string{"x-envoy-", "x-mayfly-", "x-forwarded-", "x-original-"}
}

// strippedHeaders speak of another host, address or way than the one that was
// decided on; many apps believe them. Envoy writes its own x-forwarded-for and
// -proto afterwards.
func strippedHeaders() []string {
	return []string{"x-forwarded-client-cert", "forwarded", "x-host", "x-real-ip", "true-client-ip"}
}

// earlyMutation takes from a caller's request what only we may say, the app's
// identity headers among it, at both doors.
func (b *builder) earlyMutation(a App) *corev3.TypedExtensionConfig {
	var ms []*mutationv3.HeaderMutation
	for _, p := range strippedPrefixes() {
		ms = append(ms, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
			KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}},
		}}})
	}
	for _, h := range append(strippedHeaders(), a.IdentityHeaders...) {
		ms = append(ms, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: h}})
	}
	return &corev3.TypedExtensionConfig{Name: extEarlyMutation, TypedConfig: b.any(&earlyv3.HeaderMutation{Mutations: ms})}
}

// extAuthz asks the sidecar about every request that has a route. Buffering of
// bodies is set here and switched off per virtual host, because Envoy 1.40 ignores
// pack_as_bytes where it is set per route.
func extAuthz(identity []string) *authzv3.ExtAuthz {
	on := wrapperspb.Bool(true)
	return &authzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		Services:            &authzv3.ExtAuthz_GrpcService{GrpcService: sidecarService(seconds(5))},
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		WithRequestBody:     &authzv3.BufferSettings{MaxRequestBytes: MaxBody, PackAsBytes: true},
		ValidateMutations:   true,
		EncodeRawHeaders:    true,

		IncludePeerCertificate: true,
		IncludeTlsSession:      true,
		ClearRouteCache:        true,
		ClearRouteCacheHeaders: []string{headerDeadline},
		DecoderHeaderMutationRules: &mutationv3.HeaderMutationRules{
			DisallowAll:     on,
			DisallowIsError: on,
			AllowExpression: &matcherv3.RegexMatcher{Regex: strings.Join(append([]string{headersFromSidecar}, identity...), "|")},
		},
		RouteMetadataContextNamespaces: []string{RouteMetadata},
	}
}
