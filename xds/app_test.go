package xds

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestBuildRefusesBadInput(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(g *Gateway, a *App)
		want string
	}{
		{"no address", func(g *Gateway, _ *App) { g.ServicesAddress = netip.AddrPort{} }, "services address"},
		{"relative folder", func(g *Gateway, _ *App) { g.RunDir = "run" }, "run directory"},
		{"nobody may call", func(_ *Gateway, a *App) { a.Services = false }, "neither services nor people"},
		{"people without a port", func(g *Gateway, _ *App) { g.PeopleAddress = netip.MustParseAddrPort("127.0.0.1:0") }, "people address"},
		{"both doors at one address", func(g *Gateway, _ *App) { g.PeopleAddress = g.ServicesAddress }, "workloads are there already"},
		{"certificates and no address", func(g *Gateway, _ *App) { g.PeopleHosts = []string{"a.example"} }, "no people address"},
		{"certificate of a wildcard", func(g *Gateway, _ *App) {
			g.PeopleAddress, g.PeopleHosts = netip.MustParseAddrPort("127.0.0.2:28444"), []string{"*.acme.example"}
		}, "people host"},
		{"identity without people", func(_ *Gateway, a *App) { a.IdentityHeaders = []string{"x-auth-user"} }, "people may not call"},
		{"identity in our own header", func(_ *Gateway, a *App) { a.People, a.IdentityHeaders = true, []string{"x-mayfly-user"} }, "identity header"},
		{"identity as a pattern", func(_ *Gateway, a *App) { a.People, a.IdentityHeaders = true, []string{"x-.+"} }, "identity header"},
		{"identity as a host", func(_ *Gateway, a *App) { a.People, a.IdentityHeaders = true, []string{"x-host"} }, "identity header"},
		{"identity in another's header", func(_ *Gateway, a *App) { a.People, a.IdentityHeaders = true, []string{"cookie"} }, "identity header"},
		{"identity twice", func(_ *Gateway, a *App) { a.People, a.IdentityHeaders = true, []string{"x-a", "x-a"} }, "identity header"},
		{"folder with dots", func(g *Gateway, _ *App) { g.RunDir = "/run/../etc" }, "run directory"},
		{"folder too long for a socket", func(g *Gateway, _ *App) { g.RunDir = "/" + strings.Repeat("a", 100) }, "longer than"},
		{"nobody trusted", func(g *Gateway, _ *App) { g.TrustDomains = nil }, "no trust domain"},
		{"app twice", func(g *Gateway, a *App) { g.Apps = append(g.Apps, *a) }, "twice"},
		{"host on two apps", func(g *Gateway, a *App) {
			b := *a
			b.Name = "other"
			g.Apps = append(g.Apps, b)
		}, `"wiki.acme.example" belongs to app "wiki" and to app "other"`},
		{"app without host", func(_ *Gateway, a *App) { a.Hosts = nil }, "no host"},
		{"wildcard host", func(_ *Gateway, a *App) { a.Hosts = []string{"*.acme.example"} }, "exact host"},
		{"host with port", func(_ *Gateway, a *App) { a.Hosts = []string{"a.example:443"} }, "exact host"},
		{"host in capitals", func(_ *Gateway, a *App) { a.Hosts = []string{"Wiki.acme.example"} }, "exact host"},
		{"host with trailing dot", func(_ *Gateway, a *App) { a.Hosts = []string{"wiki.acme.example."} }, "exact host"},
		{"name that could be a path", func(_ *Gateway, a *App) { a.Name = "../hop" }, "a name is"},
		{"no upstream", func(_ *Gateway, a *App) { a.Upstream = nil }, "hop or to an upstream"},
		{"hop and upstream", func(_ *Gateway, a *App) { a.Hop = true }, "hop or to an upstream"},
		{"plain http elsewhere", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "http://192.0.2.1") }, "loopback"},
		{"plain http to a name", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "http://localhost:80") }, "loopback"},
		{"other scheme", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "ftp://127.0.0.1") }, "https or http"},
		{"upstream with a path", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "http://127.0.0.1/x") }, "nothing else"},
		{"upstream with a password", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "http://u:secret@127.0.0.1") }, "nothing else"},
		{"upstream port 0", func(_ *Gateway, a *App) { a.Upstream = mustURL(t, "http://127.0.0.1:0") }, "bad port"},
		{"longer than a day", func(_ *Gateway, a *App) { a.MaxStream = 25 * time.Hour }, "longest request"},
		{"body of CONNECT", func(_ *Gateway, a *App) { a.BodyMethods = []string{"CONNECT"} }, "no body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := goldens(t)["web"]
			c.bad(&g, &g.Apps[0])
			_, err := Build(g)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
