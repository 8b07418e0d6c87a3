package integration

import (
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// clientsAddress is free on a loopback address that nobody else uses.
func clientsAddress(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), freeAddress(t).Port())
}

// removing is what the sidecar says of a token of ours: go on, without it.
func removing(headers ...string) *authv3.CheckResponse {
	out := sidecarAllows(map[string]string{"x-mayfly-assertion": "ours"})
	out.GetOkResponse().HeadersToRemove = headers
	return out
}

func TestClientsComeInByTheirOwnDoor(t *testing.T) {
	ca := devtest.CA(t)
	seen := &recorder{}
	wiki := peopleApp(t, "wiki", seen)
	wiki.People, wiki.Clients, wiki.Services = false, true, true
	board := peopleApp(t, "board", seen) // takes people alone
	cookies := peopleApp(t, "cookies", raw(map[string]string{"/set": "HTTP/1.1 200 OK\r\nset-cookie: __Host-mayfly=x; Path=/; Secure\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"}))
	cookies.Clients = true
	c := startControl(t, ca, wiki, board, cookies)
	web, _ := webCertificates(t, ca, "wiki.acme.example", "board.acme.example", "cookies.acme.example")
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t), clients: clientsAddress(t), web: web})
	client := visitor(t, ca, g.clients, "wiki.acme.example", "h2")
	client.ready(t, "https://wiki.acme.example/")
	workload := newCaller(t, g.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
	workload.ready(t, "https://wiki.acme.example/")

	t.Run("the route says the door, and headers come whole", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		client.get(t, "https://wiki.acme.example/", "authorization", "DPoP a.b.c", "dpop", "d.e.f", "x-mayfly-door", "services")
		check := g.decision.last().GetAttributes()
		if got := check.GetRouteMetadataContext().GetFilterMetadata()["mayfly"].GetFields()["door"].GetStringValue(); got != "clients" {
			t.Errorf("ext_authz is told the door %q", got)
		}
		if check.GetSource().GetCertificate() != "" {
			t.Error("a certificate is shown")
		}
		if told := headerOf(check, "authorization") + " " + headerOf(check, "dpop"); told != "DPoP a.b.c d.e.f" {
			t.Errorf("ext_authz is told %q", told)
		}
	})

	t.Run("neither token nor proof reaches the app, and nobody forges who calls", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return removing("authorization", "dpop") })
		for door, call := range map[string]caller{"clients": client, "services": workload} {
			a := call.get(t, "https://wiki.acme.example/", "authorization", "DPoP a.b.c", "dpop", "d.e.f", "x-mayfly-assertion", "forged")
			h := seen.last().Header
			if a.status != 200 || len(h.Values("authorization")) != 0 || len(h.Values("dpop")) != 0 || strings.Join(h.Values("x-mayfly-assertion"), ",") != "ours" {
				t.Errorf("%s: %d, the app is told %v", door, a.status, h)
			}
		}
	})

	t.Run("apps set no cookie of ours", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		a := visitor(t, ca, g.clients, "cookies.acme.example", "h2").get(t, "https://cookies.acme.example/set")
		if got := strings.Join(a.header.Values("set-cookie"), "; "); got != "a=b" {
			t.Errorf("cookies %q", got)
		}
	})

	t.Run("strangers", func(t *testing.T) {
		for _, sni := range []string{"nobody.acme.example", "board.acme.example"} {
			if a, err := visitor(t, ca, g.clients, sni, "h2").do(t.Context(), "GET", "https://"+sni+"/", nil); err == nil {
				t.Errorf("%s: %d", sni, a.status)
			}
		}
	})
}

// headerOf is one header as ext_authz is told it.
func headerOf(a *authv3.AttributeContext, name string) string {
	for _, h := range a.GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.GetKey() == name {
			return textOf(h)
		}
	}
	return ""
}

func textOf(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}
