package envoy

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyproxy/mayfly/test/dev"
	"github.com/mayflyproxy/mayfly/test/dev/devtest"
)

// certFiles are a certificate and a key on disk, which the test replaces.
type certFiles struct {
	t         *testing.T
	ca        *dev.CA
	cert, key string
}

func newCertFiles(t *testing.T) certFiles {
	t.Helper()
	dir := t.TempDir()
	f := certFiles{t, devtest.CA(t), filepath.Join(dir, "web.crt"), filepath.Join(dir, "web.key")}
	f.write(f.mint(dev.Template{DNS: []string{"wiki.acme.example"}}))
	return f
}

func (f certFiles) mint(template dev.Template) (chain, key []byte) {
	f.t.Helper()
	c, err := f.ca.Mint(template)
	if err != nil {
		f.t.Fatal(err)
	}
	if chain, key, err = dev.PEM(c); err != nil {
		f.t.Fatal(err)
	}
	return chain, key
}

func (f certFiles) write(chain, key []byte) {
	f.t.Helper()
	for path, text := range map[string][]byte{f.cert: chain, f.key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f certFiles) entry(hosts ...string) WebCertificate {
	return WebCertificate{Hosts: hosts, Cert: f.cert, Key: f.key}
}

// selfSigned is a certificate for the wiki under a key of any kind.
func selfSigned(t *testing.T, key crypto.Signer) (chain, pemKey []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wiki"}, DNSNames: []string{"wiki.acme.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	chain, pemKey, err = dev.PEM(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return chain, pemKey
}

func TestWebCertificatesRefuse(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  func(t *testing.T, f certFiles)
		want string
	}{
		{"no file", func(_ *testing.T, f certFiles) { os.Remove(f.cert) }, "no such file"},
		{"no key file", func(_ *testing.T, f certFiles) { os.Remove(f.key) }, "no such file"},
		{"empty", func(_ *testing.T, f certFiles) { f.write(nil, nil) }, "0 bytes"},
		{"not PEM", func(_ *testing.T, f certFiles) { f.write([]byte("x"), []byte("y")) }, "web.crt with"},
		{"the key of another", func(_ *testing.T, f certFiles) {
			chain, _ := f.mint(dev.Template{DNS: []string{"wiki.acme.example"}})
			_, key := f.mint(dev.Template{DNS: []string{"wiki.acme.example"}})
			f.write(chain, key)
		}, "private key does not match"},
		{"another host", func(_ *testing.T, f certFiles) { f.write(f.mint(dev.Template{DNS: []string{"docs.acme.example"}})) }, "not for the host wiki.acme.example"},
		{"over", func(_ *testing.T, f certFiles) {
			f.write(f.mint(dev.Template{DNS: []string{"wiki.acme.example"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}))
		}, "it ended at"},
		{"not yet", func(_ *testing.T, f certFiles) {
			f.write(f.mint(dev.Template{DNS: []string{"wiki.acme.example"}, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}))
		}, "not good before"},
		{"of a client", func(_ *testing.T, f certFiles) {
			f.write(f.mint(dev.Template{DNS: []string{"wiki.acme.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))
		}, "not for servers"},
		{"Ed25519, which browsers do not take", func(t *testing.T, f certFiles) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			f.write(selfSigned(t, key))
		}, "want ECDSA or RSA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newCertFiles(t)
			_, before := f.mint(dev.Template{})
			c.bad(t, f)
			_, err := NewWebCertificates(WebConfig{Certificates: []WebCertificate{f.entry("wiki.acme.example")}})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), string(before)) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

func TestWebCertificatesTake(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(f certFiles){
		"a wildcard": func(f certFiles) { f.write(f.mint(dev.Template{DNS: []string{"*.acme.example"}})) },
		"RSA":        func(f certFiles) { f.write(selfSigned(t, rsaKey)) },
		"key and certificate in one file": func(f certFiles) {
			chain, key := f.mint(dev.Template{DNS: []string{"wiki.acme.example"}})
			both := append(bytes.Clone(key), chain...)
			f.write(both, both)
		},
	} {
		f := newCertFiles(t)
		write(f)
		w, err := NewWebCertificates(WebConfig{Certificates: []WebCertificate{f.entry("wiki.acme.example")}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if block, rest := pem.Decode(w.held[0].chain); block == nil || block.Type != "CERTIFICATE" || bytes.Contains(rest, []byte("PRIVATE")) {
			t.Errorf("%s: more than certificates goes out as the chain", name)
		}
		if _, err := tls.X509KeyPair(w.held[0].chain, w.held[0].key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSDSServesWebCertificatesAndKeepsTheLastGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wiki, docs := newCertFiles(t), newCertFiles(t)
		now := time.Now()
		long := func(hosts ...string) dev.Template {
			return dev.Template{DNS: hosts, NotBefore: now.Add(-100 * 365 * 24 * time.Hour), NotAfter: now.Add(100 * 365 * 24 * time.Hour)}
		}
		wiki.write(wiki.mint(long("wiki.acme.example", "help.acme.example")))
		docs.write(docs.mint(long("docs.acme.example")))
		var log bytes.Buffer
		web, err := NewWebCertificates(WebConfig{
			Certificates: []WebCertificate{wiki.entry("wiki.acme.example", "help.acme.example"), docs.entry("docs.acme.example")},
			Log:          slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- web.Run(ctx) }()
		defer func() {
			cancel()
			<-done
		}()
		conn := startSDSWith(t, devtest.Source(t, devtest.CA(t), "/gw/listener"), nil, web)
		at, help, other := follow(t, conn, testNode, "web/wiki.acme.example"), follow(t, conn, testNode, "web/help.acme.example"), follow(t, conn, testNode, "web/docs.acme.example")
		first := at.next().GetTlsCertificate()
		if got := help.next().GetTlsCertificate(); !bytes.Equal(got.GetCertificateChain().GetInlineBytes(), first.GetCertificateChain().GetInlineBytes()) {
			t.Error("two hosts of one entry, two certificates")
		}
		if got := other.next().GetTlsCertificate(); bytes.Equal(got.GetCertificateChain().GetInlineBytes(), first.GetCertificateChain().GetInlineBytes()) {
			t.Error("one host's certificate for another")
		}

		// Half a rotation, and then files that are no good, leave what is served.
		chain, key := wiki.mint(long("wiki.acme.example", "help.acme.example"))
		for _, bad := range [][2][]byte{
			{chain, nil},
			{chain, first.GetPrivateKey().GetInlineBytes()},
		} {
			wiki.write(bad[0], bad[1])
			time.Sleep(3 * defaultWebEvery)
			synctest.Wait()
			if n := strings.Count(log.String(), "the one before stays"); n != 1 {
				t.Errorf("said %d times: %s", n, log.String())
			}
			log.Reset()
		}
		wiki.write(chain, key)
		time.Sleep(defaultWebEvery)
		if got := at.next().GetTlsCertificate(); !bytes.Equal(got.GetCertificateChain().GetInlineBytes(), chain) || !bytes.Equal(got.GetPrivateKey().GetInlineBytes(), key) {
			t.Error("not the renewed certificate")
		}
		if got := help.next().GetTlsCertificate(); !bytes.Equal(got.GetCertificateChain().GetInlineBytes(), chain) {
			t.Error("the entry's other host keeps the old one")
		}
	})
}

// A certificate whose term ends while it is served is said once and stays: with
// none, nobody would be told why.
func TestWebCertificatesSayThatATermEnded(t *testing.T) {
	f := newCertFiles(t)
	now := time.Now()
	var log bytes.Buffer
	w, err := NewWebCertificates(WebConfig{
		Certificates: []WebCertificate{f.entry("wiki.acme.example")}, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now = now.Add(2 * time.Hour)
		w.look(t.Context())
	}
	if n := strings.Count(log.String(), "it ended at"); n != 1 || len(w.secrets()) != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}
