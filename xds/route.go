package xds

import (
	"maps"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// headerAction is ours alone: an app's answer may not carry it.
const headerAction = "x-mayfly-action"

// routes is shared by all chains of a door: one virtual host for each app, and one
// for any other name. Every request gets a route, because without one Envoy skips
// ext_authz.
func (b *builder) routes(g Gateway, door string) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{
		Name:                     door,
		IgnorePortInHostMatching: true,
		ResponseHeadersToRemove:  []string{headerAction},
	}
	for _, a := range g.Apps {
		hosts := g.at(door, a)
		if len(hosts) == 0 {
			continue
		}
		vh := &routev3.VirtualHost{Name: a.Name, Domains: hosts, TypedPerFilterConfig: b.noBody()}
		for _, m := range a.BodyMethods {
			vh.Routes = append(vh.Routes, b.bodyRoute(a, door, m))
		}
		vh.Routes = append(vh.Routes, b.route(a, door, a.Name, everything()))
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	out.VirtualHosts = append(out.VirtualHosts, &routev3.VirtualHost{
		Name: vhostUnknown, Domains: []string{"*"}, TypedPerFilterConfig: b.noBody(),
		Routes: []*routev3.Route{{
			Name:   vhostUnknown,
			Match:  everything(),
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404}},
		}},
	})
	return out
}

func everything() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

// route sends to the app with a deadline: the sidecar's header, at most MaxStream,
// and MaxStream if the header is missing or cannot be read.
func (b *builder) route(a App, door, name string, match *routev3.RouteMatch) *routev3.Route {
	limit := durationpb.New(a.maxStream())
	return &routev3.Route{
		Name:                 name,
		Match:                match,
		Metadata:             b.metadata(a, door),
		TypedPerFilterConfig: b.guarded(a),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: a.cluster()},
			IdleTimeout:      durationpb.New(0),
			MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{
				MaxStreamDuration: limit, GrpcTimeoutHeaderMax: limit,
			},
		}},
		RequestHeadersToRemove: []string{headerDeadline},
	}
}

// bodyRoute has Envoy give the whole body to ext_authz, and refuse a longer one.
func (b *builder) bodyRoute(a App, door, method string) *routev3.Route {
	match := everything()
	match.Headers = []*routev3.HeaderMatcher{{
		Name: ":method",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: method},
		}},
	}}
	r := b.route(a, door, a.Name+"/"+method, match)
	body := b.perRoute(&authzv3.CheckSettings{WithRequestBody: &authzv3.BufferSettings{MaxRequestBytes: MaxBody, PackAsBytes: true}})
	maps.Copy(body, r.TypedPerFilterConfig)
	r.TypedPerFilterConfig = body
	return r
}

// guarded enables the guard, which is disabled in the chain, for a guarded app.
func (b *builder) guarded(a App) map[string]*anypb.Any {
	if !a.Guard {
		return nil
	}
	return map[string]*anypb.Any{extExtProc: b.any(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{}}})}
}

func (b *builder) noBody() map[string]*anypb.Any {
	return b.perRoute(&authzv3.CheckSettings{DisableRequestBodyBuffering: true})
}

func (b *builder) perRoute(s *authzv3.CheckSettings) map[string]*anypb.Any {
	return map[string]*anypb.Any{extExtAuthz: b.any(&authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: s}})}
}

// metadata tells ext_authz which app it is asked about and by which door the
// request came. It comes from us alone; no header of a caller can reach it.
func (b *builder) metadata(a App, door string) *corev3.Metadata {
	fields := map[string]*structpb.Value{
		"app":  structpb.NewStringValue(a.Name),
		"hop":  structpb.NewBoolValue(a.Hop),
		"door": structpb.NewStringValue(door),
	}
	if a.Guard {
		fields["guard"] = structpb.NewBoolValue(true)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{RouteMetadata: {Fields: fields}}}
}
