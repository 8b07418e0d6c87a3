package xds

import (
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

func (r *ruling) listener(l *listenerv3.Listener) {
	at := "listener[" + l.GetName() + "]"
	r.check(slices.Contains(doors(), l.GetName()), "%s: no door of ours", at)
	r.check(!r.doors[l.GetName()], "%s: there are two", at)
	r.doors[l.GetName()] = true
	r.check(l.GetEnableReusePort() != nil && !l.GetEnableReusePort().GetValue(), "%s: reuse_port lets another process share the port", at)
	r.check(l.GetAddress().GetSocketAddress() != nil, "%s: not a TCP address", at)
	r.check(len(l.GetAccessLog()) > 0, "%s: refused connections are not logged", at)
	seen := map[string]bool{}
	for _, c := range l.GetFilterChains() {
		in := at + "." + c.GetName()
		names := c.GetFilterChainMatch().GetServerNames()
		r.check(len(names) > 0, "%s: takes connections for any server name", in)
		for _, n := range names {
			r.check(!strings.Contains(n, "*"), "%s: takes %s", in, n)
			r.check(!seen[n], "%s: %s belongs to two chains", in, n)
			seen[n] = true
		}
		r.downstreamTLS(in, l.GetName(), names, c.GetTransportSocket())
		r.check(len(c.GetFilters()) == 1, "%s: want one network filter", in)
		for _, f := range c.GetFilters() {
			var m hcmv3.HttpConnectionManager
			if !unpack(f.GetTypedConfig(), &m) {
				r.check(false, "%s: %s is not the HTTP connection manager, connections would bypass ext_authz", in, f.GetName())
				continue
			}
			r.manager(in, l.GetName(), names, &m)
		}
	}
}

func (r *ruling) downstreamTLS(at, door string, names []string, s *corev3.TransportSocket) {
	var tls tlsv3.DownstreamTlsContext
	if s == nil || !unpack(s.GetTypedConfig(), &tls) {
		r.check(false, "%s: no TLS", at)
		return
	}
	r.check(tls.GetDisableStatelessSessionResumption() && tls.GetDisableStatefulSessionResumption(), "%s: sessions are resumed, and a resumed one is not validated", at)
	common := tls.GetCommonTlsContext()
	r.check(common.GetTlsParams().GetTlsMinimumProtocolVersion() == tlsv3.TlsParameters_TLSv1_3, "%s: older than TLS 1.3", at)
	if web(door) {
		r.webTLS(at, names, &tls)
	} else {
		r.servicesTLS(at, &tls)
	}
}

// webTLS wants for each host its own certificate, and asks for none: a browser's or a
// client's certificate proves nothing at these doors.
func (r *ruling) webTLS(at string, names []string, tls *tlsv3.DownstreamTlsContext) {
	common := tls.GetCommonTlsContext()
	r.check(tls.GetRequireClientCertificate() == nil && common.GetValidationContextType() == nil, "%s: people or clients are asked for a certificate", at)
	r.check(len(names) == 1 && certificateIs(common, SecretWebPrefix+names[0]), "%s: want the certificate of its one host", at)
}

// certificateIs reports whether the one certificate shown is the secret of that name.
func certificateIs(c *tlsv3.CommonTlsContext, name string) bool {
	secrets := c.GetTlsCertificateSdsSecretConfigs()
	return len(secrets) == 1 && secrets[0].GetName() == name
}

func (r *ruling) servicesTLS(at string, tls *tlsv3.DownstreamTlsContext) {
	common := tls.GetCommonTlsContext()
	r.check(tls.GetRequireClientCertificate().GetValue(), "%s: callers need no certificate", at)
	r.check(certificateIs(common, SecretListener), "%s: want the listener's own certificate", at)
	v := common.GetCombinedValidationContext()
	r.check(v.GetValidationContextSdsSecretConfig().GetName() == SecretClients, "%s: callers' certificates are not checked against the trust bundles", at)
	sans := v.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()
	r.check(len(sans) > 0, "%s: any trust domain may call", at)
	for _, m := range sans {
		p := m.GetMatcher().GetPrefix()
		r.check(m.GetSanType() == tlsv3.SubjectAltNameMatcher_URI && strings.HasPrefix(p, "spiffe://") && len(p) > len("spiffe:///") && strings.HasSuffix(p, "/"),
			"%s: name matcher %q does not end a trust domain", at, p)
	}
}

func (r *ruling) manager(at, door string, names []string, m *hcmv3.HttpConnectionManager) {
	r.check(m.GetRds().GetRouteConfigName() == door, "%s: routes of the door %q, and what proves a caller there would count here", at, m.GetRds().GetRouteConfigName())
	r.check(r.routes[m.GetRds().GetRouteConfigName()], "%s: routes %q are not in the snapshot", at, m.GetRds().GetRouteConfigName())
	r.check(m.GetUseRemoteAddress().GetValue(), "%s: trusts a caller's x-forwarded headers", at)
	r.check(m.GetPathWithEscapedSlashesAction() == hcmv3.HttpConnectionManager_REJECT_REQUEST && m.GetNormalizePath().GetValue() && m.GetMergeSlashes(), "%s: the path may be read in two ways", at)
	r.check(m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_REJECT_REQUEST, "%s: headers with underscores may be read in two ways", at)
	close := m.GetDelayedCloseTimeout().AsDuration()
	r.check(m.GetDelayedCloseTimeout() != nil && close > 0 && close <= 100*time.Millisecond, "%s: delayed_close_timeout is %s, want more than 0 and at most 100ms", at, close)
	r.check(len(m.GetAccessLog()) > 0, "%s: outcomes are not logged", at)
	gone := r.earlyMutation(at, m.GetEarlyHeaderMutationExtensions())
	r.localReplies(at, m.GetLocalReplyConfig())
	identity := r.httpFilters(at, door, names, m.GetHttpFilters())
	for _, u := range m.GetUpgradeConfigs() {
		r.check(u.GetUpgradeType() == upgradeWebSocket, "%s: upgrades to %s", at, u.GetUpgradeType())
		for _, n := range names {
			r.check(r.guarded[door+" "+n], "%s: upgrade_configs, and no guard could end what is said then", at)
		}
	}
	for _, h := range identity {
		r.check(gone[h], "%s: a caller's own %s passes, which tells the app who calls", at, h)
	}
	for _, n := range names {
		if door == DoorPeople {
			r.identity[n] = identity
		} else {
			r.stripped[door+" "+n] = gone
		}
	}
}

// forgeries compares the doors: what an app is told of people at one of them,
// nobody may say at the other.
func (r *ruling) forgeries() {
	for host, headers := range r.identity {
		for _, h := range headers {
			for _, door := range []string{DoorServices, DoorClients} {
				gone, both := r.stripped[door+" "+host]
				r.check(!both || gone[h], "listener[%s]: a caller's own %s passes to %s, which is told by it who calls", door, h, host)
			}
		}
	}
}

// extProc wants the guard to the letter: it fails closed, sees no body, and holds every
// kind of stream only as it is.
func (r *ruling) extProc(at, door string, hosts []string, f *hcmv3.HttpFilter) {
	var p extprocv3.ExternalProcessor
	ours := f.GetName() == extExtProc && f.GetDisabled() && unpack(f.GetTypedConfig(), &p) && proto.Equal(&p, extProc()) && r.clusters[clusterGuard] != nil
	r.check(ours, "%s: the filter after ext_authz is not the guard", at)
	for _, h := range hosts {
		r.guarded[door+" "+h] = ours
	}
}

// httpFilters wants ext_authz and then the router, only the guard between: a filter there
// them could change what was decided on, one before could answer unasked. For
// people and clients, what keeps our cookies comes first; its text is ours to the letter, and
// only sees answers. It returns the identity headers that ext_authz may set.
func (r *ruling) httpFilters(at, door string, hosts []string, fs []*hcmv3.HttpFilter) []string {
	if web(door) {
		var lua luav3.Lua
		ours := len(fs) > 0 && fs[0].GetName() == extLua && unpack(fs[0].GetTypedConfig(), &lua) && proto.Equal(&lua, cookieFilter())
		r.check(ours, "%s: the first filter is not the one that keeps apps from setting our cookies", at)
		for _, f := range fs[:min(1, len(fs))] {
			r.check(!f.GetDisabled(), "%s: %s is disabled", at, f.GetName())
		}
		fs = fs[min(1, len(fs)):]
	}
	if len(fs) == 3 && fs[1].GetName() == extExtProc {
		r.extProc(at, door, hosts, fs[1])
		fs = []*hcmv3.HttpFilter{fs[0], fs[2]}
	}
	if len(fs) != 2 {
		r.check(false, "%s: want the filters ext_authz and router, got %d", at, len(fs))
		return nil
	}
	for _, f := range fs {
		r.check(!f.GetDisabled(), "%s: %s is disabled", at, f.GetName())
	}
	var a authzv3.ExtAuthz
	r.check(fs[0].GetName() == extExtAuthz && unpack(fs[0].GetTypedConfig(), &a), "%s: ext_authz is not the last filter before the router", at)
	r.check(fs[1].GetName() == extRouter && unpack(fs[1].GetTypedConfig(), &routerv3.Router{}), "%s: the last filter is not the router", at)
	r.check(a.GetGrpcService().GetEnvoyGrpc().GetClusterName() == clusterSidecar && r.clusters[clusterSidecar] != nil, "%s: ext_authz does not ask the sidecar", at)
	wait := a.GetGrpcService().GetTimeout().AsDuration()
	r.check(wait > 0 && wait <= 5*time.Second, "%s: ext_authz waits %s, want more than 0 and at most 5s", at, wait)
	r.check(a.GetIncludePeerCertificate() && a.GetIncludeTlsSession(), "%s: ext_authz is not told the certificate and the server name", at)
	r.check(a.GetEncodeRawHeaders(), "%s: ext_authz is not told headers as they came", at)
	r.check(a.GetValidateMutations() && a.GetDecoderHeaderMutationRules().GetDisallowAll().GetValue() && a.GetDecoderHeaderMutationRules().GetDisallowIsError().GetValue(),
		"%s: a deadline that Envoy does not take would be dropped unseen", at)
	identity, ok := identityHeadersIn(a.GetDecoderHeaderMutationRules().GetAllowExpression().GetRegex())
	r.check(ok && (door == DoorPeople || len(identity) == 0), "%s: ext_authz may set other headers", at)
	r.check(a.GetClearRouteCache() && slices.Contains(a.GetClearRouteCacheHeaders(), headerDeadline), "%s: the deadline does not reach the route", at)
	r.check(a.GetWithRequestBody().GetPackAsBytes() && a.GetWithRequestBody().GetMaxRequestBytes() == MaxBody, "%s: bodies are not shown as they came", at)
	r.check(slices.Contains(a.GetRouteMetadataContextNamespaces(), RouteMetadata), "%s: ext_authz is not told the app", at)
	return identity
}

// identityHeadersIn reads the expression of extAuthz: after our own headers, only
// names, no pattern.
func identityHeadersIn(regex string) (names []string, ok bool) {
	rest, ok := strings.CutPrefix(regex, headersFromSidecar)
	if !ok || rest == "" {
		return nil, ok
	}
	names = strings.Split(rest, "|")[1:]
	exact := !slices.ContainsFunc(names, func(n string) bool { return !isIdentityHeader(n) })
	return names, exact && rest[0] == '|'
}

// earlyMutation returns the headers of a caller that go no further.
func (r *ruling) earlyMutation(at string, es []*corev3.TypedExtensionConfig) map[string]bool {
	var m earlyv3.HeaderMutation
	if len(es) != 1 || !unpack(es[0].GetTypedConfig(), &m) {
		r.check(false, "%s: a caller's own x-mayfly and x-envoy headers pass", at)
		return nil
	}
	gone, prefixes := map[string]bool{}, map[string]bool{}
	for _, e := range m.GetMutations() {
		gone[e.GetRemove()] = true
		prefixes[e.GetRemoveOnMatch().GetKeyMatcher().GetPrefix()] = true
	}
	for _, prefix := range strippedPrefixes() { // a header of that very name is none of those
		r.check(prefixes[prefix], "%s: a caller's own %s passes", at, prefix)
	}
	for _, name := range strippedHeaders() {
		r.check(gone[name], "%s: a caller's own %s passes", at, name)
	}
	return gone
}

func (r *ruling) localReplies(at string, c *hcmv3.LocalReplyConfig) {
	n := len(c.GetMappers())
	r.check(n > 1, "%s: Envoy's own refusals have no reason", at)
	for i, m := range c.GetMappers() {
		format := m.GetBodyFormatOverride().GetJsonFormat().String()
		first := i == 0 && m.GetBodyFormatOverride() == nil
		r.check(first || strings.Contains(format, "%STREAM_ID%"), "%s: refusal %d has no id", at, i)
	}
}
