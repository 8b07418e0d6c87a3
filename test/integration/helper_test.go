package integration

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// eventually waits for another process: it asks until there is no error.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		<-tick.C
	}
}

// serve runs f until the test ends.
func serve(t testing.TB, f func() error, stop func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("server ended: %v", err)
		}
	})
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// testLog keeps what is logged and shows it if the test fails.
func testLog(t testing.TB) *slog.Logger {
	b := &lockedBuffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.String())
		}
	})
	return slog.New(slog.NewTextHandler(b, nil))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rotating is a listener identity that the test changes.
type rotating struct {
	changed chan struct{}

	mu      sync.Mutex
	svid    *x509svid.SVID
	bundles *spiffe.Bundles
}

func (r *rotating) SVID() (*x509svid.SVID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.svid == nil {
		return nil, spiffe.ErrNoSVID
	}
	return r.svid, nil
}

func (r *rotating) Bundles() *spiffe.Bundles {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bundles
}

func (r *rotating) Watch() (<-chan struct{}, func()) { return r.changed, func() {} }

// rotate gives the listener a new certificate and returns its serial number.
func (r *rotating) rotate(t testing.TB, ca *dev.CA) string {
	t.Helper()
	svid, err := ca.SVID(devtest.ID(t, "/gw/listener"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.svid, r.bundles = svid, ca.Bundles()
	r.mu.Unlock()
	r.changed <- struct{}{}
	return svid.Certificates[0].SerialNumber.String()
}
