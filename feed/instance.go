package feed

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mayflyproxy/mayfly/identity"
)

const runBytes = 16 // contracts §2: 128 random bits per process start

// Instance is one running process of a sidecar: <SPIFFE ID>#<32 hex digits>. It
// is comparable; the zero value is no instance.
type Instance struct {
	Sidecar string // SPIFFE ID, proven by the peer's certificate
	Run     string // 128 random bits of this process, in hex
}

// NewInstance returns a new instance of the sidecar with that SPIFFE ID.
func NewInstance(sidecar string) (Instance, error) {
	var run [runBytes]byte
	if _, err := rand.Read(run[:]); err != nil {
		return Instance{}, fmt.Errorf("instance of %s: %w", sidecar, err)
	}
	return ParseInstance(sidecar + "#" + hex.EncodeToString(run[:]))
}

// ParseInstance reads the text form; any other spelling is refused.
func ParseInstance(s string) (Instance, error) {
	sidecar, run, ok := strings.Cut(s, "#")
	p, err := identity.ParsePrincipal(sidecar)
	if !ok || err != nil || p.Kind() != identity.KindWorkload || !isRun(run) {
		return Instance{}, fmt.Errorf("instance %q: want <SPIFFE ID>#<32 hex digits>", s)
	}
	return Instance{Sidecar: sidecar, Run: run}, nil
}

// String returns the text form, "" for the zero value.
func (i Instance) String() string {
	if i.Sidecar == "" {
		return ""
	}
	return i.Sidecar + "#" + i.Run
}

// compare orders instances by their text.
func (i Instance) compare(o Instance) int {
	return cmp.Or(strings.Compare(i.Sidecar, o.Sidecar), strings.Compare(i.Run, o.Run))
}

func isRun(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return len(s) == 2*runBytes
}
