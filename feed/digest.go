package feed

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"time"
)

// DefaultMaxStream is the longest that a direct request may last where the feed says
// nothing.
const DefaultMaxStream = 60 * time.Second

// Digest is a number below 2^256: the SHA-256 of one resource, or a sum of them. Sums
// do not depend on an order, so both sides keep them up to date one resource at a
// time. The zero value is the sum of nothing.
type Digest [4]uint64 // least significant first

// Plus returns d + e, mod 2^256.
func (d Digest) Plus(e Digest) (sum Digest) {
	var carry uint64
	for i := range d {
		sum[i], carry = bits.Add64(d[i], e[i], carry)
	}
	return sum
}

// Minus returns d - e, mod 2^256.
func (d Digest) Minus(e Digest) (rest Digest) {
	var borrow uint64
	for i := range d {
		rest[i], borrow = bits.Sub64(d[i], e[i], borrow)
	}
	return rest
}

// Bytes returns d in 32 bytes, big-endian.
func (d Digest) Bytes() []byte {
	out := make([]byte, 0, 32)
	for i := len(d) - 1; i >= 0; i-- {
		out = binary.BigEndian.AppendUint64(out, d[i])
	}
	return out
}

// ParseDigest reads what Bytes wrote.
func ParseDigest(b []byte) (d Digest, err error) {
	if len(b) != 32 {
		return d, errors.New("a digest has 32 bytes")
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[24-8*i:])
	}
	return d, nil
}

// DigestOf returns the digest of a resource: SHA-256 of kind, NUL, id, NUL and the
// canonical JSON (RFC 8785) of the fields that an instance decides from. ok is false
// for what no digest counts: proofs, which instances check by themselves, and kinds
// that this binary does not know. The JSON only ever grows by members that are left
// out when they are empty, so that binaries of two versions agree on what both know.
func DigestOf(r *Resource) (d Digest, ok bool) { return new(Digester).Of(r) }

// Digester makes digests of one resource after the other, and allocates nothing for
// most. The zero value is ready. It is not safe for concurrent use.
type Digester struct{ text []byte }

// Of is DigestOf.
func (d *Digester) Of(r *Resource) (Digest, bool) {
	b := append(append(d.text[:0], KindOf(r)...), 0)
	b = append(append(b, r.GetId()...), 0)
	switch x := r.GetResource().(type) {
	case *Resource_App:
		b = appendApp(b, x.App)
	case *Resource_Grant:
		b = appendGrant(b, x.Grant)
	case *Resource_Session:
		b = appendSession(b, x.Session)
	case *Resource_Key:
		b = appendKey(b, x.Key)
	default:
		return Digest{}, false
	}
	d.text = b
	sum := sha256.Sum256(b)
	one, err := ParseDigest(sum[:])
	return one, err == nil
}

// CountsFor returns the app whose digest a resource counts in: Everyone for sessions
// and keys.
func CountsFor(r *Resource) string {
	switch x := r.GetResource().(type) {
	case *Resource_App:
		return x.App.GetName()
	case *Resource_Grant:
		return x.Grant.GetApp()
	default:
		return Everyone
	}
}
