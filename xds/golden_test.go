package xds

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// go test ./xds -run Golden -update rewrites testdata/out and removes what has no
// input any more.
var update = flag.Bool("update", false, "rewrite the golden files")

type goldenApp struct {
	Name        string   `yaml:"name"`
	Kind        string   `yaml:"kind"`
	Hosts       []string `yaml:"hosts"`
	Hop         bool     `yaml:"hop"`
	Upstream    string   `yaml:"upstream"`
	BodyMethods []string `yaml:"body_methods"`
	MaxStream   string   `yaml:"max_stream"`
	Guard       bool     `yaml:"guard"`
	HTTP2       bool     `yaml:"http2"`
	Services    bool     `yaml:"services"`
	People      bool     `yaml:"people"`
	Clients     bool     `yaml:"clients"`
	Identity    []string `yaml:"identity_headers"`
}

type goldenGateway struct {
	ServicesAddress string      `yaml:"services_address"`
	PeopleAddress   string      `yaml:"people_address"`
	ClientsAddress  string      `yaml:"clients_address"`
	PeopleHosts     []string    `yaml:"people_hosts"`
	RunDir          string      `yaml:"run_dir"`
	TrustDomains    []string    `yaml:"trust_domains"`
	Apps            []goldenApp `yaml:"apps"`
}

func readGateway(t *testing.T, file string) Gateway {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var in goldenGateway
	if err := yaml.UnmarshalWithOptions(text, &in, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	g := Gateway{ServicesAddress: netip.MustParseAddrPort(in.ServicesAddress), PeopleHosts: in.PeopleHosts, RunDir: in.RunDir, TrustDomains: in.TrustDomains}
	if in.PeopleAddress != "" {
		g.PeopleAddress = netip.MustParseAddrPort(in.PeopleAddress)
	}
	if in.ClientsAddress != "" {
		g.ClientsAddress = netip.MustParseAddrPort(in.ClientsAddress)
	}
	for _, a := range in.Apps {
		app := App{Name: a.Name, Kind: a.Kind, Hosts: a.Hosts, Hop: a.Hop, BodyMethods: a.BodyMethods, Services: a.Services, People: a.People, Clients: a.Clients, Guard: a.Guard, HTTP2: a.HTTP2, IdentityHeaders: a.Identity}
		if a.Upstream != "" {
			if app.Upstream, err = url.Parse(a.Upstream); err != nil {
				t.Fatal(err)
			}
		}
		if a.MaxStream != "" {
			if app.MaxStream, err = time.ParseDuration(a.MaxStream); err != nil {
				t.Fatal(err)
			}
		}
		g.Apps = append(g.Apps, app)
	}
	return g
}

// goldens returns the inputs by name.
func goldens(t *testing.T) map[string]Gateway {
	t.Helper()
	files, err := filepath.Glob("testdata/in/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	out := map[string]Gateway{}
	for _, f := range files {
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = readGateway(t, f)
	}
	return out
}

func build(t *testing.T, g Gateway) *Snapshot {
	t.Helper()
	s, err := Build(g)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// text is a list of resources as JSON that does not change between runs.
func text[M proto.Message](t *testing.T, list []M) []byte {
	t.Helper()
	parts := make([]json.RawMessage, 0, len(list))
	for _, m := range list {
		b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, b)
	}
	b, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	want := map[string]bool{}
	for name, g := range goldens(t) {
		s := build(t, g)
		for part, got := range map[string][]byte{
			"listeners": text(t, s.Listeners), "routes": text(t, s.Routes), "clusters": text(t, s.Clusters),
		} {
			file := filepath.Join("testdata/out", name+"."+part+".json")
			want[file] = true
			compareGolden(t, file, got)
		}
	}
	have, err := filepath.Glob("testdata/out/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range have {
		if want[f] {
			continue
		}
		if !*update {
			t.Errorf("%s has no input any more; run with -update", f)
		} else if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is built now; look at the change, then run with -update", file)
	}
}

func TestBuildDoesNotDependOnOrder(t *testing.T) {
	g := goldens(t)["mixed"]
	a := build(t, g)
	slices.Reverse(g.Apps)
	b := build(t, g)
	_, va, err := a.cached()
	if err != nil {
		t.Fatal(err)
	}
	_, vb, err := b.cached()
	if err != nil {
		t.Fatal(err)
	}
	if va.String() != vb.String() {
		t.Fatal("the order of apps changes the configuration, and so drains connections for nothing")
	}
}
