package xds

import (
	"testing"

	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What proves a client is in its headers alone: nothing of another door may count there.
func TestP2_LintHoldsTheClientsDoor(t *testing.T) {
	plant := func(t *testing.T) *planted {
		t.Helper()
		return plantAt(t, "clients", DoorClients, "wiki", "wiki/wiki.acme.example")
	}
	refuseAll(t, plant, []badCase{
		{"a certificate is asked for", func(p *planted) { p.tls.RequireClientCertificate = wrapperspb.Bool(true) }, "people or clients are asked for a certificate"},
		{"the listener's certificate", func(p *planted) {
			p.tls.CommonTlsContext.TlsCertificateSdsSecretConfigs[0].Name = SecretListener
		}, "certificate of its one host"},
		{"apps set our cookies", func(p *planted) { p.hcm.HttpFilters = p.hcm.HttpFilters[1:] }, "keeps apps from setting our cookies"},
		{"facts of a person", func(p *planted) { p.allow(headersFromSidecar + "|x-auth-user") }, "other headers"},
		{"a caller says who it is", func(p *planted) { p.early(dropLast) }, "own x-auth-user passes"},
		{"a caller's own assertion", func(p *planted) {
			p.early(func(m *earlyv3.HeaderMutation) { m.Mutations = m.Mutations[2:] })
		}, "own x-mayfly- passes"},
		{"people's routes", func(p *planted) { p.hcm.GetRds().RouteConfigName = DoorPeople }, `routes of the door "people"`},
		{"the word of another door", func(p *planted) {
			p.route.Metadata.FilterMetadata[RouteMetadata].Fields["door"] = structpb.NewStringValue(DoorServices)
		}, `ext_authz is told the door "services"`},
	})
}
