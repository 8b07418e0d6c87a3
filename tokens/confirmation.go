package tokens

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
)

// Confirmation says whose a token is (RFC 7800): that of the holder of one
// certificate, or of one DPoP key. Exactly one field is set; the zero value is
// nobody, and confirms nothing.
type Confirmation struct {
	X5T [sha256.Size]byte // SHA-256 of the certificate in DER (RFC 8705 §3.1)
	JKT [sha256.Size]byte // RFC 7638 thumbprint of the DPoP key (RFC 9449 §6.1)
}

// Certificate is the confirmation of a certificate by the SHA-256 of its DER.
func Certificate(sum [sha256.Size]byte) Confirmation { return Confirmation{X5T: sum} }

// Key is the confirmation of a DPoP key by its thumbprint.
func Key(thumbprint [sha256.Size]byte) Confirmation { return Confirmation{JKT: thumbprint} }

// IsZero reports whether c names nobody.
func (c Confirmation) IsZero() bool { return c == Confirmation{} }

func (c Confirmation) check() error {
	if (c.X5T == [sha256.Size]byte{}) == (c.JKT == [sha256.Size]byte{}) {
		return errors.New("cnf names not exactly one key")
	}
	return nil
}

// sameAs reports whether both name the same one holder.
func (c Confirmation) sameAs(other Confirmation) bool {
	if c.check() != nil || other.check() != nil {
		return false
	}
	return subtle.ConstantTimeCompare(c.X5T[:], other.X5T[:])&subtle.ConstantTimeCompare(c.JKT[:], other.JKT[:]) == 1
}

func (n *node) confirmation() (c Confirmation, err error) {
	if n == nil || n.kind != kindObject || len(n.members) != 1 {
		return c, errors.New("want an object of exactly one member")
	}
	switch m := &n.members[0]; m.name {
	case "x5t#S256":
		c.X5T, err = m.value.digest()
	case "jkt":
		c.JKT, err = m.value.digest()
	default:
		return c, errors.New("the way of confirmation is not of the profile")
	}
	if err != nil {
		return c, err
	}
	return c, c.check()
}

func (c Confirmation) wire() map[string]string {
	if c.JKT != ([sha256.Size]byte{}) {
		return map[string]string{"jkt": rawURL().EncodeToString(c.JKT[:])}
	}
	return map[string]string{"x5t#S256": rawURL().EncodeToString(c.X5T[:])}
}
