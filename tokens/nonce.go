package tokens

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// nonceSlot is how long a nonce is given out. It counts in its slot and in the
// next.
const nonceSlot = 2 * time.Minute

// Nonces gives out DPoP nonces (RFC 9449 §8) and keeps none: each is an HMAC over
// its slot of time, under a key of this process. It is safe for concurrent use.
type Nonces struct{ key [sha256.Size]byte }

// NewNonces draws a key.
func NewNonces() (*Nonces, error) {
	n := &Nonces{}
	_, _ = rand.Read(n.key[:]) // never fails since Go 1.24
	return n, nil
}

// Current returns the nonce to give out at now.
func (n *Nonces) Current(now time.Time) string { return n.of(slotOf(now)) }

func (n *Nonces) valid(nonce string, now time.Time) bool {
	slot := slotOf(now)
	return hmac.Equal([]byte(nonce), []byte(n.of(slot))) || hmac.Equal([]byte(nonce), []byte(n.of(slot-1)))
}

func slotOf(now time.Time) int64 { return now.UnixNano() / int64(nonceSlot) }

func (n *Nonces) of(slot int64) string {
	mac := hmac.New(sha256.New, n.key[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(slot))
	mac.Write(b[:])
	return rawURL().EncodeToString(mac.Sum(nil)[:16])
}
