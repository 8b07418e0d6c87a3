package egress_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/egress"
	"github.com/mayflyproxy/mayfly/test/need"
)

func TestAddressesThatNeedListing(t *testing.T) {
	for _, text := range []string{
		"127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12::1",
		"169.254.169.254", "169.254.170.2", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16",
		"100.64.0.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "ff02::1", "fec0::1",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::1",
		"2002:7f00:1::", "2001::1", "2001:db8::1", "192.0.2.1",
	} {
		a := netip.MustParseAddr(text)
		if egress.Open(a) {
			t.Errorf("%s is asked", text)
		}
		address := net.JoinHostPort(text, "443")
		if err := (egress.Way{}).Control(t.Context(), "tcp", address); !errors.Is(err, egress.ErrAddress) {
			t.Errorf("%s: %v", address, err)
		}
		plain := a.WithZone("").Unmap()
		if err := (egress.Way{Allow: []netip.Prefix{netip.PrefixFrom(plain, plain.BitLen())}}).Control(t.Context(), "tcp", address); err != nil {
			t.Errorf("%s, listed: %v", address, err)
		}
	}
	for _, text := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "172.15.255.255", "100.128.0.1", "169.253.255.255", "168.63.129.17", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8"} {
		if !egress.Open(netip.MustParseAddr(text)) {
			t.Errorf("%s is not asked", text)
		}
	}
	if err := (egress.Way{}).Control(t.Context(), "unix", "/run/docker.sock"); !errors.Is(err, egress.ErrAddress) {
		t.Errorf("a socket: %v", err)
	}
}

// names is a DNS server whose answer to each question is the next of a list.
type names struct {
	net.PacketConn
	mu      sync.Mutex
	answers [][]netip.Addr // the last one stays
}

// stubResolver asks only the server that it starts.
func stubResolver(t *testing.T, answers ...[]netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{PacketConn: conn, answers: answers}
	done := make(chan struct{})
	go func() { defer close(done); n.serve() }()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (n *names) serve() {
	buffer := make([]byte, 512)
	for {
		size, from, err := n.ReadFrom(buffer)
		if err != nil {
			return
		}
		end := 12 // of the question (RFC 1035 §4.1)
		for end < size && buffer[end] != 0 {
			end += int(buffer[end]) + 1
		}
		end += 5
		kind := buffer[end-3]
		out := append([]byte(nil), buffer[:end]...)
		out[2], out[3] = 0x81, 0x80
		copy(out[6:12], []byte{0, 0, 0, 0, 0, 0})
		if kind == 1 {
			for _, a := range n.next() {
				ip := a.As4()
				out = append(append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
				out[7]++
			}
		}
		_, _ = n.WriteTo(out, from)
	}
}

func (n *names) next() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.answers[0]
	if len(n.answers) > 1 {
		n.answers = n.answers[1:]
	}
	return a
}

// A name that first is the provider, and the next time a service of this machine's,
// is asked the first time only.
func TestANameThatMovesInside(t *testing.T) {
	provider := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "{}")
	}))
	defer provider.Close()
	_, port, _ := net.SplitHostPort(provider.Listener.Addr().String())
	inside, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		need.Missing(t, fmt.Errorf("no second loopback address: %w", err))
	}
	defer inside.Close()
	roots := x509.NewCertPool()
	roots.AddCert(provider.Certificate())
	outer, inner := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	client := egress.Way{
		Allow: []netip.Prefix{netip.PrefixFrom(outer, 32)}, Roots: roots,
		Resolver: stubResolver(t, []netip.Addr{outer}, []netip.Addr{inner, outer}, []netip.Addr{inner}),
	}.Client(egress.AnswerTime)
	ask := func() error {
		res, err := client.Get("https://example.com:" + port)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatalf("while it is the provider: %v", err)
	}
	if err := ask(); err != nil {
		t.Errorf("while it is both: %v", err)
	}
	if err := ask(); !errors.Is(err, egress.ErrAddress) || !strings.Contains(err.Error(), "127.0.0.2") {
		t.Errorf("when it has moved: %v", err)
	}
	if err := inside.(*net.TCPListener).SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c, err := inside.Accept(); err == nil {
		t.Errorf("somebody called from %s", c.RemoteAddr())
	}
}

func TestAnswersThatAreNotWaitedFor(t *testing.T) {
	var inside int
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside++ }))
	defer secret.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		for range egress.MaxAnswer/1024 + 1 {
			_, _ = w.Write(make([]byte, 1024))
		}
	})
	mux.HandleFunc("/full", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, egress.MaxAnswer)) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secret.URL, http.StatusTemporaryRedirect)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	get := func(path string, limit time.Duration) (int, int, error) {
		res, err := egress.Way{Allow: egress.Loopback()}.Client(limit).Get(server.URL + path)
		if err != nil {
			return 0, 0, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, len(b), err
	}
	for _, path := range []string{"/silent", "/drip"} {
		if _, _, err := get(path, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "Client.Timeout") && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := get("/long", egress.AnswerTime); !errors.Is(err, egress.ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if _, n, err := get("/full", egress.AnswerTime); err != nil || n != egress.MaxAnswer {
		t.Errorf("as long as may be: %d, %v", n, err)
	}
	if status, _, err := get("/elsewhere", egress.AnswerTime); err != nil || status != http.StatusTemporaryRedirect || inside != 0 {
		t.Errorf("a redirect: %d, %v, followed %d times", status, err, inside)
	}
	if egress.AnswerTime > 5*time.Second {
		t.Errorf("a provider has %s", egress.AnswerTime)
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	transport := egress.TransportOf(egress.Way{}.Client(egress.AnswerTime))
	if transport.Proxy != nil || transport.TLSClientConfig.InsecureSkipVerify {
		t.Error("somebody may stand between")
	}
}

// A provider's discovery may name any address: in the clear only this machine's own
// are asked, wherever the dialer could reach.
func TestNothingGoesOutInTheClear(t *testing.T) {
	for address, want := range map[string]bool{
		"https://login.acme.example/token": true, "http://127.0.0.1:1/token": true, "http://[::1]:1/token": true,
		"http://login.acme.example/token": false, "http://1.1.1.1/token": false, "http://localhost/token": false, "http://127.0.0.1.acme.example/token": false,
		"ftp://login.acme.example/token": false, "HTTP://1.1.1.1/": false,
	} {
		sent := false
		client := &http.Client{Transport: egress.Bounded(trip(func(*http.Request) (*http.Response, error) {
			sent = true
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		}))}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := client.Do(req); sent != want || (err == nil) != want {
			t.Errorf("%s: sent %v, %v", address, sent, err)
		} else if res != nil {
			_ = res.Body.Close()
		}
	}
}

type trip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
