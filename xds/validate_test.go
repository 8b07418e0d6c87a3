package xds

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// envoyBinary returns an Envoy to validate with, or skips.
func envoyBinary(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("MAYFLY_ENVOY"), "envoy", "../.cache/envoy/envoy"} {
		if p == "" {
			continue
		}
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatal("no Envoy: run `make envoy`")
	}
	t.Skip("SKIP: no Envoy to validate with: run `make envoy`")
	return ""
}

// static puts a snapshot into a bootstrap, routes inside the listeners, so that
// Envoy reads all of it without a control plane.
func static(t *testing.T, s *Snapshot) []byte {
	t.Helper()
	b := &builder{}
	for i, l := range s.Listeners {
		for _, c := range l.FilterChains {
			var m hcmv3.HttpConnectionManager
			if err := c.Filters[0].GetTypedConfig().UnmarshalTo(&m); err != nil {
				t.Fatal(err)
			}
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: s.Routes[i]}
			c.Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: b.any(&m)}
		}
	}
	sds := pipeCluster(clusterSDS, t.TempDir(), "sds.sock")
	sds.TypedExtensionProtocolOptions = s.Clusters[0].TypedExtensionProtocolOptions
	text, err := protojson.Marshal(&bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "validate", Cluster: "mayfly"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: s.Listeners, Clusters: append([]*clusterv3.Cluster{sds}, s.Clusters...)},
	})
	if err != nil || b.err != nil {
		t.Fatal(err, b.err)
	}
	return text
}

func validate(t *testing.T, envoy string, bootstrap []byte) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoy, "--mode", "validate", "--config-path", file, "--log-level", "warning")
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
	}
	return err
}

func TestEnvoyTakesEveryGolden(t *testing.T) {
	envoy := envoyBinary(t)
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			if err := validate(t, envoy, static(t, build(t, g))); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("not a bad one", func(t *testing.T) {
		s := build(t, goldens(t)["web"])
		s.Routes[0].VirtualHosts[0].Domains = []string{"a.example", "a.example"}
		if validate(t, envoy, static(t, s)) == nil {
			t.Error("the test would not see a bad configuration")
		}
	})
}
