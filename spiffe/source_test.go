package spiffe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func workloadSource(t *testing.T, c spiffe.WorkloadConfig) *spiffe.Source {
	t.Helper()
	s, err := spiffe.NewWorkloadSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// await reads changes until ok, or fails after ten seconds.
func await(t *testing.T, changed <-chan struct{}, what string, ok func() bool) {
	t.Helper()
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	for !ok() {
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("not seen: %s", what)
		}
	}
}

func TestASourcePicksItsSVID(t *testing.T) {
	ca := devtest.CA(t)
	_, at := devtest.WorkloadAPI(t, ca,
		dev.Entry{ID: devtest.ID(t, "/gw/sidecar"), Hint: "sidecar"},
		dev.Entry{ID: devtest.ID(t, "/gw/listener"), Hint: "listener", DNS: []string{"stripe.acme.example"}},
	)
	for _, c := range []struct {
		name string
		id   string
		hint string
		want string // "": none
	}{
		{"the first", "", "", "/gw/sidecar"},
		{"by hint", "", "listener", "/gw/listener"},
		{"by ID", "/gw/listener", "", "/gw/listener"},
		{"by both", "/gw/listener", "listener", "/gw/listener"},
		{"by both, at odds", "/gw/listener", "sidecar", ""},
		{"unknown hint", "", "nobody", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := spiffe.WorkloadConfig{Address: at[0], Hint: c.hint}
			if c.id != "" {
				config.ID = devtest.ID(t, c.id)
			}
			told := make(chan error, 16)
			config.OnError = func(err error) { told <- err }
			s := workloadSource(t, config)
			if c.want != "" {
				svid, err := devtest.Run(t, s).SVID()
				if err != nil || svid.ID != devtest.ID(t, c.want) {
					t.Fatalf("got %v, %v", svid, err)
				}
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			if err := <-told; !errors.Is(err, spiffe.ErrNoSVID) {
				t.Errorf("told %v", err)
			}
			cancel()
			<-done
			if svid, err := s.SVID(); !errors.Is(err, spiffe.ErrNoSVID) || svid != nil {
				t.Errorf("got %v, %v", svid, err)
			}
		})
	}
}

func TestASourceFollowsTheWorkloadAPI(t *testing.T) {
	ca := devtest.CA(t)
	entry := dev.Entry{ID: devtest.ID(t, gateway), Socket: devtest.Socket(t, "w.sock")}
	api, at := devtest.WorkloadAPI(t, ca, entry)
	s := devtest.Run(t, workloadSource(t, spiffe.WorkloadConfig{Address: at[0]}))
	changed, stop := s.Watch()
	defer stop()

	serial := func() string {
		svid, err := s.SVID()
		if err != nil {
			return err.Error()
		}
		return svid.Certificates[0].SerialNumber.String()
	}
	first, bundles := serial(), s.Bundles()
	api.Rotate()
	await(t, changed, "a new SVID", func() bool { return serial() != first })
	if s.Bundles() != bundles {
		t.Error("the bundles are another value though nothing in them changed")
	}
	if err := ca.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	await(t, changed, "two roots", func() bool { return len(s.Bundles().Authorities(ca.TrustDomain())) == 2 })

	// each message is a full replacement: what is gone is withdrawn
	other := dev.Entry{ID: devtest.ID(t, refunder), Socket: entry.Socket}
	if err := api.SetEntries(other); err != nil {
		t.Fatal(err)
	}
	await(t, changed, "another SVID", func() bool { v, err := s.SVID(); return err == nil && v.ID == other.ID })
	none := uint32(4_000_000_000)
	other.UID = &none
	if err := api.SetEntries(other); err != nil {
		t.Fatal(err)
	}
	await(t, changed, "the withdrawal", func() bool { _, err := s.SVID(); return errors.Is(err, spiffe.ErrNoSVID) })
	if len(s.Bundles().TrustDomains()) != 0 {
		t.Error("bundles are left after PermissionDenied")
	}
	if err := api.SetEntries(entry); err != nil {
		t.Fatal(err)
	}
	await(t, changed, "the return", func() bool { v, err := s.SVID(); return err == nil && v.ID == entry.ID })
}

func TestTheSVIDStaysWhileTheWorkloadAPIIsAway(t *testing.T) {
	ca := devtest.CA(t)
	entry := dev.Entry{ID: devtest.ID(t, gateway), Socket: devtest.Socket(t, "w.sock")}
	start := func() (stop func()) {
		api, err := dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: ca, Entries: []dev.Entry{entry}})
		if err != nil {
			t.Fatal(err)
		}
		if err := api.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- api.Serve(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := start()
	told := make(chan error, 64)
	s := devtest.Run(t, workloadSource(t, spiffe.WorkloadConfig{Address: dev.Address(entry.Socket), OnError: func(err error) {
		select {
		case told <- err:
		default:
		}
	}}))
	before, err := s.SVID()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	<-told
	if now, err := s.SVID(); err != nil || now != before || len(s.Bundles().TrustDomains()) != 1 {
		t.Errorf("away: %v, %v", now, err)
	}
	changed, unwatch := s.Watch()
	defer unwatch()
	defer start()()
	await(t, changed, "a new SVID after the restart", func() bool { now, err := s.SVID(); return err == nil && now != before })
}

func TestARotatedSVIDServesTheNextHandshake(t *testing.T) {
	ca := devtest.CA(t)
	api, at := devtest.WorkloadAPI(t, ca, dev.Entry{ID: devtest.ID(t, control)})
	s := devtest.Run(t, workloadSource(t, spiffe.WorkloadConfig{Address: at[0]}))
	server, err := spiffe.ServerTLS(spiffe.TLSConfig{Source: s, Verifier: devtest.Verifier(t, ca), Authorize: spiffe.AnyWorkload()})
	if err != nil {
		t.Fatal(err)
	}
	address, _ := echo(t, server)
	serial := func() string {
		var got string
		config := clientConfig(t, ca, gateway)
		verify := config.VerifyConnection
		config.VerifyConnection = func(cs tls.ConnectionState) error {
			got = cs.PeerCertificates[0].SerialNumber.String()
			return verify(cs)
		}
		if _, err := call(address, config); err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := serial()
	changed, stop := s.Watch()
	defer stop()
	before, _ := s.SVID()
	api.Rotate()
	await(t, changed, "a new SVID", func() bool { now, _ := s.SVID(); return now != before })
	if serial() == first {
		t.Error("the server still shows its old certificate")
	}
}

func writeFiles(t *testing.T, dir string, ca *dev.CA, c dev.Template) {
	t.Helper()
	chain, key, err := dev.PEM(mint(t, ca, c))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cert.pem": chain, "key.pem": key, "bundle.pem": ca.Bundles().PEM(ca.TrustDomain())} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := devtest.CA(t), t.TempDir()
		writeFiles(t, dir, ca, dev.Template{ID: devtest.ID(t, gateway)})
		failures := 0
		s, err := spiffe.NewFileSource(spiffe.FileConfig{
			Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"),
			Bundles: map[spiffeid.TrustDomain]string{ca.TrustDomain(): filepath.Join(dir, "bundle.pem")},
			Every:   time.Second, OnError: func(error) { failures++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		look := func() { time.Sleep(time.Second); synctest.Wait() } // the bubble's clock

		first, _ := s.SVID()
		look()
		if now, _ := s.SVID(); now != first || failures != 0 {
			t.Errorf("nothing changed: %v, %d failures", now, failures)
		}
		if err := ca.RotateRoot(); err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		writeFiles(t, dir, ca, dev.Template{ID: devtest.ID(t, gateway)})
		whole, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600); err != nil { // half of the rotation
			t.Fatal(err)
		}
		look()
		if now, err := s.SVID(); now != first || err != nil || failures != 1 {
			t.Errorf("half a rotation: %v, %v, %d failures", now, err, failures)
		}
		if err := os.WriteFile(filepath.Join(dir, "key.pem"), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		look()
		if now, err := s.SVID(); now == first || err != nil || len(s.Bundles().Authorities(ca.TrustDomain())) != 2 {
			t.Errorf("whole rotation: %v, %v", now, err)
		}
		if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
			t.Fatal(err)
		}
		look()
		if now, err := s.SVID(); now == nil || err != nil || failures != 2 {
			t.Errorf("file gone: %v, %v, %d failures", now, err, failures)
		}
	})
}

func TestSourcesRefuseWhatTheyCannotUse(t *testing.T) {
	for _, address := range []string{"", "/run/agent.sock", "tcp://127.0.0.1:80", "tcp://10.0.0.1:80", "unix:relative.sock?x=y"} {
		if s, err := spiffe.NewWorkloadSource(spiffe.WorkloadConfig{Address: address}); err == nil || s != nil {
			t.Errorf("address %q is taken", address)
		}
	}
	if s, err := spiffe.NewFileSource(spiffe.FileConfig{}); err == nil || s != nil {
		t.Error("no files are enough")
	}
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	td := spiffeid.RequireTrustDomainFromString("acme.example")
	if s, err := spiffe.NewFileSource(spiffe.FileConfig{Cert: empty, Key: empty, Bundles: map[spiffeid.TrustDomain]string{td: empty}}); err == nil || s != nil {
		t.Error("empty files are enough")
	}
	s := workloadSource(t, spiffe.WorkloadConfig{Address: "unix:///nowhere/agent.sock"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, spiffe.ErrNoSVID) {
		t.Errorf("Wait: %v", err)
	}
}

func TestDevelopmentRootsAreKnown(t *testing.T) {
	ca := devtest.CA(t)
	if !ca.Bundles().Development(ca.TrustDomain()) {
		t.Error("a development root is not recognised")
	}
	if ca.Bundles().Development(spiffeid.RequireTrustDomainFromString("other.example")) {
		t.Error("a domain without a bundle is called development")
	}
}
