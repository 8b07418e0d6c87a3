package caller_test

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/caller"
	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

const (
	appHost  = "reports.acme.example"
	gateway  = "/gw/listener"
	reporter = "/ns/data/sa/reporter"
)

// world is a gateway that asks for SVIDs and answers with handler.
type world struct {
	ca      *dev.CA
	address string // of the gateway
	api     *dev.WorkloadAPI
	socket  string

	mu    sync.Mutex
	seen  []*http.Request // without bodies
	peers map[string]bool // serial numbers of the certificates that came
}

func newWorld(t *testing.T, handler http.Handler) *world {
	t.Helper()
	w := &world{ca: devtest.CA(t), peers: map[string]bool{}}
	config, err := spiffe.ServerTLS(spiffe.TLSConfig{
		Source: devtest.Source(t, w.ca, gateway), Verifier: devtest.Verifier(t, w.ca), Authorize: spiffe.AnyWorkload(),
	})
	check(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		w.peers[r.TLS.PeerCertificates[0].SerialNumber.String()] = true
		w.mu.Unlock()
		handler.ServeHTTP(out, r)
	}))
	s.TLS, s.EnableHTTP2 = config, true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	w.address = s.Listener.Addr().String()
	var sockets []string
	w.api, sockets = devtest.WorkloadAPI(t, w.ca, dev.Entry{ID: devtest.ID(t, reporter)})
	w.socket = sockets[0]
	return w
}

// arrived returns the requests that the gateway saw.
func (w *world) arrived() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*http.Request{}, w.seen...)
}

func (w *world) certificates() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.peers)
}

// source is the reporter's SVID, kept new.
func (w *world) source(t *testing.T) *spiffe.Source {
	t.Helper()
	s, err := spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: w.socket})
	check(t, err)
	return devtest.Run(t, s)
}

func (w *world) door(t *testing.T, source *spiffe.Source, ids ...spiffeid.ID) *caller.Services {
	t.Helper()
	if ids == nil {
		ids = []spiffeid.ID{devtest.ID(t, gateway)}
	}
	s, err := caller.NewServices(caller.ServicesConfig{Gateway: w.address, Host: appHost, IDs: ids, Source: source})
	check(t, err)
	t.Cleanup(s.Close)
	return s
}

// run opens a Listener and runs it until the test ends.
func run(t *testing.T, c caller.Config) *caller.Listener {
	t.Helper()
	l, stop := start(t, c)
	t.Cleanup(func() { check(t, stop()) })
	return l
}

// start runs a Listener until stop, which waits for it.
func start(t *testing.T, c caller.Config) (l *caller.Listener, stop func() error) {
	t.Helper()
	if c.Host == "" {
		c.Host = appHost
	}
	l, err := caller.Open(c)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() error { cancel(); return <-done }
}

// loopback is any free port.
func loopback() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:0") }

func webConfig(w *world, t *testing.T, key caller.Secret) caller.Config {
	return caller.Config{Address: loopback(), Form: caller.FormOf("web"), Secret: key, Door: w.door(t, w.source(t))}
}

// get asks with the key, and with more headers.
func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	check(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp, string(b)
}

// raw writes bytes to an address and reads one answer.
func raw(t *testing.T, network, address, text string) (status int, body string) {
	t.Helper()
	c, err := net.Dial(network, address)
	check(t, err)
	defer c.Close()
	_, err = io.WriteString(c, text)
	check(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.StatusCode, string(b)
}

func hostOf(l *caller.Listener) string { return strings.TrimPrefix(l.URL(), "http://") }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var _ http.RoundTripper = (*caller.Services)(nil)

func ids(t *testing.T, paths ...string) (out []spiffeid.ID) {
	t.Helper()
	for _, p := range paths {
		out = append(out, devtest.ID(t, p))
	}
	return out
}
