package access

import (
	"context"

	"github.com/mayflyproxy/mayfly/identity"
)

// Sealer keeps the secrets of the database so that a copy of it gives none away. A
// SealKey is one, from a file; a key management service can be another. What was
// sealed for one purpose opens for no other, so that no row stands in another's
// place. Its methods are safe for concurrent use and return soon after ctx ends:
// they are called inside transactions.
type Sealer interface {
	Seal(ctx context.Context, purpose string, secret []byte) (sealed []byte, err error)
	Open(ctx context.Context, purpose string, sealed []byte) (secret []byte, err error)
}

// The purposes; what it is of is bound in behind them.
const (
	sealRefresh  = "mayfly refresh token"
	sealTokenKey = "mayfly token key"
)

func refreshOf(p identity.Principal) string { return sealRefresh + "\x00" + p.String() }

func privateOf(kid string) string { return sealTokenKey + "\x00" + kid }
