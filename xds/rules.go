package xds

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// rules holds what must be said, not only what may be: the list of fields cannot
// see something that is missing.
func rules(s *Snapshot) []string {
	r := &ruling{
		clusters: map[string]*clusterv3.Cluster{}, routes: map[string]bool{}, doors: map[string]bool{},
		identity: map[string][]string{}, stripped: map[string]map[string]bool{}, guarded: map[string]bool{},
	}
	for _, c := range s.Clusters {
		r.check(r.clusters[c.GetName()] == nil, "cluster[%s]: there are two", c.GetName())
		r.clusters[c.GetName()] = c
	}
	for _, rc := range s.Routes {
		r.routes[rc.GetName()] = true
	}
	for _, l := range s.Listeners {
		r.listener(l)
	}
	r.forgeries()
	for _, rc := range s.Routes {
		r.routeConfiguration(rc)
	}
	for _, c := range s.Clusters {
		r.cluster(c)
	}
	return r.found
}

type ruling struct {
	clusters map[string]*clusterv3.Cluster
	routes   map[string]bool
	doors    map[string]bool            // listeners seen
	identity map[string][]string        // by host: what ext_authz may say of people
	stripped map[string]map[string]bool // by door and host: what callers cannot say there
	guarded  map[string]bool            // door and host of chains whose routes may have the guard
	sockets  string                     // folder of the sockets, once the first was seen
	found    []string
}

func (r *ruling) check(ok bool, format string, args ...any) {
	if !ok {
		r.found = append(r.found, fmt.Sprintf(format, args...))
	}
}

// unpack reads a packed message of exactly type M.
func unpack[M proto.Message](packed *anypb.Any, into M) bool {
	return packed.MessageIs(into) && packed.UnmarshalTo(into) == nil
}

func (r *ruling) routeConfiguration(rc *routev3.RouteConfiguration) {
	at := "route[" + rc.GetName() + "]"
	r.check(slices.Contains(doors(), rc.GetName()), "%s: the routes of no door", at)
	r.check(slices.Contains(rc.GetResponseHeadersToRemove(), headerAction), "%s: answers may carry %s", at, headerAction)
	others := 0
	for _, vh := range rc.GetVirtualHosts() {
		r.virtualHost(at+"."+vh.GetName(), rc.GetName(), vh)
		if slices.Contains(vh.GetDomains(), "*") {
			others++
			r.check(len(vh.GetRoutes()) == 1 && vh.GetRoutes()[0].GetDirectResponse() != nil, "%s.%s: unknown hosts must be refused by one direct response", at, vh.GetName())
		}
		r.check(vh.GetTypedPerFilterConfig()[extExtAuthz] != nil, "%s.%s: bodies are buffered for every route", at, vh.GetName())
	}
	r.check(others == 1, "%s: want exactly one virtual host for unknown hosts, without a route ext_authz is not asked", at)
}

func (r *ruling) virtualHost(at, door string, vh *routev3.VirtualHost) {
	r.perFilter(at, vh.GetTypedPerFilterConfig())
	n := len(vh.GetRoutes())
	if n == 0 {
		r.check(false, "%s: no catch-all route, without a route ext_authz is not asked", at)
		return
	}
	last := vh.GetRoutes()[n-1].GetMatch()
	r.check(proto.Equal(last, everything()), "%s: the last route is not a catch-all, without a route ext_authz is not asked", at)
	for _, route := range vh.GetRoutes() {
		r.route(at+"."+route.GetName(), door, route)
		r.guard(at+"."+route.GetName(), door, vh.GetDomains(), route)
	}
}

func (r *ruling) route(at, door string, route *routev3.Route) {
	r.perFilter(at, route.GetTypedPerFilterConfig())
	for _, h := range route.GetMatch().GetHeaders() {
		r.check(h.GetName() == ":method", "%s: matches on header %s, which a caller or ext_authz may change", at, h.GetName())
	}
	if d := route.GetDirectResponse(); d != nil {
		r.check(d.GetStatus() >= 400, "%s: a direct response of %d looks like success", at, d.GetStatus())
		return
	}
	name := route.GetRoute().GetCluster()
	r.check(r.clusters[name] != nil, "%s: cluster %q is not in the snapshot", at, name)
	r.check(name != clusterSidecar && name != clusterGuard, "%s: leads callers to the sidecar's own services", at)
	fields := route.GetMetadata().GetFilterMetadata()[RouteMetadata].GetFields()
	r.check(fields["app"].GetStringValue() != "", "%s: ext_authz is not told the app", at)
	r.check(fields["door"].GetStringValue() == door, "%s: ext_authz is told the door %q, and what proves a caller there would count here", at, fields["door"].GetStringValue())
	r.check(fields["hop"].GetBoolValue() == (name == clusterHop), "%s: ext_authz is told hop=%v but the cluster is %q", at, fields["hop"].GetBoolValue(), name)
	r.check(slices.Contains(route.GetRequestHeadersToRemove(), headerDeadline), "%s: %s goes on to the app", at, headerDeadline)
	limit := route.GetRoute().GetMaxStreamDuration()
	for what, d := range map[string]time.Duration{
		"max_stream_duration": limit.GetMaxStreamDuration().AsDuration(), "grpc_timeout_header_max": limit.GetGrpcTimeoutHeaderMax().AsDuration(),
	} {
		r.check(d > 0 && d <= MaxStreamCap, "%s: %s is %s, want more than 0 and at most %s", at, what, d, MaxStreamCap)
	}
}

// guard wants that ext_authz is told that a stream is held where it is, and nowhere
// else: what it believes held gets no deadline of its own grant.
func (r *ruling) guard(at, door string, hosts []string, route *routev3.Route) {
	_, held := route.GetTypedPerFilterConfig()[extExtProc]
	told := route.GetMetadata().GetFilterMetadata()[RouteMetadata].GetFields()["guard"].GetBoolValue()
	r.check(held == told, "%s: ext_authz is told guard=%v, and the stream is held: %v", at, told, held)
	for _, h := range hosts {
		r.check(!told || r.guarded[door+" "+h], "%s: the stream is to be held, and the chain of %s has no guard", at, h)
	}
}

// perFilter takes settings of ext_authz, and of those only whether a body is shown, and
// one that enables the guard and changes nothing about it.
func (r *ruling) perFilter(at string, config map[string]*anypb.Any) {
	for name, packed := range config {
		var g extprocv3.ExtProcPerRoute
		if name == extExtProc && unpack(packed, &g) && proto.Equal(g.GetOverrides(), &extprocv3.ExtProcOverrides{}) {
			continue
		}
		var s authzv3.ExtAuthzPerRoute
		ok := name == extExtAuthz && unpack(packed, &s) && s.GetCheckSettings() != nil
		r.check(ok, "%s: per-route setting of %s", at, name)
		if b := s.GetCheckSettings().GetWithRequestBody(); ok && b != nil {
			r.check(b.GetMaxRequestBytes() == MaxBody, "%s: %d bytes of body, want %d", at, b.GetMaxRequestBytes(), MaxBody)
		}
	}
}

func (r *ruling) cluster(c *clusterv3.Cluster) {
	at := "cluster[" + c.GetName() + "]"
	kind := c.GetType()
	r.check(kind == clusterv3.Cluster_STATIC || kind == clusterv3.Cluster_STRICT_DNS, "%s: endpoints by %s", at, kind)
	r.check(c.GetConnectTimeout().AsDuration() > 0, "%s: no connect timeout", at)
	for _, group := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range group.GetLbEndpoints() {
			switch c.GetName() {
			case clusterSidecar, clusterGuard:
				r.socket(at, e.GetEndpoint().GetAddress(), SocketSidecar)
			case clusterHop:
				r.socket(at, e.GetEndpoint().GetAddress(), SocketHop)
			default:
				r.upstream(at, c, e.GetEndpoint().GetAddress())
			}
		}
	}
}

func (r *ruling) socket(at string, a *corev3.Address, base string) {
	p := a.GetPipe().GetPath()
	dir, file := path.Split(p)
	r.check(path.IsAbs(p) && path.Clean(p) == p && file == base, "%s: leads to %q, want the sidecar's %s", at, p, base)
	r.check(r.sockets == "" || r.sockets == dir, "%s: sockets in two folders", at)
	r.sockets = dir
}

func (r *ruling) upstream(at string, c *clusterv3.Cluster, a *corev3.Address) {
	host := a.GetSocketAddress().GetAddress()
	r.check(a.GetPipe() == nil, "%s: a direct app on a Unix socket", at)
	if c.GetTransportSocket() == nil {
		ip, err := netip.ParseAddr(host)
		r.check(err == nil && ip.IsLoopback(), "%s: plain http to %s, which is not loopback", at, host)
		return
	}
	var tls tlsv3.UpstreamTlsContext
	if !unpack(c.GetTransportSocket().GetTypedConfig(), &tls) {
		r.check(false, "%s: not a TLS transport", at)
		return
	}
	v := tls.GetCommonTlsContext().GetCombinedValidationContext()
	r.check(v.GetValidationContextSdsSecretConfig().GetName() == SecretUpstreamRoots, "%s: the upstream's certificate is not checked", at)
	sans := v.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()
	r.check(len(sans) == 1 && sans[0].GetMatcher().GetExact() == host, "%s: the upstream's name is not checked", at)
	r.check(tls.GetMaxSessionKeys() != nil && tls.GetMaxSessionKeys().GetValue() == 0, "%s: sessions are resumed", at)
}
