package integration

import (
	"net/netip"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/xds"
)

// The bootstrap of the sidecar and the snapshots of mayflyd are made by packages
// that do not know each other.
func TestBothSidesAgreeOnNames(t *testing.T) {
	for _, c := range []struct{ what, sidecar, mayflyd string }{
		{"socket of the sidecar", envoy.SocketSidecar, xds.SocketSidecar},
		{"socket of the hop", envoy.SocketHop, xds.SocketHop},
		{"metadata: address", envoy.MetaServicesAddress, xds.MetaServicesAddress},
		{"metadata: address for people", envoy.MetaPeopleAddress, xds.MetaPeopleAddress},
		{"metadata: address for clients", envoy.MetaClientsAddress, xds.MetaClientsAddress},
		{"metadata: hosts for people", envoy.MetaPeopleHosts, xds.MetaPeopleHosts},
		{"secret: web", envoy.SecretWebPrefix, xds.SecretWebPrefix},
		{"metadata: folder", envoy.MetaRunDir, xds.MetaRunDir},
		{"metadata: version", envoy.MetaVersion, xds.MetaVersion},
		{"secret: listener", envoy.SecretListener, xds.SecretListener},
		{"secret: clients", envoy.SecretClients, xds.SecretClients},
		{"secret: roots", envoy.SecretUpstreamRoots, xds.SecretUpstreamRoots},
	} {
		if c.sidecar != c.mayflyd {
			t.Errorf("%s: %q and %q", c.what, c.sidecar, c.mayflyd)
		}
	}
}

func TestBothSidesFetchTheListenersSecretInOneStream(t *testing.T) {
	text, err := envoy.Bootstrap(envoy.Config{
		NodeID: "n", ServicesAddress: netip.MustParseAddrPort("127.0.0.1:1"), RunDir: "/run/mayfly",
		ControlAddress: "127.0.0.1:2", ControlID: devtest.ID(t, "/mayflyd"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	var up tlsv3.UpstreamTlsContext
	unpack(t, b.GetStaticResources().GetClusters()[0].GetTransportSocket().GetTypedConfig(), &up)
	s, err := xds.Build(xds.Gateway{
		ServicesAddress: netip.MustParseAddrPort("127.0.0.1:1"), RunDir: "/run/mayfly", TrustDomains: []string{devtest.Domain}, Apps: []xds.App{hopApp()},
	})
	if err != nil {
		t.Fatal(err)
	}
	var down tlsv3.DownstreamTlsContext
	unpack(t, s.Listeners[0].GetFilterChains()[0].GetTransportSocket().GetTypedConfig(), &down)
	a, z := up.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs()[0], down.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs()[0]
	if !proto.Equal(a, z) {
		t.Errorf("%v\nand\n%v", a, z)
	}
}

func unpack(t *testing.T, packed *anypb.Any, into proto.Message) {
	t.Helper()
	if err := packed.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
}
