package access

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/mayflyproxy/mayfly/feed"
)

// Frames are kept packed: records resemble each other, and what a change writes is most
// of what it costs, while nobody else can write. What is hashed, shipped, exported and
// verified is the frames themselves.

var (
	packer   = newPacker()
	unpacker = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(feed.MaxMessage), zstd.WithDecoderConcurrency(0)))
)

// newPacker makes all of it, which would otherwise be made at the first use: within the
// clock of one test, and out of reach of the next.
func newPacker() *zstd.Encoder {
	e := must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false)))
	e.EncodeAll(nil, nil)
	return e
}

// must fails the start of a program whose options are wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// packFrames packs the frames of a segment for the store.
func packFrames(frames []byte) []byte { return packer.EncodeAll(frames, nil) }

// Frames returns the frames of s as they were shipped. Those of a segment that was stored
// before frames were packed stand as they are: a frame begins with its length, and no
// length with the first byte of what is packed.
func (s StoredSegment) Frames() ([]byte, error) {
	if len(s.Packed) == 0 || s.Packed[0] == 0 {
		return s.Packed, nil
	}
	out, err := unpacker.DecodeAll(s.Packed, nil)
	if err != nil {
		return nil, fmt.Errorf("spool %s, records %d to %d: unpack: %w", s.Spool, s.First, s.Last, err)
	}
	return out, nil
}
