package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mayflyproxy/mayfly/proxy/envoy"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
	"github.com/mayflyproxy/mayfly/test/env"
	"github.com/mayflyproxy/mayfly/xds"
)

// webFiles are the certificate files of some hosts, which the test replaces.
type webFiles struct {
	ca        *dev.CA
	hosts     []string
	cert, key string
}

// mint writes a new certificate for the hosts and returns its serial number.
func (w webFiles) mint(t testing.TB) string {
	t.Helper()
	c, err := w.ca.Mint(dev.Template{DNS: w.hosts, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := dev.PEM(c)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{w.cert: chain, w.key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c.Leaf.SerialNumber.String()
}

// webCertificates returns certificates for the hosts, and their files.
func webCertificates(t testing.TB, ca *dev.CA, hosts ...string) (*envoy.WebCertificates, webFiles) {
	t.Helper()
	dir := t.TempDir()
	files := webFiles{ca, hosts, filepath.Join(dir, "web.crt"), filepath.Join(dir, "web.key")}
	files.mint(t)
	web, err := envoy.NewWebCertificates(envoy.WebConfig{
		Certificates: []envoy.WebCertificate{{Hosts: hosts, Cert: files.cert, Key: files.key}}, Every: 50 * time.Millisecond, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return web, files
}

// peopleAddress is free on a loopback address that services do not use.
func peopleAddress(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freeAddress(t).Port())
}

// browser has no certificate, trusts the CA and keeps no cookies.
func visitor(t testing.TB, ca *dev.CA, address, sni, protocol string) caller {
	t.Helper()
	roots := x509.NewCertPool()
	for _, c := range ca.Roots() {
		roots.AddCert(c)
	}
	c := newCaller(t, address, sni, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{protocol}})
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if protocol == "http/1.1" {
		c.Transport.(*http.Transport).TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return c
}

// peopleApp takes people; its answers are written by the test, to the letter.
func peopleApp(t testing.TB, name string, handle http.Handler) xds.App {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handle}
	serve(t, func() error { return s.Serve(l) }, func() { s.Close() })
	u, err := url.Parse("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return xds.App{Name: name, Kind: "web", Hosts: []string{name + ".acme.example"}, Upstream: u, People: true}
}

// raw answers a path with what is written there, byte for byte, and stays on the
// connection: one that it closed without a word would race with the next request
// that Envoy sends there.
func raw(answers map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		for err == nil {
			text, ok := answers[r.URL.Path]
			if !ok {
				text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
			}
			io.WriteString(conn, text)
			if r, err = http.ReadRequest(buffered.Reader); err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
		}
	})
}

// sidecarAllows and sidecarAnswers are what the sidecar says, with its metadata.
func sidecarAllows(headers map[string]string) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for k, v := range headers {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: k, Value: v}})
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}, DynamicMetadata: said("action", "act_1"),
	}
}

func sidecarAnswers(status typev3.StatusCode, cookies ...string) *authv3.CheckResponse {
	no := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: status}, Body: "ours"}
	for _, c := range cookies {
		no.Headers = append(no.Headers, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: "set-cookie", Value: c}, AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no}, DynamicMetadata: said("reason", "no_identity"),
	}
}

func said(key, value string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}
}

func (d *decider) say(answer func(*authv3.CheckRequest) *authv3.CheckResponse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func TestPeopleComeInByTheirOwnDoor(t *testing.T) {
	ca := devtest.CA(t)
	seen := &recorder{}
	wiki := peopleApp(t, "wiki", seen)
	wiki.Services, wiki.IdentityHeaders = true, []string{"x-auth-user"}
	board := peopleApp(t, "board", seen)
	board.Hosts = append(board.Hosts, "kanban.acme.example")
	reports, _ := upstream(t, "reports")
	c := startControl(t, ca, wiki, board, reports)
	web, files := webCertificates(t, ca, "wiki.acme.example", "board.acme.example", "reports.acme.example")
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t), people: peopleAddress(t), web: web})
	browse := visitor(t, ca, g.people, "wiki.acme.example", "h2")
	browse.ready(t, "https://wiki.acme.example/")
	workload := newCaller(t, g.address, "wiki.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder"))
	workload.ready(t, "https://wiki.acme.example/")

	t.Run("the route says the door", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		for door, call := range map[string]caller{"people": browse, "services": workload} {
			call.get(t, "https://wiki.acme.example/", "x-mayfly-door", "services", "cookie", "__Host-mayfly=x")
			check := g.decision.last().GetAttributes()
			fields := check.GetRouteMetadataContext().GetFilterMetadata()["mayfly"].GetFields()
			if got := fields["door"].GetStringValue(); got != door || fields["app"].GetStringValue() != "wiki" {
				t.Errorf("ext_authz is told the door %q, want %q", got, door)
			}
			if with := check.GetSource().GetCertificate() != ""; with != (door == "services") {
				t.Errorf("%s: a certificate is shown: %v", door, with)
			}
		}
	})

	t.Run("nobody forges who calls", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		for door, call := range map[string]caller{"people": browse, "services": workload} {
			call.get(t, "https://wiki.acme.example/", "x-auth-user", "bob")
			if got := seen.last().Header.Values("x-auth-user"); len(got) != 0 {
				t.Errorf("%s: the app is told %q", door, got)
			}
		}
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse {
			return sidecarAllows(map[string]string{"x-auth-user": "alice", "cookie": "theme=dark"})
		})
		if a := browse.get(t, "https://wiki.acme.example/", "x-auth-user", "bob", "cookie", "__Host-mayfly=x; theme=dark"); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.text)
		}
		if got := seen.last().Header; strings.Join(got.Values("x-auth-user"), ",") != "alice" || strings.Join(got.Values("cookie"), "; ") != "theme=dark" {
			t.Errorf("the app is told %q, cookies %q", got.Values("x-auth-user"), got.Values("cookie"))
		}
		before := seen.count()
		if a := workload.get(t, "https://wiki.acme.example/"); a.status != 500 {
			t.Errorf("an identity header at the services door: %d %s", a.status, a.text)
		}
		other := visitor(t, ca, g.people, "board.acme.example", "h2")
		if a := other.get(t, "https://board.acme.example/"); a.status != 500 || seen.count() != before {
			t.Errorf("another app's identity header: %d %s", a.status, a.text)
		}
	})

	t.Run("strangers", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		for _, sni := range []string{"nobody.acme.example", "kanban.acme.example", "reports.acme.example", "a.wiki.acme.example"} {
			if a, err := visitor(t, ca, g.people, sni, "h2").do(t.Context(), "GET", "https://"+sni+"/", nil); err == nil {
				t.Errorf("%s: %d", sni, a.status)
			}
		}
		if a := browse.get(t, "https://nobody.acme.example/"); a.status != 404 || a.body["code"] != "unknown_app" || a.body["request_id"] == "" {
			t.Errorf("an unknown host on a known connection: %d %s", a.status, a.text)
		}
		if a, err := newCaller(t, g.address, "board.acme.example", clientTLS(t, ca, "/ns/pay/sa/refunder")).do(t.Context(), "GET", "https://board.acme.example/", nil); err == nil {
			t.Errorf("a workload at an app for people: %d", a.status)
		}
		old := visitor(t, ca, g.people, "wiki.acme.example", "h2")
		old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
		if a, err := old.do(t.Context(), "GET", "https://wiki.acme.example/", nil); err == nil {
			t.Errorf("TLS 1.2: %d", a.status)
		}
	})

	t.Run("hosts without a certificate show", func(t *testing.T) {
		s := c.status(t, g.node, "the node is in sync", xds.Status.InSync)
		if !slices.Equal(s.Uncovered, []string{"kanban.acme.example"}) {
			t.Errorf("uncovered: %q", s.Uncovered)
		}
	})

	t.Run("a renewed certificate", func(t *testing.T) {
		want := files.mint(t)
		eventually(t, "the new certificate", func() error {
			roots := x509.NewCertPool()
			roots.AddCert(ca.Roots()[0])
			conn, err := tls.Dial("tcp", g.people, &tls.Config{ServerName: "wiki.acme.example", RootCAs: roots, MinVersion: tls.VersionTLS13})
			if err != nil {
				return err
			}
			defer conn.Close()
			if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != want {
				return fmt.Errorf("serial %s", got)
			}
			return nil
		})
	})
}

// The whole product: what policy and the sidecar's file say opens the door.
func TestTheProductOpensADoorForPeople(t *testing.T) {
	p := theProduct(t)
	before := len(p.Wiki.Arrivals())
	a := visitor(t, p.CA, p.gw.People, env.WikiHost, "h2").get(t, "https://"+env.WikiHost+"/page", "accept", "text/html")
	if a.status == http.StatusOK || a.status >= 500 {
		t.Errorf("without a session: %d %s", a.status, a.text)
	}
	for _, sni := range []string{env.ReportsHost, "nobody.acme.example"} {
		if a, err := visitor(t, p.CA, p.gw.People, sni, "h2").do(t.Context(), "GET", "https://"+sni+"/", nil); err == nil {
			t.Errorf("%s: %d", sni, a.status)
		}
	}
	if a, err := p.as(t, "refunder", p.gw).do(t.Context(), "GET", "https://"+env.WikiHost+"/page", nil); err == nil {
		t.Errorf("a workload at an app for people: %d", a.status)
	}
	if n := len(p.Wiki.Arrivals()) - before; n != 0 {
		t.Errorf("%d requests reached the wiki", n)
	}
}

const crlf = "\r\n"

// answersWithCookies are answers of an app that is not to be trusted with cookies.
func answersWithCookies() map[string]string {
	return map[string]string{
		"/plain": "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: __Host-mayfly=evil; Path=/; Secure\r\nX-A: 1\r\n" +
			"Set-Cookie: b=2\r\nSet-Cookie: __HOST-Mayfly-login=evil\r\nSet-Cookie: c=__Host-mayfly\r\nContent-Length: 2\r\n\r\nok",
		"/lower":     "HTTP/1.1 200 OK\r\nset-cookie: __host-mayfly=evil\r\nSET-COOKIE: __hOsT-mAyFlY-console=evil\r\nContent-Length: 2\r\n\r\nok",
		"/odd":       "HTTP/1.1 200 OK\r\nSet-Cookie: \t __Host-mayfly =evil\r\nSet-Cookie: =__Host-mayfly=evil\r\nSet-Cookie: __Host-mayfly\r\nSet-Cookie: x-__Host-mayfly=1\r\nContent-Length: 2\r\n\r\nok",
		"/control":   "HTTP/1.1 200 OK\r\nSet-Cookie: \x01__Host-mayfly=evil\r\nContent-Length: 2\r\n\r\nok",
		"/none":      "HTTP/1.1 200 OK\r\nSet-Cookie: a=\xff\xfe; b\r\nSet-Cookie:\r\nContent-Length: 2\r\n\r\nok",
		"/204":       "HTTP/1.1 204 No Content\r\nSet-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\n\r\n",
		"/304":       "HTTP/1.1 304 Not Modified\r\nSet-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\n\r\n",
		"/302":       "HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n",
		"/500":       "HTTP/1.1 500 No\r\nSet-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n",
		"/forged":    "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-mayfly=evil\r\nX-Mayfly-Reason: no_identity\r\nX-Envoy-Auth: 1\r\nreason: x\r\nContent-Length: 0\r\n\r\n",
		"/hints":     "HTTP/1.1 103 Early Hints\r\nSet-Cookie: __Host-mayfly=evil\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok",
		"/continue":  "HTTP/1.1 100 Continue\r\nSet-Cookie: __Host-mayfly=evil\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok",
		"/trailers":  "HTTP/1.1 200 OK\r\nTrailer: Set-Cookie\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: __Host-mayfly=evil\r\n\r\n",
		"/many":      "HTTP/1.1 200 OK\r\n" + strings.Repeat("Set-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\n", 40) + "Content-Length: 0\r\n\r\n",
		"/switching": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSet-Cookie: __Host-mayfly=evil\r\n\r\n",
		"/stream":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: __Host-mayfly=evil\r\nSet-Cookie: a=1\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
	}
}

// A cookie of ours that an app could set would be a session of the app's choice.
func TestAppsCannotSetOurCookies(t *testing.T) {
	ca := devtest.CA(t)
	wiki := peopleApp(t, "wiki", raw(answersWithCookies()))
	c := startControl(t, ca, wiki)
	web, _ := webCertificates(t, ca, "wiki.acme.example")
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t), people: peopleAddress(t), web: web})
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			call := visitor(t, ca, g.people, "wiki.acme.example", protocol)
			g.decision.say(nil)
			call.ready(t, "https://wiki.acme.example/")
			g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
			for path, want := range map[string][]string{
				"/plain": {"a=1; Path=/", "b=2", "c=__Host-mayfly"}, "/lower": nil, "/odd": {"x-__Host-mayfly=1"}, "/control": nil, "/none": {"a=\xff\xfe; b", ""},
				"/204": {"a=1"}, "/304": {"a=1"}, "/302": {"a=1"}, "/500": {"a=1"}, "/forged": nil, "/hints": {"a=1"}, "/continue": {"a=1"},
				"/trailers": {"a=1"}, "/many": slices.Repeat([]string{"a=1"}, 40), "/stream": {"a=1"},
			} {
				a := call.get(t, "https://wiki.acme.example"+path)
				if got := a.header.Values("set-cookie"); !slices.Equal(got, want) {
					t.Errorf("%s (%d): %q, want %q", path, a.status, got, want)
				}
				if path == "/plain" && (a.header.Get("x-a") != "1" || a.text != "ok") || path == "/stream" && a.text != "onetwo" {
					t.Errorf("%s: the rest of the answer changed: %q %q", path, a.header, a.text)
				}
			}
			// Without word of the sidecar, and with the sidecar's word for both, it is the app's.
			for name, meta := range map[string]*structpb.Struct{"nothing": nil, "both": {Fields: map[string]*structpb.Value{
				"action": structpb.NewStringValue("a"), "reason": structpb.NewStringValue("r"),
			}}} {
				g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse {
					r := sidecarAllows(nil)
					r.DynamicMetadata = meta
					return r
				})
				if got := call.get(t, "https://wiki.acme.example/plain").header.Values("set-cookie"); len(got) != 3 {
					t.Errorf("%s said: %q", name, got)
				}
			}
			a, err := call.do(t.Context(), "POST", "https://wiki.acme.example/continue", strings.NewReader("x"), "expect", "100-continue")
			if got := a.header.Values("set-cookie"); err != nil || !slices.Equal(got, []string{"a=1"}) {
				t.Errorf("100-continue: %q, %v", got, err)
			}
		})
	}
	t.Run("on the wire", func(t *testing.T) {
		g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAllows(nil) })
		for path := range answersWithCookies() {
			got := strings.ToLower(wire(t, ca, g.people, path))
			if !strings.HasPrefix(got, "http/1.1 ") || strings.Contains(got, "evil") {
				t.Errorf("%s: %q", path, got)
			}
		}
	})
	t.Run("the sidecar's own", func(t *testing.T) {
		own := []string{"__Host-mayfly=s; Path=/; Secure; HttpOnly; SameSite=Lax", "__Host-mayfly-login=; Max-Age=0", "__Host-mayfly-login=z"}
		for _, status := range []typev3.StatusCode{typev3.StatusCode_Found, typev3.StatusCode_SeeOther, typev3.StatusCode_Unauthorized, typev3.StatusCode_Forbidden} {
			g.decision.say(func(*authv3.CheckRequest) *authv3.CheckResponse { return sidecarAnswers(status, own...) })
			for _, protocol := range []string{"http/1.1", "h2"} {
				a := visitor(t, ca, g.people, "wiki.acme.example", protocol).get(t, "https://wiki.acme.example/plain")
				if got := a.header.Values("set-cookie"); a.status != int(status) || !slices.Equal(got, own) || a.text != "ours" {
					t.Errorf("%s: %d %q %q", protocol, a.status, got, a.text)
				}
			}
		}
	})
	t.Run("script errors", func(t *testing.T) {
		text, err := admin(t, g, "/stats?filter=lua.errors")
		if err != nil || strings.TrimSpace(text) != "http.people_wiki.lua.errors: 0" {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// wire returns all bytes of the answer to GET path over HTTP/1.1.
func wire(t testing.TB, ca *dev.CA, address, path string) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.Roots()[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: "wiki.acme.example", RootCAs: roots, NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1"+crlf+"Host: wiki.acme.example"+crlf+"TE: trailers"+crlf+"Connection: close"+crlf+crlf); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && len(got) == 0 {
		t.Fatal(err)
	}
	return string(got)
}
