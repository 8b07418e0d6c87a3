package access

import (
	"context"
	"time"
)

// TokenKeyState is what a key of the token service is used for. The zero value is
// for nothing.
type TokenKeyState string

// The states of a key, in the order in which it goes through them. Removed takes
// the place of all that is left.
const (
	KeyNext    TokenKeyState = "next"    // published, so that verifiers know it before it signs
	KeyActive  TokenKeyState = "active"  // signs
	KeyRetired TokenKeyState = "retired" // only verifies, until the last token that it signed has ended
	KeyGone    TokenKeyState = "gone"    // verifies nothing any more
	KeyRemoved TokenKeyState = "removed" // in an emergency: verifies nothing any more
)

// Verifies reports whether tokens of a key in that state count.
func (s TokenKeyState) Verifies() bool { return s == KeyNext || s == KeyActive || s == KeyRetired }

// TokenKey is one key of the token service as it is stored.
type TokenKey struct {
	ID     string // kid: the thumbprint of RFC 7638
	Alg    string // ES256 or RS256
	State  TokenKeyState
	Public []byte // PKIX, DER
	Sealed []byte // the private part, PKCS #8 under Config.Seal; none once it signs no more
	Leaf   int64  // index of the leaf that published it: whoever acknowledged a later revision has it

	PublishedAt time.Time
	ActivatedAt time.Time // zero: it never signed
	RetiredAt   time.Time
	Until       time.Time // of a retired key: exclusive
	EndedAt     time.Time // gone or removed
}

// TokenKeyStore keeps them. There is at most one next and one active key.
type TokenKeyStore interface {
	Insert(ctx context.Context, k TokenKey) error // ErrExists: the kid was used before
	Get(ctx context.Context, kid string) (TokenKey, error)
	// In lists the keys in these states, the newest first.
	In(ctx context.Context, states ...TokenKeyState) ([]TokenKey, error)
	// List lists the newest keys of any state.
	List(ctx context.Context, limit int) ([]TokenKey, error)
	// Update replaces state, sealed part and times of the row of k.ID.
	Update(ctx context.Context, k TokenKey) error
}
