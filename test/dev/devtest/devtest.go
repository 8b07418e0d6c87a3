// Package devtest starts the development services inside a test and stops them
// with it. It owns nothing else.
package devtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
)

// Domain is the trust domain of tests.
const Domain = "acme.example"

// CA returns a new CA of acme.example.
func CA(t testing.TB) *dev.CA {
	t.Helper()
	ca, err := dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(Domain)})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// ID returns spiffe://acme.example + path.
func ID(t testing.TB, path string) spiffeid.ID {
	t.Helper()
	id, err := spiffeid.FromString("spiffe://" + Domain + path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Source returns a fixed source with an SVID of an hour for spiffe://acme.example
// + path, and the CA's bundle.
func Source(t testing.TB, ca *dev.CA, path string) *spiffe.Source {
	t.Helper()
	s, err := ca.Source(ID(t, path), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Verifier returns a verifier of the CA's workloads that follows its bundle as it
// is now.
func Verifier(t testing.TB, ca *dev.CA) *spiffe.Verifier {
	t.Helper()
	bundles := ca.Bundles()
	v, err := spiffe.NewVerifier(spiffe.VerifierConfig{
		Bundles:      func() *spiffe.Bundles { return bundles },
		TrustDomains: []spiffeid.TrustDomain{ca.TrustDomain()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Socket returns a path for a Unix socket, short enough for the kernel, gone with
// the test.
func Socket(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, name)
}

// WorkloadAPI serves entries until the test ends. Entries without a socket share
// one. It returns the API and, for each entry, the address of its socket.
func WorkloadAPI(t testing.TB, ca *dev.CA, entries ...dev.Entry) (api *dev.WorkloadAPI, addresses []string) {
	t.Helper()
	shared := Socket(t, "w.sock")
	for i := range entries {
		if entries[i].Socket == "" {
			entries[i].Socket = shared
		}
		addresses = append(addresses, dev.Address(entries[i].Socket))
	}
	api, err := dev.NewWorkloadAPI(dev.WorkloadAPIConfig{CA: ca, Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Listen(); err != nil {
		t.Fatal(err)
	}
	run(t, api.Serve)
	return api, addresses
}

// ClientID is the relying party that IdP knows: public, with the callbacks
// http(s)://127.0.0.1/callback on any port.
const ClientID = "mayfly"

// IdP serves users, or alice, bob and carol without groups, until the test ends.
func IdP(t testing.TB, users ...dev.User) *dev.IdP {
	t.Helper()
	if len(users) == 0 {
		users = dev.People(nil)
	}
	return StartIdP(t, dev.IdPConfig{Users: users, Clients: []dev.Client{{
		ID: ClientID, Redirects: []string{"http://127.0.0.1/callback", "https://127.0.0.1/callback"},
	}}})
}

// StartIdP serves c until the test ends.
func StartIdP(t testing.TB, c dev.IdPConfig) *dev.IdP {
	t.Helper()
	p, err := dev.NewIdP(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	run(t, p.Serve)
	return p
}

// Run runs a source until the test ends and waits for its first SVID.
func Run(t testing.TB, s *spiffe.Source) *spiffe.Source {
	t.Helper()
	run(t, s.Run)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs f until the test ends.
func run(t testing.TB, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		select {
		case err := <-done:
			t.Errorf("stopped before the test: %v", err)
			cancel()
		default:
			cancel()
			<-done
		}
	})
}
