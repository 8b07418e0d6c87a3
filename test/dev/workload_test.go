package dev_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func client(t *testing.T, address string) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAGoSPIFFEClientGetsItsSVIDs(t *testing.T) {
	ca := devtest.CA(t)
	_, at := devtest.WorkloadAPI(t, ca,
		dev.Entry{ID: devtest.ID(t, "/gw/sidecar"), Hint: "internal"},
		dev.Entry{ID: devtest.ID(t, "/gw/listener"), Hint: "external", DNS: []string{"stripe.acme.example"}, TTL: time.Minute},
	)
	c := client(t, at[0])
	x, err := c.FetchX509Context(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(x.SVIDs) != 2 || x.SVIDs[0].Hint != "internal" || x.SVIDs[1].Hint != "external" {
		t.Fatalf("got %v", x.SVIDs)
	}
	for _, svid := range x.SVIDs {
		if _, _, err := x509svid.Verify(svid.Certificates, x.Bundles); err != nil {
			t.Error(err)
		}
	}
	leaf := x.SVIDs[1].Certificates[0]
	if err := leaf.VerifyHostname("stripe.acme.example"); err != nil || time.Until(leaf.NotAfter) > time.Minute {
		t.Errorf("listener's leaf: %v, until %s", err, leaf.NotAfter)
	}
	bundles, err := c.FetchX509Bundles(t.Context())
	if err != nil || !bundles.Has(ca.TrustDomain()) {
		t.Errorf("bundles: %v, %v", bundles, err)
	}
}

func TestCallersAreToldApart(t *testing.T) {
	ca := devtest.CA(t)
	me, other := uint32(os.Getuid()), uint32(os.Getuid())+1
	a, b := devtest.Socket(t, "a.sock"), devtest.Socket(t, "b.sock")
	_, _ = devtest.WorkloadAPI(t, ca,
		dev.Entry{Socket: a, ID: devtest.ID(t, "/other"), UID: &other},
		dev.Entry{Socket: a, ID: devtest.ID(t, "/mine"), UID: &me},
		dev.Entry{Socket: b, ID: devtest.ID(t, "/b")},
	)
	for socket, want := range map[string]string{a: "/mine", b: "/b"} {
		svids, err := client(t, dev.Address(socket)).FetchX509SVIDs(t.Context())
		if err != nil || len(svids) != 1 || svids[0].ID != devtest.ID(t, want) {
			t.Errorf("%s: %v, %v; want %s alone", socket, svids, err, want)
		}
	}
	for socket, want := range map[string]os.FileMode{a: 0o666, b: 0o600} {
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", socket, info.Mode(), err)
		}
	}
}

func TestTheWorkloadAPIRefuses(t *testing.T) {
	ca := devtest.CA(t)
	other := uint32(os.Getuid()) + 1
	_, at := devtest.WorkloadAPI(t, ca,
		dev.Entry{ID: devtest.ID(t, "/a")},
		dev.Entry{Socket: devtest.Socket(t, "o.sock"), ID: devtest.ID(t, "/other"), UID: &other},
	)
	mine, stranger := client(t, at[0]), client(t, at[1])
	conn, err := grpc.NewClient(at[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bare := workload.NewSpiffeWorkloadAPIClient(conn) // sends no security header
	for _, c := range []struct {
		name string
		call func(context.Context) error
		want codes.Code
	}{
		{"SVID for nobody", func(ctx context.Context) error { _, err := stranger.FetchX509SVID(ctx); return err }, codes.PermissionDenied},
		{"bundles for nobody", func(ctx context.Context) error { _, err := stranger.FetchX509Bundles(ctx); return err }, codes.PermissionDenied},
		{"JWT-SVID for nobody", func(ctx context.Context) error {
			_, err := stranger.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "x"})
			return err
		}, codes.PermissionDenied},
		{"JWT-SVID of another", func(ctx context.Context) error {
			_, err := mine.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "x", Subject: devtest.ID(t, "/other")})
			return err
		}, codes.PermissionDenied},
		{"JWT bundles for nobody", func(ctx context.Context) error { _, err := stranger.FetchJWTBundles(ctx); return err }, codes.PermissionDenied},
		{"validate JWT for nobody", func(ctx context.Context) error { _, err := stranger.ValidateJWTSVID(ctx, "a.b.c", "x"); return err }, codes.PermissionDenied},
		{"validate what is none", func(ctx context.Context) error { _, err := mine.ValidateJWTSVID(ctx, "a.b.c", "x"); return err }, codes.InvalidArgument},
		{"without the header", func(ctx context.Context) error {
			stream, err := bare.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument},
	} {
		if err := c.call(t.Context()); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestAGoSPIFFEClientGetsItsJWTSVIDs(t *testing.T) {
	ca := devtest.CA(t)
	_, at := devtest.WorkloadAPI(t, ca, dev.Entry{ID: devtest.ID(t, "/a")}, dev.Entry{ID: devtest.ID(t, "/b")})
	c := client(t, at[0])
	svid, err := c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "x", Subject: devtest.ID(t, "/b")})
	if err != nil || svid.ID != devtest.ID(t, "/b") {
		t.Fatalf("%v, %v", svid, err)
	}
	bundles, err := c.FetchJWTBundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{"x"}); err != nil {
		t.Error(err)
	}
	if got, err := c.ValidateJWTSVID(t.Context(), svid.Marshal(), "x"); err != nil || got.ID != svid.ID {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.ValidateJWTSVID(t.Context(), svid.Marshal(), "y"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("for another audience: %v", err)
	}
}

// contexts collects what a watcher is sent.
type contexts chan *workloadapi.X509Context

func (c contexts) OnX509ContextUpdate(x *workloadapi.X509Context) { c <- x }
func (c contexts) OnX509ContextWatchError(error)                  {}

func TestSVIDsRotateAtHalfLife(t *testing.T) {
	ca := devtest.CA(t)
	_, at := devtest.WorkloadAPI(t, ca, dev.Entry{ID: devtest.ID(t, "/long")}, dev.Entry{ID: devtest.ID(t, "/short"), TTL: 2 * time.Second})
	got := make(contexts, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	c := client(t, at[0])
	go func() { done <- c.WatchX509Context(ctx, got) }()
	defer func() { cancel(); <-done }()
	first, second := <-got, <-got
	if len(second.SVIDs) != 2 {
		t.Fatalf("the second message does not replace the first: %v", second.SVIDs)
	}
	old, young := first.SVIDs[1].Certificates[0], second.SVIDs[1].Certificates[0]
	if old.Equal(young) || !time.Now().Before(old.NotAfter) {
		t.Errorf("rotated at %s, the old one ends at %s", time.Now(), old.NotAfter)
	}
}

func TestEntriesAreChecked(t *testing.T) {
	ca := devtest.CA(t)
	good := dev.Entry{Socket: devtest.Socket(t, "w.sock"), ID: devtest.ID(t, "/a")}
	with := func(f func(*dev.Entry)) []dev.Entry { e := good; f(&e); return []dev.Entry{e} }
	for name, entries := range map[string][]dev.Entry{
		"none":            nil,
		"no socket":       with(func(e *dev.Entry) { e.Socket = "" }),
		"relative socket": with(func(e *dev.Entry) { e.Socket = "w.sock" }),
		"long socket":     with(func(e *dev.Entry) { e.Socket += string(make([]byte, 100)) }),
		"foreign domain":  with(func(e *dev.Entry) { e.ID = foreignID(t) }),
		"domain alone":    with(func(e *dev.Entry) { e.ID = ca.TrustDomain().ID() }),
		"blink of an eye": with(func(e *dev.Entry) { e.TTL = time.Millisecond }),
	} {
		if _, err := dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: ca, Entries: entries}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	api, err := dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: ca, Entries: []dev.Entry{good}})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.SetEntries(with(func(e *dev.Entry) { e.Socket = devtest.Socket(t, "x.sock") })...); err == nil {
		t.Error("a socket that is not served is accepted later")
	}
}

func foreignID(t *testing.T) spiffeid.ID {
	t.Helper()
	return spiffeid.RequireFromString("spiffe://other.example/a")
}
