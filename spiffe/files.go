package spiffe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	defaultEvery = 5 * time.Second
	maxFile      = 1 << 20
)

// FileConfig configures a source that reads files, for installations without
// a Workload API.
type FileConfig struct {
	Cert string // leaf first, then intermediates; required
	Key  string // PKCS #8; required
	// Bundles are the bundle files, one a trust domain; required. Each is PEM, or a
	// SPIFFE bundle (JSON), which may also hold the keys of JWT-SVIDs.
	Bundles map[spiffeid.TrustDomain]string
	// Every is how often the files are looked at; 0 means 5 s.
	Every time.Duration
	// OnError hears every failure; nil for silence. It must not block.
	OnError func(error)
}

// NewFileSource checks c and reads the files once. While Run runs they are read
// again when their content changes; files that do not fit each other, as in the
// middle of a rotation, leave what is held in place.
func NewFileSource(c FileConfig) (*Source, error) {
	if c.Cert == "" || c.Key == "" || len(c.Bundles) == 0 {
		return nil, errors.New("spiffe files: Cert, Key and Bundles are required")
	}
	if c.Every < 0 {
		return nil, fmt.Errorf("spiffe files: look every %s", c.Every)
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	w := &fileWatch{config: c, source: newSource()}
	w.source.run = w.run
	if err := w.load(); err != nil {
		return nil, err
	}
	return w.source, nil
}

type fileWatch struct {
	config FileConfig
	source *Source
	read   [sha256.Size]byte // of the content that the source holds
}

func (w *fileWatch) run(ctx context.Context) error {
	tick := time.NewTicker(w.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := w.load(); err != nil {
				w.config.OnError(err)
			}
		}
	}
}

func (w *fileWatch) load() error {
	certPEM, err := readFile(w.config.Cert)
	if err != nil {
		return err
	}
	keyPEM, err := readFile(w.config.Key)
	if err != nil {
		return err
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d %s%s", len(certPEM), len(keyPEM), certPEM, keyPEM)
	domains := slices.SortedFunc(maps.Keys(w.config.Bundles), func(x, y spiffeid.TrustDomain) int { return strings.Compare(x.Name(), y.Name()) })
	certs, keys := map[spiffeid.TrustDomain][]*x509.Certificate{}, map[spiffeid.TrustDomain]JWTKeys{}
	for _, td := range domains {
		text, err := readFile(w.config.Bundles[td])
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %d %s", td.Name(), len(text), text)
		if certs[td], keys[td], err = readBundle(td, text); err != nil {
			return fmt.Errorf("bundle of %s: %w", td.Name(), err)
		}
	}
	if bytes.Equal(sum.Sum(nil), w.read[:]) {
		return nil
	}
	svid, err := x509svid.Parse(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", w.config.Cert, w.config.Key, err)
	}
	w.read = [sha256.Size]byte(sum.Sum(nil))
	w.source.replaceJWT(keys)
	w.source.replace(svid, certs)
	return nil
}

// readBundle reads a bundle file, as PEM or in SPIFFE's JSON. Whether a development
// CA's counts is for whoever uses the source.
func readBundle(td spiffeid.TrustDomain, text []byte) ([]*x509.Certificate, JWTKeys, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		t, err := readTold(td, text, true)
		if err != nil {
			return nil, nil, err
		}
		return t.authorities, t.jwt, nil
	}
	bundle, err := x509bundle.Parse(td, text)
	if err != nil {
		return nil, nil, err
	}
	return bundle.X509Authorities(), nil, nil
}

func readFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b) > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, want 1 to %d", path, len(b), maxFile)
	}
	return b, nil
}
