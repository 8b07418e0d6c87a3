package xds

import (
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Only as it is built does the guard hold every kind of stream, and lose none.
func TestP4_LintHoldsTheGuard(t *testing.T) {
	plant := func(t *testing.T) *planted {
		t.Helper()
		return plantAt(t, "guard", DoorServices, "feeds", "feeds")
	}
	bend := func(f func(*extprocv3.ExternalProcessor)) func(*planted) {
		return func(p *planted) {
			m := extProc()
			f(m)
			p.hcm.HttpFilters[1].ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(m)}
		}
	}
	route := func(m *extprocv3.ExtProcPerRoute) func(*planted) {
		return func(p *planted) { p.route.TypedPerFilterConfig = map[string]*anypb.Any{extExtProc: p.pack(m)} }
	}
	told := func(p *planted, v bool) {
		p.route.Metadata.FilterMetadata[RouteMetadata].Fields["guard"] = structpb.NewBoolValue(v)
	}
	const notOurs = "is not the guard"
	refuseAll(t, plant, []badCase{
		{"it fails open", bend(func(m *extprocv3.ExternalProcessor) { m.FailureModeAllow = true }), "failure_mode_allow"},
		{"it only watches", bend(func(m *extprocv3.ExternalProcessor) { m.ObservabilityMode = true }), "observability_mode"},
		{"it ends when the answer begins", bend(func(m *extprocv3.ExternalProcessor) {
			m.ProcessingMode.ResponseTrailerMode = extprocv3.ProcessingMode_SKIP
		}), notOurs},
		{"a request goes on before the last look", bend(func(m *extprocv3.ExternalProcessor) {
			m.ProcessingMode.RequestHeaderMode = extprocv3.ProcessingMode_SKIP
		}), notOurs},
		{"bodies go through it", bend(func(m *extprocv3.ExternalProcessor) {
			m.ProcessingMode.ResponseBodyMode = extprocv3.ProcessingMode_STREAMED
		}), "response_body_mode"},
		{"it is not told the action", bend(func(m *extprocv3.ExternalProcessor) { m.MetadataOptions = nil }), notOurs},
		{"somebody else is asked", bend(func(m *extprocv3.ExternalProcessor) { m.GrpcService = serviceOf("app/wiki", nil) }), notOurs},
		{"it is always on", func(p *planted) { p.hcm.HttpFilters[1].Disabled = false }, notOurs},
		{"it comes before the decision", func(p *planted) {
			p.hcm.HttpFilters[0], p.hcm.HttpFilters[1] = p.hcm.HttpFilters[1], p.hcm.HttpFilters[0]
		}, "want the filters"},
		{"the decision is switched off", func(p *planted) { p.hcm.HttpFilters[0].Disabled = true }, "disabled"},
		{"there is none", func(p *planted) { p.hcm.HttpFilters = slices.Delete(p.hcm.HttpFilters, 1, 2) }, "has no guard"},
		{"a route without it", func(p *planted) { p.route.TypedPerFilterConfig = nil }, "ext_authz is told guard=true, and the stream is held: false"},
		{"a route that switches it off", route(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}}), "disabled"},
		{"a route that changes it", route(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{
			FailureModeAllow: wrapperspb.Bool(true),
		}}}), "failure_mode_allow"},
		{"ext_authz is not told", func(p *planted) { told(p, false) }, "ext_authz is told guard=false, and the stream is held: true"},
		{"another upgrade", func(p *planted) { p.hcm.UpgradeConfigs[0].UpgradeType = "CONNECT" }, "upgrades to CONNECT"},
		{"no cluster", func(p *planted) {
			p.Clusters = slices.DeleteFunc(p.Clusters, func(c *clusterv3.Cluster) bool { return c.Name == clusterGuard })
		}, notOurs},
	})
	refuseAll(t, func(t *testing.T) *planted {
		t.Helper()
		return plantAt(t, "guard", DoorServices, "wiki", "wiki")
	}, []badCase{
		{"ext_authz believes a stream held", func(p *planted) { told(p, true) }, "ext_authz is told guard=true, and the stream is held: false"},
		{"a route that asks for a guard that is not there", func(p *planted) {
			told(p, true)
			route(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{}}})(p)
		}, "has no guard"},
	})
}
