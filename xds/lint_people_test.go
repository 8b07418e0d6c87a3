package xds

import (
	"slices"
	"testing"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// early changes what is taken from callers' requests.
func (p *planted) early(change func(*earlyv3.HeaderMutation)) {
	var m earlyv3.HeaderMutation
	p.open(p.hcm.EarlyHeaderMutationExtensions[0].TypedConfig, &m)
	change(&m)
	p.hcm.EarlyHeaderMutationExtensions[0].TypedConfig = p.pack(&m)
}

func dropLast(m *earlyv3.HeaderMutation) { m.Mutations = m.Mutations[:len(m.Mutations)-1] }

func (p *planted) allow(regex string) {
	p.authz.DecoderHeaderMutationRules.AllowExpression.Regex = regex
}

func script(text string) *luav3.Lua {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}}
}

func TestP2_LintHoldsThePeopleDoor(t *testing.T) {
	lua := func(p *planted, m proto.Message) {
		p.hcm.HttpFilters[0].ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(m)}
	}
	const cookies = "keeps apps from setting our cookies"
	plant := func(t *testing.T) *planted {
		t.Helper()
		return plantAt(t, "people", DoorPeople, "board", "board/board.acme.example")
	}
	refuseAll(t, plant, []badCase{
		// cookies
		{"apps set our cookies", func(p *planted) { p.hcm.HttpFilters = p.hcm.HttpFilters[1:] }, cookies},
		{"after ext_authz", func(p *planted) {
			p.hcm.HttpFilters[0], p.hcm.HttpFilters[1] = p.hcm.HttpFilters[1], p.hcm.HttpFilters[0]
		}, cookies},
		{"no filter at all", func(p *planted) { p.hcm.HttpFilters = nil }, cookies},
		{"another script", func(p *planted) { lua(p, script("function envoy_on_response(handle) end")) }, cookies},
		{"a script that answers requests", func(p *planted) {
			lua(p, script(cookieScript+"function envoy_on_request(handle) handle:respond({[\":status\"] = \"200\"}, \"\") end\n"))
		}, cookies},
		{"a script from a file", func(p *planted) {
			lua(p, &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "/tmp/x.lua"}}})
		}, "filename"},
		{"scripts by name", func(p *planted) {
			m := cookieFilter()
			m.SourceCodes = map[string]*corev3.DataSource{"x": {}}
			lua(p, m)
		}, "source_codes"},
		{"another script for a route", func(p *planted) {
			p.route.TypedPerFilterConfig = map[string]*anypb.Any{extLua: p.pack(&luav3.LuaPerRoute{Override: &luav3.LuaPerRoute_Disabled{Disabled: true}})}
		}, "LuaPerRoute is not an allowed message"},
		{"switched off", func(p *planted) { p.hcm.HttpFilters[0].Disabled = true }, "disabled"},
		{"a script between", func(p *planted) { p.hcm.HttpFilters = slices.Insert(p.hcm.HttpFilters, 2, p.hcm.HttpFilters[0]) }, "want the filters"},
		// ext_authz
		{"no ext_authz", func(p *planted) { p.hcm.HttpFilters = slices.Delete(p.hcm.HttpFilters, 1, 2) }, "want the filters"},
		{"router in its place", func(p *planted) { slices.Reverse(p.hcm.HttpFilters[1:]) }, "not the last filter before the router"},
		// who calls
		{"a caller says who it is", func(p *planted) { p.early(dropLast) }, "own x-auth-groups passes"},
		{"a header of the name that ours begin with", func(p *planted) {
			p.early(func(m *earlyv3.HeaderMutation) {
				for i, prefix := range strippedPrefixes() {
					m.Mutations[i].Action = &mutationv3.HeaderMutation_Remove{Remove: prefix}
				}
			})
		}, "own x-mayfly- passes"},
		{"any header by a pattern", func(p *planted) { p.allow(headersFromSidecar + "|x-.+") }, "other headers"},
		{"host", func(p *planted) { p.allow(headersFromSidecar + "|host") }, "other headers"},
		{"an address that apps believe", func(p *planted) { p.allow(headersFromSidecar + "|x-forwarded-for") }, "other headers"},
		{"words run together", func(p *planted) { p.allow(headersFromSidecar + "x|x-auth-groups") }, "other headers"},
		{"our own are missing", func(p *planted) { p.allow("x-auth-groups") }, "other headers"},
		{"an empty name", func(p *planted) { p.allow(headersFromSidecar + "|") }, "other headers"},
		{"a header that callers keep", func(p *planted) { p.allow(headersFromSidecar + "|x-auth-groups|x-team") }, "own x-team passes"},
		// TLS
		{"a certificate is asked for", func(p *planted) { p.tls.RequireClientCertificate = wrapperspb.Bool(true) }, "people or clients are asked for a certificate"},
		{"a certificate may be shown", func(p *planted) {
			p.tls.CommonTlsContext.ValidationContextType = validation(SecretClients, nil)
		}, "people or clients are asked for a certificate"},
		{"another host's certificate", func(p *planted) {
			p.tls.CommonTlsContext.TlsCertificateSdsSecretConfigs[0].Name = "web/wiki.acme.example"
		}, "certificate of its one host"},
		{"the listener's certificate", func(p *planted) {
			p.tls.CommonTlsContext.TlsCertificateSdsSecretConfigs[0].Name = SecretListener
		}, "certificate of its one host"},
		{"two hosts on a chain", func(p *planted) {
			p.chain.FilterChainMatch.ServerNames = append(p.chain.FilterChainMatch.ServerNames, "kanban.acme.example")
		}, "certificate of its one host"},
		{"no server name", func(p *planted) { p.chain.FilterChainMatch = nil }, "certificate of its one host"},
		{"resumption", func(p *planted) { p.tls.DisableStatefulSessionResumption = false }, "resumed"},
		{"TLS 1.2", func(p *planted) {
			p.tls.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_2
		}, "older than TLS 1.3"},
		{"no TLS", func(p *planted) { p.chain.TransportSocket = nil }, "no TLS"},
		// the other door
		{"workloads' routes", func(p *planted) { p.hcm.GetRds().RouteConfigName = DoorServices }, `routes of the door "services"`},
		{"told the other door", func(p *planted) {
			p.route.Metadata.FilterMetadata[RouteMetadata].Fields["door"] = structpb.NewStringValue(DoorServices)
		}, `told the door "services"`},
		{"the doors' routes swapped", func(p *planted) { p.Routes[0].Name, p.Routes[1].Name = p.Routes[1].Name, p.Routes[0].Name }, "told the door"},
		{"the doors' names swapped", func(p *planted) {
			p.Listeners[0].Name, p.Listeners[1].Name = p.Listeners[1].Name, p.Listeners[0].Name
		}, "callers need no certificate"},
	})
	services := func(t *testing.T) *planted {
		t.Helper()
		return plantAt(t, "people", DoorServices, "board", "board")
	}
	refuseAll(t, services, []badCase{
		{"a workload says who calls", func(p *planted) { p.early(dropLast) }, "a caller's own x-auth-groups passes to board.acme.example"},
		{"a script on workloads' requests", func(p *planted) {
			f := &hcmv3.HttpFilter{Name: extLua, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(cookieFilter())}}
			p.hcm.HttpFilters = slices.Insert(p.hcm.HttpFilters, 0, f)
		}, "want the filters"},
	})
}
