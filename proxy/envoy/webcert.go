package envoy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
)

const (
	defaultWebEvery = 5 * time.Second
	maxWebFile      = 1 << 20 // bytes
)

// WebCertificate is what browsers see at some hosts.
type WebCertificate struct {
	Hosts []string // exact, lower case; the certificate must be good for each
	Cert  string   // PEM file: leaf first, then intermediates
	Key   string   // PEM file of its key
}

// WebConfig configures the certificates for browsers. Every, Now and Log may be
// empty.
type WebConfig struct {
	Certificates []WebCertificate
	Every        time.Duration    // how often the files are looked at; 0 means 5 s
	Now          func() time.Time // nil: time.Now
	Log          *slog.Logger     // nil: discarded
}

// WebCertificates holds the certificates that browsers see and keeps them new
// while Run runs. A nil one holds none.
type WebCertificates struct {
	cfg  WebConfig
	tell chan struct{}

	mu   sync.Mutex // guards held
	held []heldCertificate
}

// heldCertificate is one entry as it is served.
type heldCertificate struct {
	chain, key []byte // PEM
	read       [sha256.Size]byte
	refused    string // why the files are not taken as they are now, "" if they are
}

// NewWebCertificates reads every certificate and refuses what a browser or Envoy
// would: a key of another certificate, a host that the certificate is not for, a
// term that is over or has not begun. Later changes of the files are taken under
// the same conditions, and until they meet them what is held stays.
func NewWebCertificates(cfg WebConfig) (*WebCertificates, error) {
	if cfg.Every <= 0 {
		cfg.Every = defaultWebEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &WebCertificates{cfg: cfg, tell: make(chan struct{}, 1)}
	var errs []error
	for _, c := range cfg.Certificates {
		h, err := c.read(cfg.Now())
		errs = append(errs, err)
		w.held = append(w.held, h)
	}
	return w, errors.Join(errs...)
}

// Hosts returns the hosts that there are certificates for.
func (w *WebCertificates) Hosts() []string {
	var out []string
	for _, c := range w.cfg.Certificates {
		out = append(out, c.Hosts...)
	}
	return out
}

// Run looks at the files until ctx ends, and returns nil then.
func (w *WebCertificates) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.look(ctx)
		}
	}
}

// look takes what changed and is good. What is not good is said once.
func (w *WebCertificates) look(ctx context.Context) {
	changed := false
	for i, c := range w.cfg.Certificates {
		fresh, err := c.read(w.cfg.Now())
		w.mu.Lock()
		h := &w.held[i]
		switch {
		case err != nil:
			if h.refused != err.Error() {
				h.refused = err.Error()
				w.cfg.Log.ErrorContext(ctx, "certificate for people not taken, the one before stays", "hosts", c.Hosts, "error", err)
			}
		case h.read != fresh.read:
			*h, changed = fresh, true
			w.cfg.Log.InfoContext(ctx, "certificate for people renewed", "hosts", c.Hosts)
		default:
			h.refused = ""
		}
		w.mu.Unlock()
	}
	if changed {
		select {
		case w.tell <- struct{}{}:
		default: // one is waiting, and covers this
		}
	}
}

// changed gives a value after a change; of one reader alone.
func (w *WebCertificates) changed() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.tell
}

// secrets returns one secret for each host.
func (w *WebCertificates) secrets() []types.Resource {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []types.Resource
	for i, c := range w.cfg.Certificates {
		for _, host := range c.Hosts {
			out = append(out, &tlsv3.Secret{Name: SecretWebPrefix + host, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(w.held[i].chain), PrivateKey: inline(w.held[i].key),
			}}})
		}
	}
	return out
}

// read reads and checks both files. Errors name files and hosts, never content.
func (c WebCertificate) read(now time.Time) (heldCertificate, error) {
	certPEM, err := readPEM(c.Cert)
	if err != nil {
		return heldCertificate{}, err
	}
	keyPEM, err := readPEM(c.Key)
	if err != nil {
		return heldCertificate{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return heldCertificate{}, fmt.Errorf("%s with %s: %w", c.Cert, c.Key, err)
	}
	if err := c.check(pair, now); err != nil {
		return heldCertificate{}, fmt.Errorf("%s: %w", c.Cert, err)
	}
	// Written anew, so that nothing else that the files hold goes to Envoy.
	var chain bytes.Buffer
	for _, der := range pair.Certificate {
		_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return heldCertificate{}, fmt.Errorf("%s: %w", c.Key, err)
	}
	out := heldCertificate{chain: chain.Bytes(), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	out.read = sha256.Sum256(append(out.chain[:len(out.chain):len(out.chain)], out.key...))
	return out, nil
}

func (c WebCertificate) check(pair tls.Certificate, now time.Time) error {
	leaf := pair.Leaf
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			return errors.New("a key on the curve P-224, which Envoy does not take")
		}
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits, want at least 2048", key.N.BitLen())
		}
	default:
		return fmt.Errorf("a key of kind %s, want ECDSA or RSA", leaf.PublicKeyAlgorithm)
	}
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("it is not good before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(leaf.NotAfter):
		return fmt.Errorf("it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return errors.New("it is not for servers")
	}
	for _, host := range c.Hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			return fmt.Errorf("it is not for the host %s: %w", host, err)
		}
	}
	return nil
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b) > maxWebFile {
		return nil, fmt.Errorf("%s: %d bytes, want 1 to %d", path, len(b), maxWebFile)
	}
	return b, nil
}
