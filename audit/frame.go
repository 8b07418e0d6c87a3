package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame is u32 length and u32 CRC-32C, both big-endian and of the payload; the
// payload is the SHA-256 of the previous frame's payload (32 zero bytes in the
// first frame of a spool) and one encoded record (contracts §5).
const (
	frameHeader = 8
	minPayload  = len(Hash{}) + 1
	maxPayload  = len(Hash{}) + MaxRecord

	// MaxFrame is the size in bytes of the largest frame.
	MaxFrame = frameHeader + maxPayload
)

// Errors of NextFrame.
var (
	// ErrFrameShort: the bytes end before the frame does.
	ErrFrameShort = errors.New("frame: cut short")
	// ErrFrameDamaged: the length is impossible or the CRC does not fit.
	ErrFrameDamaged = errors.New("frame: damaged")
)

// Frame is one frame as read. Its slices point into the bytes it was read from.
type Frame struct {
	Payload []byte // Prev and Record
	Size    int    // bytes of the whole frame
}

// Prev returns the hash that links the frame to the one before.
func (f Frame) Prev() Hash { return Hash(f.Payload[:len(Hash{})]) }

// Record returns the encoded record.
func (f Frame) Record() []byte { return f.Payload[len(Hash{}):] }

// SHA256 returns the SHA-256 of the payload: the next frame's link, the chain
// head after this frame, and the "frame SHA-256" of Reserve.
func (f Frame) SHA256() Hash { return SHA256(f.Payload) }

// FrameSHA256 returns the SHA-256 of the payload of the frame that holds record
// after a frame whose payload hash is prev, without building the frame.
func FrameSHA256(prev Hash, record []byte) Hash {
	payload := make([]byte, 0, len(prev)+len(record))
	return SHA256(append(append(payload, prev[:]...), record...))
}

// AppendFrame appends to dst the frame of an encoded record that follows a frame
// with payload hash prev (the zero Hash for the first), and returns dst and the
// new frame's payload hash. It does not look into the record.
func AppendFrame(dst []byte, prev Hash, record []byte) ([]byte, Hash, error) {
	if len(record) == 0 || len(record) > MaxRecord {
		return dst, Hash{}, fmt.Errorf("frame: record of %d bytes: want 1 to %d", len(record), MaxRecord)
	}
	size := len(prev) + len(record)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, prev[:]...)
	dst = append(dst, record...)
	payload := dst[at+4:]
	binary.BigEndian.PutUint32(dst[at:], checksum(payload))
	return dst, SHA256(payload), nil
}

// NextFrame reads the frame at the start of b: length and CRC, not the chain.
// It fails with ErrFrameShort or ErrFrameDamaged.
func NextFrame(b []byte) (Frame, error) {
	if len(b) < frameHeader {
		return Frame{}, ErrFrameShort
	}
	length := binary.BigEndian.Uint32(b)
	if length < uint32(minPayload) || length > uint32(maxPayload) {
		return Frame{}, fmt.Errorf("%w: length %d", ErrFrameDamaged, length)
	}
	size := frameHeader + int(length)
	if len(b) < size {
		return Frame{}, ErrFrameShort
	}
	payload := b[frameHeader:size:size]
	if checksum(payload) != binary.BigEndian.Uint32(b[4:]) {
		return Frame{}, fmt.Errorf("%w: CRC differs", ErrFrameDamaged)
	}
	return Frame{Payload: payload, Size: size}, nil
}

func checksum(payload []byte) uint32 {
	return crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))
}

// findFrame returns the offset of the first whole frame in b at or after from
// that holds a record, or -1.
func findFrame(b []byte, from int) int {
	for ; from+frameHeader+minPayload <= len(b); from++ {
		f, err := NextFrame(b[from:])
		if err != nil {
			continue
		}
		if _, err := Decode(f.Record()); err == nil {
			return from
		}
	}
	return -1
}
