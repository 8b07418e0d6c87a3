package integration

import (
	"crypto/tls"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/xds"
)

const instanceA, instanceB = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

func TestEnvoyAsksAboutEveryRequest(t *testing.T) {
	ca := devtest.CA(t)
	wiki, app := upstream(t, "wiki")
	c := startControl(t, ca, wiki, hopApp())
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	call := newCaller(t, g.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
	call.ready(t, "https://wiki.acme.example/a")
	c.status(t, g.node, "the node is in sync", xds.Status.InSync)

	t.Run("allowed", func(t *testing.T) {
		g.decision.set(false, map[string]string{"x-mayfly-action": "act_ours"})
		a := call.get(t, "https://wiki.acme.example/b?q=1", "x-mayfly-action", "act_theirs", "x-mayfly-app", "other", "x-envoy-upstream-rq-timeout-ms", "1", "x-forwarded-client-cert", "By=me")
		if a.status != 200 || a.text != "hello" {
			t.Fatalf("%d %s", a.status, a.text)
		}
		check := g.decision.last().GetAttributes()
		if got := check.GetSource().GetPrincipal(); got != "spiffe://acme.example/ns/pay/sa/refunder" {
			t.Errorf("ext_authz hears of %q", got)
		}
		if check.GetSource().GetCertificate() == "" || check.GetTlsSession().GetSni() != "wiki.acme.example" {
			t.Error("ext_authz is not shown certificate and server name")
		}
		if got := check.GetRouteMetadataContext().GetFilterMetadata()["mayfly"].GetFields()["app"].GetStringValue(); got != "wiki" {
			t.Errorf("ext_authz is told the app %q", got)
		}
		for _, h := range check.GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			if strings.HasPrefix(h.GetKey(), "x-mayfly-") || h.GetKey() == "x-forwarded-client-cert" || h.GetKey() == "x-envoy-upstream-rq-timeout-ms" {
				t.Errorf("ext_authz sees the caller's %s", h.GetKey())
			}
		}
		if got := app.last().Header.Values("x-mayfly-action"); len(got) != 1 || got[0] != "act_ours" {
			t.Errorf("the app sees action %q", got)
		}
		if got := a.header.Get("x-mayfly-action"); got != "" {
			t.Errorf("the caller sees action %q", got)
		}
	})

	t.Run("denied", func(t *testing.T) {
		g.decision.set(true, nil)
		before := app.count()
		a := call.get(t, "https://wiki.acme.example/c")
		if a.status != 403 || a.text != `{"code":"no_grant"}` {
			t.Errorf("the sidecar's answer was changed: %d %s", a.status, a.text)
		}
		if app.count() != before {
			t.Error("a denied request reached the app")
		}
	})

	t.Run("header that the sidecar may not set", func(t *testing.T) {
		g.decision.set(false, map[string]string{"host": "elsewhere"})
		before := app.count()
		if a := call.get(t, "https://wiki.acme.example/d"); a.status != 500 || a.body["code"] != "internal" || app.count() != before {
			t.Errorf("%d %s", a.status, a.text)
		}
	})

	t.Run("TestP3_deadline", func(t *testing.T) {
		g.decision.set(false, map[string]string{"grpc-timeout": "200m"})
		began := time.Now()
		a := call.get(t, "https://wiki.acme.example/hang", "grpc-timeout", "1H")
		if took := time.Since(began); a.status != 504 || a.body["code"] != "timeout" || took < 150*time.Millisecond || took > 5*time.Second {
			t.Errorf("after %s: %d %s", took, a.status, a.text)
		}
		if got := app.last().Header.Get("grpc-timeout"); got != "" {
			t.Errorf("the app sees grpc-timeout %q", got)
		}
	})

	t.Run("unknown host", func(t *testing.T) {
		g.decision.set(false, nil)
		a := call.get(t, "https://nobody.acme.example/")
		if a.status != 404 || a.header.Get("content-type") != "application/problem+json" || a.body["code"] != "unknown_app" || a.body["request_id"] == "" {
			t.Errorf("%d %v %s", a.status, a.header, a.text)
		}
	})

	t.Run("through the hop", func(t *testing.T) {
		g.decision.set(false, map[string]string{"x-mayfly-action": "act_ours"})
		call := newCaller(t, g.address, "stripe.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
		a, err := call.do(t.Context(), "POST", "https://stripe.acme.example/v1/refunds", strings.NewReader("charge=ch_1\xff&amount=5"))
		if err != nil || a.status != 200 {
			t.Fatalf("%v %d %s", err, a.status, a.text)
		}
		if got := g.decision.last().GetAttributes().GetRequest().GetHttp().GetRawBody(); string(got) != "charge=ch_1\xff&amount=5" {
			t.Errorf("ext_authz is shown the body %q", got)
		}
		if got := header(g.decision.last(), "x-envoy-auth-partial-body"); got != "false" {
			t.Errorf("ext_authz is told partial=%q of a whole body", got)
		}
		if g.hop.last().Header.Get("x-mayfly-action") != "act_ours" {
			t.Error("the hop is not told the action")
		}
		// When the last frame crosses the limit, Envoy 1.40 does not refuse but asks
		// with a part and says so: the sidecar must deny that.
		if _, err = call.do(t.Context(), "POST", "https://stripe.acme.example/v1/refunds", strings.NewReader(strings.Repeat("a", xds.MaxBody+1))); err != nil {
			t.Fatal(err)
		}
		if got := header(g.decision.last(), "x-envoy-auth-partial-body"); got != "true" {
			t.Errorf("ext_authz is shown part of a body and told %q", got)
		}
		before := g.decision.count()
		a, err = call.do(t.Context(), "POST", "https://stripe.acme.example/v1/refunds", strings.NewReader(strings.Repeat("a", 4*xds.MaxBody)))
		if err != nil || a.status != 413 {
			t.Fatalf("%v %d %s", err, a.status, a.text)
		}
		if e, _ := a.body["error"].(map[string]any); e["code"] != "body_too_large" || e["request_id"] == "" || e["type"] != "invalid_request_error" {
			t.Errorf("not Stripe's error shape: %s", a.text)
		}
		if g.decision.count() != before {
			t.Error("ext_authz was asked about half a body")
		}
	})

	t.Run("outcomes are logged", func(t *testing.T) {
		eventually(t, "the access log", func() error {
			g.decision.mu.Lock()
			defer g.decision.mu.Unlock()
			var seen []string
			for _, e := range g.decision.http {
				seen = append(seen, fmt.Sprint(e.GetResponse().GetResponseCode().GetValue(), " ", e.GetResponse().GetResponseCodeDetails()))
			}
			for _, want := range []string{"200 via_upstream", "403 ext_authz_denied", "413 request_payload_too_large", "404 direct_response"} {
				if !strings.Contains(strings.Join(seen, "\n"), want) {
					return fmt.Errorf("no %q among %q", want, seen)
				}
			}
			return nil
		})
	})
}

// header returns what ext_authz was shown of a header.
func header(r *authv3.CheckRequest, name string) string {
	var out []string
	for _, h := range r.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.GetKey() == name {
			out = append(out, string(h.GetRawValue())+h.GetValue())
		}
	}
	return strings.Join(out, ",")
}

func TestEnvoyRefusesStrangers(t *testing.T) {
	ca := devtest.CA(t)
	wiki, app := upstream(t, "wiki")
	c := startControl(t, ca, wiki)
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	good := clientTLS(t, ca, "/ns/pay/sa/refunder")
	newCaller(t, g.address, "wiki.acme.example", good).ready(t, "https://wiki.acme.example/")
	before := g.decision.count()

	bad, err := ca.Bad(devtest.ID(t, "/ns/pay/sa/refunder"))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, b := range bad {
		config := good.Clone()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &b.Cert, nil }
		a, err := newCaller(t, g.address, "wiki.acme.example", config).do(t.Context(), "GET", "https://wiki.acme.example/", nil)
		if err != nil {
			refused++
			continue
		}
		// Envoy takes some that SPIFFE forbids, so it must show them to the sidecar.
		if g.decision.last().GetAttributes().GetSource().GetCertificate() == "" {
			t.Errorf("%s: passed Envoy (%d) and the sidecar was not shown the certificate", b.Name, a.status)
		}
		t.Logf("left to the sidecar: %s", b.Name)
	}
	if refused == 0 {
		t.Error("Envoy refuses no bad certificate")
	}

	seen := g.decision.count()
	none := good.Clone()
	none.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	if a, err := newCaller(t, g.address, "wiki.acme.example", none).do(t.Context(), "GET", "https://wiki.acme.example/", nil); err == nil {
		t.Errorf("no certificate: %d", a.status)
	}
	if a, err := newCaller(t, g.address, "nobody.acme.example", good).do(t.Context(), "GET", "https://wiki.acme.example/", nil); err == nil {
		t.Errorf("unknown server name: %d", a.status)
	}
	if g.decision.count() != seen || app.count() > seen-before+1 {
		t.Error("a refused connection made a request")
	}
	eventually(t, "refused connections in the log", func() error {
		g.decision.mu.Lock()
		defer g.decision.mu.Unlock()
		var reasons []string
		unknown := false
		for _, e := range g.decision.tcp {
			reasons = append(reasons, e.GetCommonProperties().GetDownstreamTransportFailureReason())
			unknown = unknown || e.GetCommonProperties().GetResponseFlags().GetNoRouteFound()
		}
		if all := strings.Join(reasons, "\n"); !unknown || !strings.Contains(all, "PEER_DID_NOT_RETURN_A_CERTIFICATE") || !strings.Contains(all, "certificate has expired") {
			return fmt.Errorf("unknown server name logged: %v; reasons %q", unknown, reasons)
		}
		return nil
	})
}

func TestNewAppIsRoutableWithinASecond(t *testing.T) {
	ca := devtest.CA(t)
	wiki, _ := upstream(t, "wiki")
	docs, _ := upstream(t, "docs")
	c := startControl(t, ca, wiki)
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	config := clientTLS(t, ca, "/ns/pay/sa/refunder")
	old := newCaller(t, g.address, "wiki.acme.example", config)
	old.ready(t, "https://wiki.acme.example/")
	pid := g.envoy.PID()

	began := time.Now()
	c.commit(t, wiki, docs)
	newCaller(t, g.address, "docs.acme.example", config).ready(t, "https://docs.acme.example/")
	if took := time.Since(began); took > time.Second {
		t.Errorf("routable after %s", took)
	}
	if g.envoy.PID() != pid {
		t.Error("Envoy was restarted")
	}
	if a := old.get(t, "https://wiki.acme.example/"); a.status != 200 {
		t.Errorf("the old app: %d", a.status)
	}

	c.commit(t, docs)
	eventually(t, "the old app is gone", func() error {
		a, err := newCaller(t, g.address, "wiki.acme.example", config).do(t.Context(), "GET", "https://wiki.acme.example/", nil)
		if err == nil {
			return fmt.Errorf("it answers %d", a.status)
		}
		return nil
	})
	c.status(t, g.node, "the node is in sync", xds.Status.InSync)
}

func TestRefusedConfigurationShows(t *testing.T) {
	ca := devtest.CA(t)
	wiki, _ := upstream(t, "wiki")
	c := startControl(t, ca, wiki)
	address := freeAddress(t)
	a := startGateway(t, c, gatewayConfig{node: instanceA, address: address})
	call := newCaller(t, a.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
	call.ready(t, "https://wiki.acme.example/")
	applied := c.status(t, a.node, "the first node is in sync", xds.Status.InSync)

	// The second process cannot share the port: without reuse_port its bind fails.
	b := startGateway(t, c, gatewayConfig{node: instanceB, address: address})
	s := c.status(t, b.node, "a NACK", func(s xds.Status) bool { return s.NACK != "" })
	if !strings.Contains(s.NACK, "ddress") || s.NACKAt.IsZero() || s.InSync() {
		t.Errorf("the NACK says %q", s.NACK)
	}

	// A configuration that cannot be built is not sent, and the last one serves.
	broken := wiki
	broken.Hosts = []string{"*.acme.example"}
	c.commit(t, broken)
	s = c.status(t, a.node, "a problem", func(s xds.Status) bool { return s.Problem != "" })
	if !strings.Contains(s.Problem, `"*.acme.example"`) || s.Applied != applied.Applied {
		t.Errorf("status %+v", s)
	}
	if got := call.get(t, "https://wiki.acme.example/"); got.status != 200 {
		t.Errorf("the last good configuration: %d", got.status)
	}
	c.commit(t, wiki)
	c.status(t, a.node, "the problem is gone", xds.Status.InSync)
}

func TestKilledEnvoyComesBack(t *testing.T) {
	ca := devtest.CA(t)
	wiki, _ := upstream(t, "wiki")
	c := startControl(t, ca, wiki)
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	call := newCaller(t, g.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
	for range 2 {
		call.ready(t, "https://wiki.acme.example/")
		pid := g.envoy.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another Envoy", func() error {
			if now := g.envoy.PID(); now == 0 || now == pid {
				return fmt.Errorf("pid %d", now)
			}
			return nil
		})
	}
	call.ready(t, "https://wiki.acme.example/")
	c.status(t, g.node, "the node is in sync", xds.Status.InSync)
}

func TestEnvoyFollowsRotation(t *testing.T) {
	ca := devtest.CA(t)
	wiki, _ := upstream(t, "wiki")
	c := startControl(t, ca, wiki)
	id := &rotating{changed: make(chan struct{})}
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t), identity: id})
	seen := make(chan string, 100)
	config := clientTLS(t, ca, "/ns/pay/sa/refunder")
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		seen <- cs.PeerCertificates[0].SerialNumber.String()
		return nil
	}
	handshake := func() string {
		newCaller(t, g.address, "wiki.acme.example", config).ready(t, "https://wiki.acme.example/")
		for {
			select {
			case newest := <-seen:
				if len(seen) == 0 {
					return newest
				}
			default:
				t.Fatal("no handshake")
			}
		}
	}
	want := id.rotate(t, ca) // Envoy runs already and waited for its first certificate
	if got := handshake(); got != want {
		t.Errorf("serial %s, want %s", got, want)
	}
	want = id.rotate(t, ca)
	eventually(t, "the new certificate", func() error {
		if got := handshake(); got != want {
			return fmt.Errorf("serial %s", got)
		}
		return nil
	})
	if s := c.status(t, g.node, "the node is in sync", xds.Status.InSync); !s.Connected {
		t.Error("rotation cost the ADS stream")
	}
}

func TestEnvoyTalksToNoOtherControlPlane(t *testing.T) {
	ca := devtest.CA(t)
	wiki, _ := upstream(t, "wiki")
	c := startControl(t, ca, wiki)
	impostor := startControlAs(t, ca, "/gw/listener", wiki) // our trust domain, not mayflyd
	good := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	bad := startGateway(t, impostor, gatewayConfig{node: instanceB, address: freeAddress(t)})
	newCaller(t, good.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder")).ready(t, "https://wiki.acme.example/")
	eventually(t, "a refused handshake", func() error {
		text, err := admin(t, bad, "/stats?filter=fail_verify_san")
		if err != nil {
			return err
		}
		if !strings.Contains(text, "cluster.mayflyd.ssl.fail_verify_san: ") || strings.Contains(text, "fail_verify_san: 0") {
			return fmt.Errorf("stats are %q", text)
		}
		return nil
	})
	if got := impostor.xds.Statuses(); len(got) != 0 {
		t.Errorf("Envoy asked the impostor: %+v", got)
	}
	for _, path := range []string{"/config_dump", "/quitquitquit", "/certs", "/logging?level=debug", "/ready?x=1"} {
		if text, err := admin(t, good, path); err == nil {
			t.Errorf("admin answers %s: %.100s", path, text)
		}
	}
}
