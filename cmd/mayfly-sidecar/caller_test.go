package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const callerBasic = `identity: {workload_api: "unix:///run/spire/agent.sock", id: "spiffe://acme.example/ns/data/sa/reporter"}
gateway: {address: "gateway.acme.example:8443", ids: ["spiffe://acme.example/gw/listener"]}
listeners:
`

func checkCaller(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "caller.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := command()
	c.SetArgs([]string{"caller", "--config", file, "--check"})
	return c.Execute()
}

func TestCheckOfTheCaller(t *testing.T) {
	const web = "  - {host: reports.acme.example, kind: web, socket: r.sock}\n"
	for _, c := range []struct{ name, text, want string }{
		{"a socket", callerBasic + web, ""},
		{"an address", callerBasic + "  - {host: s.acme.example, kind: stripe, address: '127.0.0.1:4242', key_file: s.key}\n", ""},
		{"no listener", strings.Replace(callerBasic, "listeners:\n", "", 1), "listeners: want at least one"},
		{"unknown key", callerBasic + web + "services: 127.0.0.1:1\n", `unknown field "services"`},
		{"no gateway", strings.Replace(callerBasic, "gateway.acme.example:8443", "gateway", 1) + web, "gateway.address"},
		{"any gateway", strings.Replace(callerBasic, `["spiffe://acme.example/gw/listener"]`, "[]", 1) + web, "gateway.ids"},
		{"a gateway that is a domain", strings.Replace(callerBasic, `gw/listener`, "", 1) + web, "gateway.ids"},
		{"no identity", strings.Replace(callerBasic, "spiffe://acme.example/ns", "ns", 1) + web, "identity: id"},
		{"an address for all", callerBasic + "  - {host: s.acme.example, kind: web, address: '0.0.0.0:4242', key_file: s.key}\n", "want a loopback address"},
		{"an address without a key", callerBasic + "  - {host: s.acme.example, kind: web, address: '127.0.0.1:4242'}\n", "listeners[0].key_file"},
		{"an address and a socket", callerBasic + "  - {host: s.acme.example, kind: web, address: '127.0.0.1:4242', socket: x, key_file: s.key}\n", "listeners[0].address"},
		{"an unknown kind", callerBasic + "  - {host: s.acme.example, kind: aws, socket: x}\n", `kind: "aws", want stripe or web`},
		{"a host with a port", callerBasic + "  - {host: 's.acme.example:443', kind: web, socket: x}\n", "listeners[0].host"},
		{"a socket twice", callerBasic + web + web, "that of listeners[0] already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkCaller(t, c.text)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if text, err := os.ReadFile("../../examples/caller.yaml"); err != nil || checkCaller(t, string(text)) != nil {
		t.Error("the example is not taken:", err, checkCaller(t, string(text)))
	}
}

// The role lets programs through, with a key that is there while it runs and is
// another one at the next start.
func TestTheCallerRuns(t *testing.T) {
	ca := devtest.CA(t)
	config, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, ca, "/gw/listener"), Verifier: devtest.Verifier(t, ca), Authorize: spiffe.AnyWorkload(),
	})
	if err != nil {
		t.Fatal(err)
	}
	gateway := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " ", r.TLS.PeerCertificates[0].URIs[0])
	}))
	gateway.TLS = config
	gateway.StartTLS()
	t.Cleanup(gateway.Close)
	_, sockets := devtest.WorkloadAPI(t, ca, dev.Entry{ID: devtest.ID(t, "/ns/data/sa/reporter")})
	dir := filepath.Dir(devtest.Socket(t, "s"))
	address := freePort(t)
	file := filepath.Join(dir, "caller.yaml")
	text := fmt.Sprintf(`identity: {workload_api: %q, id: "spiffe://acme.example/ns/data/sa/reporter"}
gateway: {address: %q, ids: ["spiffe://acme.example/gw/listener"]}
listeners:
  - {host: reports.acme.example, kind: web, address: %q, key_file: web.key}
  - {host: wiki.acme.example, kind: web, socket: wiki.sock}
`, sockets[0], gateway.Listener.Addr().String(), address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadCaller(file)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := runCaller(soon, c, false, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "development CA") {
		t.Error("without --dev a development CA is taken:", err)
	}
	old := ""
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- runCaller(ctx, c, true, slog.New(slog.DiscardHandler)) }()
		key := awaitKey(t, filepath.Join(dir, "web.key"))
		if got := ask(t, http.DefaultClient, "http://"+address, key); got != "200 reports.acme.example spiffe://acme.example/ns/data/sa/reporter" {
			t.Error(got)
		}
		if old != "" {
			if got := ask(t, http.DefaultClient, "http://"+address, old); !strings.HasPrefix(got, "401") || !strings.Contains(got, "key file") {
				t.Error("the key of the start before:", got)
			}
		}
		old = key
		unix := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "wiki.sock"))
		}}}
		if got := ask(t, unix, "http://localhost", ""); got != "200 wiki.acme.example spiffe://acme.example/ns/data/sa/reporter" {
			t.Error(got)
		}
		unix.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "web.key")); !os.IsNotExist(err) {
			t.Error("the key is still there:", err)
		}
	}
}

func ask(t *testing.T, c *http.Client, url, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set(caller.KeyHeader, key)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

// awaitKey waits for the file of a key, which only its owner reads.
func awaitKey(t *testing.T, path string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if b, err := os.ReadFile(path); err == nil {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Error("others read the key:", info.Mode(), err)
			}
			return strings.TrimSpace(string(b))
		}
		<-tick.C
	}
	t.Fatal("no key is written")
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
