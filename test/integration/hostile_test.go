package integration

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// Every request below is sent while the sidecar denies all. Whatever Envoy makes
// of it, no app sees it, and the answer is the sidecar's or has a reason and an id.
func TestP2_NothingReachesTheAppUnasked(t *testing.T) {
	ca := devtest.CA(t)
	wiki, app := upstream(t, "wiki")
	c := startControl(t, ca, wiki, hopApp())
	g := startGateway(t, c, gatewayConfig{node: instanceA, address: freeAddress(t)})
	config := clientTLS(t, ca, "/ns/pay/sa/refunder")
	newCaller(t, g.address, "wiki.acme.example", config).ready(t, "https://wiki.acme.example/")
	g.decision.set(true, nil)
	before := app.count()
	const host = "Host: wiki.acme.example\r\n"
	for name, raw := range map[string]string{
		"plain":                   "GET / HTTP/1.1\r\n" + host + "\r\n",
		"HTTP/1.0":                "GET / HTTP/1.0\r\n" + host + "\r\n",
		"no host":                 "GET / HTTP/1.1\r\n\r\n",
		"two hosts":               "GET / HTTP/1.1\r\n" + host + "Host: other\r\n\r\n",
		"other host":              "GET / HTTP/1.1\r\nHost: stripe.acme.example\r\n\r\n",
		"host with port and dot":  "GET / HTTP/1.1\r\nHost: wiki.acme.example.:443\r\n\r\n",
		"absolute form":           "GET http://wiki.acme.example/ HTTP/1.1\r\nHost: other\r\n\r\n",
		"asterisk":                "OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"connect":                 "CONNECT wiki.acme.example:443 HTTP/1.1\r\n" + host + "\r\n",
		"connect to the upstream": "CONNECT " + wiki.Upstream.Host + " HTTP/1.1\r\nHost: " + wiki.Upstream.Host + "\r\n\r\n",
		"websocket":               "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"h2c":                     "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"length and chunks":       "POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n",
		"two lengths":             "POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nContent-Length: 50\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n",
		"bad chunk":               "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n4;\nx\r\nabcd\r\n0\r\n\r\n",
		"pipelined":               "GET /1 HTTP/1.1\r\n" + host + "\r\nGET /2 HTTP/1.1\r\n" + host + "\r\n",
		"escaped slash":           "GET /a%2f..%2fb HTTP/1.1\r\n" + host + "\r\n",
		"dots":                    "GET /../../x HTTP/1.1\r\n" + host + "\r\n",
		"NUL in path":             "GET /%00 HTTP/1.1\r\n" + host + "\r\n",
		"not UTF-8":               "GET / HTTP/1.1\r\n" + host + "X-A: \xff\xfe\r\n\r\n",
		"underscore twin":         "GET / HTTP/1.1\r\n" + host + "X_Mayfly_Action: act_1\r\n\r\n",
		"folded header":           "GET / HTTP/1.1\r\n" + host + "X-A: 1\r\n b\r\n\r\n",
		"101 headers":             "GET / HTTP/1.1\r\n" + host + strings.Repeat("X-A: 1\r\n", 101) + "\r\n",
		"unknown method":          "EAT / HTTP/1.1\r\n" + host + "\r\n",
		"expect":                  "POST / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na",
		"priority knowledge":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"grpc-web":                "POST /a.B/C HTTP/1.1\r\n" + host + "Content-Type: application/grpc-web\r\nContent-Length: 0\r\n\r\n",
	} {
		got := send(t, g.address, config, raw)
		answered := strings.Contains(got, "HTTP/1.1 4") && (strings.Contains(got, `"no_grant"`) || strings.Contains(got, `"request_id"`))
		if !answered || strings.Contains(got, "HTTP/1.1 2") || strings.Contains(got, "HTTP/1.1 101") {
			t.Errorf("%s: %q", name, got)
		}
		if app.count() != before || g.hop.count() != 0 {
			t.Fatalf("%s reached an app", name)
		}
	}
}

// send writes raw, and a last request so that Envoy closes, on an HTTP/1.1
// connection and returns all that comes back.
func send(t *testing.T, address string, config *tls.Config, raw string) string {
	t.Helper()
	config = config.Clone()
	config.ServerName, config.NextProtos = "wiki.acme.example", []string{"http/1.1"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw+"GET /last HTTP/1.1\r\nHost: wiki.acme.example\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil && len(got) == 0 {
		return ""
	}
	return string(got)
}
