package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// told is a bundle as a trust domain's endpoint, or a file, tells it.
type told struct {
	raw         []byte
	authorities []*x509.Certificate // none: no certificate of the trust domain counts
	jwt         JWTKeys             // none: no JWT-SVID of it counts
	sequence    uint64              // 0: it has none
	hint        time.Duration       // 0: it has none
}

// readTold reads a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4): its X.509
// authorities and its keys of JWT-SVIDs. One of a development CA is for dev.
func readTold(td spiffeid.TrustDomain, raw []byte, dev bool) (*told, error) {
	b, err := spiffebundle.Parse(td, raw)
	if err != nil {
		return nil, err
	}
	keys, err := readJWTKeys(raw, false)
	if err != nil {
		return nil, err
	}
	t := &told{raw: raw, authorities: b.X509Authorities(), jwt: keys}
	t.sequence, _ = b.SequenceNumber()
	t.hint, _ = b.RefreshHint()
	for _, c := range t.authorities {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("the bundle holds a certificate that may not sign: %s", c.Subject)
		}
		if !dev && slices.Contains(c.Subject.Organization, DevelopmentOrganization) {
			return nil, errors.New("the bundle is a development CA's, which proves nothing")
		}
	}
	if !dev && t.jwt.development() {
		return nil, errors.New("the bundle holds a development CA's key of JWT-SVIDs, which proves nothing")
	}
	return t, nil
}

func (t *told) certs() []*x509.Certificate {
	if t == nil {
		return nil
	}
	return t.authorities
}

// every is how often the bundle is fetched again.
func (t *told) every() time.Duration {
	if t == nil || t.hint == 0 {
		return defaultRefresh
	}
	return min(max(t.hint, minRefresh), maxRefresh)
}

// after refuses a bundle that is older than the one in force: whoever can make an
// endpoint tell an old bundle would bring an authority back that was taken out.
func (t *told) after(held *told) error {
	if held != nil && t.sequence < held.sequence {
		return fmt.Errorf("spiffe_sequence goes back from %d to %d", held.sequence, t.sequence)
	}
	return nil
}

func keptPath(dir string, td spiffeid.TrustDomain) string {
	return filepath.Join(dir, td.Name()+".json")
}

// keep writes a bundle down, whole or not at all.
func keep(dir string, td spiffeid.TrustDomain, raw []byte) error {
	f, err := os.CreateTemp(dir, ".bundle-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep the bundle: %w", err)
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), keptPath(dir, td))
	}
	if err != nil {
		return fmt.Errorf("keep the bundle: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// first returns the bundle to begin with: the one that was kept, unless the
// bootstrap file has a higher sequence; nil if there is neither. It also returns the
// one that was kept.
func first(c FederationConfig, td spiffeid.TrustDomain, bootstrap string) (begin, kept *told, err error) {
	kept, err = readFrom(keptPath(c.Dir, td), td, c.Dev)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if bootstrap == "" {
		return kept, kept, nil
	}
	given, err := readFrom(bootstrap, td, c.Dev)
	if err != nil {
		return nil, nil, fmt.Errorf("bootstrap: %w", err)
	}
	if kept == nil || given.sequence > kept.sequence {
		return given, kept, nil
	}
	return kept, kept, nil
}

func readFrom(path string, td spiffeid.TrustDomain, dev bool) (*told, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	t, err := readTold(td, raw, dev)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
