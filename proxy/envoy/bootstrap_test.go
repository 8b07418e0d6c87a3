package envoy

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func config(t testing.TB) Config {
	t.Helper()
	return Config{
		NodeID:          "spiffe://acme.example/gw/sidecar#0123456789abcdef0123456789abcdef",
		ServicesAddress: netip.MustParseAddrPort("127.0.0.1:28443"), RunDir: "/run/mayfly", Version: "1.2.3",
		ControlAddress: "127.0.0.1:8444", ControlID: devtest.ID(t, "/mayflyd"),
	}
}

func TestBootstrap(t *testing.T) {
	text, err := Bootstrap(config(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.GetStaticResources().GetListeners()) != 0 {
		t.Error("a listener that no lint sees")
	}
	if p := b.GetAdmin().GetAddress().GetPipe(); p.GetMode() != 0o600 || p.GetPath() != "/run/mayfly/admin.sock" {
		t.Errorf("admin at %v", p)
	}
	for _, m := range b.GetAdmin().GetAllowPaths() {
		if p := m.GetExact() + m.GetPrefix(); p != "/ready" && p != "/server_info" && p != "/stats" {
			t.Errorf("admin answers %s", p)
		}
	}
	for key, want := range map[string]string{MetaServicesAddress: "127.0.0.1:28443", MetaRunDir: "/run/mayfly", MetaVersion: "1.2.3"} {
		if got := b.GetNode().GetMetadata().GetFields()[key].GetStringValue(); got != want {
			t.Errorf("node metadata %s is %q", key, got)
		}
	}
	if got := b.GetNode().GetMetadata().GetFields(); got[MetaPeopleAddress] != nil || got[MetaPeopleHosts] != nil {
		t.Errorf("a node without people says %v", got)
	}
	var tls tlsv3.UpstreamTlsContext
	if err := b.GetStaticResources().GetClusters()[0].GetTransportSocket().GetTypedConfig().UnmarshalTo(&tls); err != nil {
		t.Fatal(err)
	}
	sans := tls.GetCommonTlsContext().GetCombinedValidationContext().GetDefaultValidationContext().GetMatchTypedSubjectAltNames()
	if len(sans) != 1 || sans[0].GetMatcher().GetExact() != "spiffe://acme.example/mayflyd" || sans[0].GetSanType() != tlsv3.SubjectAltNameMatcher_URI {
		t.Errorf("mayflyd may be %v", sans)
	}
	if tls.GetMaxSessionKeys() == nil || tls.GetMaxSessionKeys().GetValue() != 0 {
		t.Error("sessions with mayflyd are resumed")
	}
	if tls.GetCommonTlsContext().GetTlsParams().GetTlsMinimumProtocolVersion() != tlsv3.TlsParameters_TLSv1_3 {
		t.Error("older TLS than 1.3")
	}
}

func TestBootstrapSaysWherePeopleComeIn(t *testing.T) {
	c := config(t)
	c.PeopleAddress, c.PeopleHosts = netip.MustParseAddrPort("127.0.0.2:28444"), []string{"wiki.acme.example", "docs.acme.example"}
	c.ClientsAddress = netip.MustParseAddrPort("127.0.0.3:28445")
	text, err := Bootstrap(c)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	fields := b.GetNode().GetMetadata().GetFields()
	hosts := fields[MetaPeopleHosts].GetListValue().GetValues()
	if fields[MetaPeopleAddress].GetStringValue() != "127.0.0.2:28444" || len(hosts) != 2 || hosts[1].GetStringValue() != "docs.acme.example" {
		t.Errorf("node metadata %v", fields)
	}
	if got := fields[MetaClientsAddress].GetStringValue(); got != "127.0.0.3:28445" {
		t.Errorf("clients come in at %q", got)
	}
	limits := b.GetLayeredRuntime().GetLayers()[0].GetStaticLayer().GetFields()
	strangers := limits["envoy.resource_limits.listener.clients.connection_limit"].GetNumberValue()
	if got := limits["envoy.resource_limits.listener.people.connection_limit"].GetNumberValue(); got <= 0 || strangers <= 0 || got+strangers+maxServices > maxConnections {
		t.Errorf("people may open %v connections, and none may be left for workloads", got)
	}
}

func TestBootstrapRefusesBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		bad  func(*Config)
		want string
	}{
		"no node":              {func(c *Config) { c.NodeID = "" }, "node id"},
		"no services address":  {func(c *Config) { c.ServicesAddress = netip.AddrPort{} }, "services address"},
		"people without hosts": {func(c *Config) { c.PeopleAddress = netip.MustParseAddrPort("127.0.0.2:1") }, "go together"},
		"hosts without people": {func(c *Config) { c.PeopleHosts = []string{"a.example"} }, "go together"},
		"people at port 0": {func(c *Config) {
			c.PeopleAddress, c.PeopleHosts = netip.MustParseAddrPort("127.0.0.2:0"), []string{"a.example"}
		}, "people address"},
		"clients without hosts": {func(c *Config) { c.ClientsAddress = netip.MustParseAddrPort("127.0.0.3:1") }, "go together"},
		"clients at port 0": {func(c *Config) {
			c.ClientsAddress, c.PeopleHosts = netip.MustParseAddrPort("127.0.0.3:0"), []string{"a.example"}
		}, "clients address"},
		"relative folder":      {func(c *Config) { c.RunDir = "run" }, "run directory"},
		"long folder":          {func(c *Config) { c.RunDir = "/" + strings.Repeat("a", 100) }, "too long"},
		"no control address":   {func(c *Config) { c.ControlAddress = "" }, "control address"},
		"control without port": {func(c *Config) { c.ControlAddress = "127.0.0.1" }, "control address"},
		"control port 0":       {func(c *Config) { c.ControlAddress = "127.0.0.1:0" }, "control address"},
		"any mayflyd":          {func(c *Config) { c.ControlID = c.ControlID.TrustDomain().ID() }, "SPIFFE ID of mayflyd"},
	} {
		t.Run(name, func(t *testing.T) {
			in := config(t)
			c.bad(&in)
			if _, err := Bootstrap(in); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

func TestEnvoyTakesTheBootstrap(t *testing.T) {
	b, err := Find(t.Context(), FindConfig{Named: os.Getenv("MAYFLY_ENVOY"), Fallback: "../../.cache/envoy/envoy"})
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIP: ", err)
	}
	for name, address := range map[string]string{"by address": "127.0.0.1:8444", "by name": "mayflyd.acme.example:8444"} {
		in := config(t)
		in.ControlAddress = address
		text, err := Bootstrap(in)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Fatal("not JSON")
		}
		file := filepath.Join(t.TempDir(), "envoy.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(b.Path, "--mode", "validate", "--config-path", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
