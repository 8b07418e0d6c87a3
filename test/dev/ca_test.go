package dev_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/spiffe"
	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

func openCA(t *testing.T, dir, domain string) (*dev.CA, error) {
	t.Helper()
	return dev.NewCA(dev.CAConfig{TrustDomain: spiffeid.RequireTrustDomainFromString(domain), Dir: dir})
}

func TestACAIsKeptOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := openCA(t, dir, "acme.example")
	if err != nil {
		t.Fatal(err)
	}
	svid, err := first.SVID(devtest.ID(t, "/a"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again, err := openCA(t, dir, "acme.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spiffe.PeerPrincipal(svid.Certificates, again.Bundles(), time.Now(), again.TrustDomain()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	young, err := again.SVID(devtest.ID(t, "/b"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spiffe.PeerPrincipal(young.Certificates, first.Bundles(), time.Now(), first.TrustDomain()); err != nil {
		t.Errorf("minted after a restart: %v", err)
	}
	if err := again.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	third, err := openCA(t, dir, "acme.example")
	if err != nil || len(third.Roots()) != 2 {
		t.Errorf("after a rotation: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "root-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info.Mode(), err)
	}
	if _, err := openCA(t, dir, "other.example"); err == nil {
		t.Error("a CA of another trust domain opens it")
	}
	if err := os.WriteFile(filepath.Join(dir, "root-key.pem"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openCA(t, dir, "acme.example"); err == nil {
		t.Error("a broken key file is replaced silently")
	}
}
