package grant

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

// Prefixed is a kind of id: it says the prefix of its text form.
type Prefixed interface{ prefix() string }

// The kinds of id. Each is its own Go type, so that two cannot be swapped.
type (
	requestKind     struct{}
	offerKind       struct{}
	approvalKind    struct{}
	grantKind       struct{}
	actionKind      struct{}
	sessionKind     struct{}
	tokenKind       struct{}
	denialKind      struct{}
	recordKind      struct{}
	spoolKind       struct{}
	reservationKind struct{}
)

func (requestKind) prefix() string     { return "req_" }
func (offerKind) prefix() string       { return "off_" }
func (approvalKind) prefix() string    { return "apr_" }
func (grantKind) prefix() string       { return "grt_" }
func (actionKind) prefix() string      { return "act_" }
func (sessionKind) prefix() string     { return "ses_" }
func (tokenKind) prefix() string       { return "tok_" }
func (denialKind) prefix() string      { return "den_" }
func (recordKind) prefix() string      { return "rec_" }
func (spoolKind) prefix() string       { return "spl_" }
func (reservationKind) prefix() string { return "rsv_" }

// The ids of contracts §1.
type (
	RequestID     = ID[requestKind]
	OfferID       = ID[offerKind]
	ApprovalID    = ID[approvalKind]
	GrantID       = ID[grantKind]
	ActionID      = ID[actionKind]
	SessionID     = ID[sessionKind]
	TokenID       = ID[tokenKind]
	DenialID      = ID[denialKind]
	RecordID      = ID[recordKind]
	SpoolID       = ID[spoolKind]
	ReservationID = ID[reservationKind]
)

// ID is a UUIDv7 (RFC 9562 §5.7), written as a prefix and 26 upper-case Crockford
// base32 characters in ULID layout. It is kept as its 16 bytes: a gateway holds a
// million of them. The zero value is no id.
type ID[K Prefixed] struct{ bits [16]byte }

const (
	alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	idLength = 26
)

// ParseID reads the canonical text of an id of kind K; any other spelling is refused.
func ParseID[K Prefixed](s string) (ID[K], error) {
	var k K
	if len(s) == len(k.prefix())+idLength && s[:len(k.prefix())] == k.prefix() {
		if bits, ok := decode(s[len(k.prefix()):]); ok {
			return ID[K]{bits}, nil
		}
	}
	return ID[K]{}, fmt.Errorf("id %q: want %s and 26 characters of %s", s, k.prefix(), alphabet)
}

// IsZero reports whether id is no id.
func (id ID[K]) IsZero() bool { return id == ID[K]{} }

// String returns the text form, "" for no id.
func (id ID[K]) String() string {
	if id.IsZero() {
		return ""
	}
	var k K
	return k.prefix() + encode(id.bits)
}

// Compare is the order of the text forms: -1, 0 or 1. No id comes first.
func (id ID[K]) Compare(other ID[K]) int { return bytes.Compare(id.bits[:], other.bits[:]) }

// MarshalText writes the text form.
func (id ID[K]) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form; empty text is no id.
func (id *ID[K]) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID[K]{}
		return nil
	}
	v, err := ParseID[K](string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// Minter makes ids. The text order of the ids that one Minter makes is the
// order of the calls, even when the given time stands or steps back. It is safe
// for concurrent use. Make it with NewMinter.
type Minter struct {
	random io.Reader

	mu      sync.Mutex
	ms      uint64 // of the last id
	counter uint16 // 12 bits, of the last id
}

// NewMinter returns a Minter that draws from crypto/rand.
func NewMinter() *Minter { return &Minter{random: rand.Reader} }

// Mint returns a new id of kind K made at that time. It fails only if the
// system has no randomness, which crypto/rand makes fatal.
func Mint[K Prefixed](m *Minter, at time.Time) ID[K] {
	return ID[K]{m.uuid(at)}
}

// NewRequestID, and the functions below it, mint one kind of id each.
func (m *Minter) NewRequestID(at time.Time) RequestID { return Mint[requestKind](m, at) }

// NewOfferID mints an off_ id.
func (m *Minter) NewOfferID(at time.Time) OfferID { return Mint[offerKind](m, at) }

// NewApprovalID mints an apr_ id.
func (m *Minter) NewApprovalID(at time.Time) ApprovalID { return Mint[approvalKind](m, at) }

// NewGrantID mints a grt_ id.
func (m *Minter) NewGrantID(at time.Time) GrantID { return Mint[grantKind](m, at) }

// NewActionID mints an act_ id.
func (m *Minter) NewActionID(at time.Time) ActionID { return Mint[actionKind](m, at) }

// NewSessionID mints a ses_ id.
func (m *Minter) NewSessionID(at time.Time) SessionID { return Mint[sessionKind](m, at) }

// NewTokenID mints a tok_ id.
func (m *Minter) NewTokenID(at time.Time) TokenID { return Mint[tokenKind](m, at) }

// NewDenialID mints a den_ id.
func (m *Minter) NewDenialID(at time.Time) DenialID { return Mint[denialKind](m, at) }

// NewRecordID mints a rec_ id.
func (m *Minter) NewRecordID(at time.Time) RecordID { return Mint[recordKind](m, at) }

// NewSpoolID mints a spl_ id.
func (m *Minter) NewSpoolID(at time.Time) SpoolID { return Mint[spoolKind](m, at) }

// NewReservationID mints an rsv_ id.
func (m *Minter) NewReservationID(at time.Time) ReservationID { return Mint[reservationKind](m, at) }

// uuid lays out RFC 9562 §5.7 with a 12-bit counter in rand_a (§6.2, method 1).
func (m *Minter) uuid(at time.Time) [16]byte {
	var u [16]byte
	// crypto/rand never returns an error since Go 1.24.
	_, _ = io.ReadFull(m.random, u[8:])
	ms, counter := m.next(uint64(max(at.UnixMilli(), 0)))
	binary.BigEndian.PutUint64(u[:8], ms<<16|0x7000|uint64(counter))
	u[8] = u[8]&0x3f | 0x80
	return u
}

func (m *Minter) next(ms uint64) (uint64, uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ms > m.ms {
		m.ms, m.counter = ms, 0
		return m.ms, m.counter
	}
	m.counter++
	if m.counter == 1<<12 {
		m.ms, m.counter = m.ms+1, 0
	}
	return m.ms, m.counter
}

// encode writes 128 bits as 26 characters, two zero bits in front (ULID layout).
func encode(u [16]byte) string {
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	var out [idLength]byte
	for i := idLength - 1; i >= 0; i-- {
		out[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out[:])
}

// decode reads what encode wrote; ok is false for any other spelling, and for the
// nil UUID (RFC 9562 §5.9), which is no id.
func decode(s string) (u [16]byte, ok bool) {
	var hi, lo uint64
	for i := range len(s) {
		v := digit(s[i])
		if v > 31 || i == 0 && v > 7 { // 130 bits hold 128
			return u, false
		}
		hi, lo = hi<<5|lo>>59, lo<<5|v
	}
	binary.BigEndian.PutUint64(u[:8], hi)
	binary.BigEndian.PutUint64(u[8:], lo)
	return u, u != [16]byte{}
}

// digit returns what a character of the alphabet stands for, 32 for any other.
func digit(c byte) uint64 {
	const values = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09" + "       " + // from 0 on; a space is 32
		"\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11 \x12\x13 \x14\x15 \x16\x17\x18\x19\x1a \x1b\x1c\x1d\x1e\x1f"
	if i := int(c) - '0'; i >= 0 && i < len(values) {
		return uint64(values[i])
	}
	return 32
}
