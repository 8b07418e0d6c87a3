package audit

import (
	"errors"
	"fmt"
)

// MaxSegmentRecords is how many records a segment holds at most.
const MaxSegmentRecords = 4096

// Segment is a run of a spool's frames as a sidecar ships it and mayflyd anchors
// it. Everything but Spool and Frames can be, and is, computed again.
type Segment struct {
	Spool     string // spl_ id
	First     uint64 // seq of the first frame, ≥ 1
	Last      uint64 // seq of the last frame, included
	Frames    []byte // the frames as they stand in the spool
	Root      Hash   // tlog tree over the payloads
	ChainHead Hash   // SHA-256 of the last payload
	Prev      Hash   // SHA-256 of the payload before the first, zero if First is 1
}

// Anchor returns the body of the leaf that anchors s.
func (s Segment) Anchor() Anchor {
	return Anchor{Spool: s.Spool, First: s.First, Last: s.Last, Root: s.Root, ChainHead: s.ChainHead}
}

// GapError says that a segment does not start where the spool's anchored part
// ends: ship again from Expected.
type GapError struct {
	Spool    string
	Expected uint64
	Got      uint64
}

// Error names the seq that is expected.
func (e *GapError) Error() string {
	return fmt.Sprintf("segment of spool %s starts at seq %d: expected %d", e.Spool, e.Got, e.Expected)
}

// ForkError says that a segment continues another history than the one that is
// anchored: the spool was changed or copied.
type ForkError struct {
	Spool string
	Seq   uint64 // of the segment's first frame
	Want  Hash   // the anchored chain head
	Got   Hash
}

// Error names both chain heads.
func (e *ForkError) Error() string {
	return fmt.Sprintf("segment of spool %s at seq %d follows chain head %s: the anchored one is %s",
		e.Spool, e.Seq, e.Got, e.Want)
}

// ErrDuplicate says that a segment is anchored already: drop it.
var ErrDuplicate = errors.New("segment is anchored already")

// NewSegment makes the segment of whole frames, the first of which has seq first
// and follows a payload with hash prev. It checks lengths, CRCs and the chain,
// not the records.
func NewSegment(spool string, prev Hash, first uint64, frames []byte) (Segment, error) {
	s := Segment{Spool: spool, First: first, Frames: frames, Prev: prev, ChainHead: prev}
	var leaves []Hash
	for b := frames; len(b) > 0; {
		f, err := NextFrame(b)
		if err == nil && f.Prev() != s.ChainHead {
			err = errors.New("frame: broken chain")
		}
		if err != nil {
			return Segment{}, fmt.Errorf("segment of spool %s, seq %d: %w", spool, first+uint64(len(leaves)), err)
		}
		leaves = append(leaves, leafHash(f.Payload))
		s.ChainHead = f.SHA256()
		b = b[f.Size:]
	}
	if !validID("spl_", spool) || first == 0 || len(leaves) == 0 || len(leaves) > MaxSegmentRecords {
		return Segment{}, fmt.Errorf("segment of spool %.40q from seq %d with %d records: want a spl_ id, 1 to %d records, from seq 1 on",
			spool, first, len(leaves), MaxSegmentRecords)
	}
	s.Last = first + uint64(len(leaves)) - 1
	s.Root = merkleRoot(leaves)
	return s, nil
}

// CheckSegment computes s again from its frames and returns them if it continues
// a spool whose anchored part ends with chain head prevHead and before seq
// nextSeq. It fails with ErrDuplicate, *GapError, *ForkError, *CorruptError or,
// where s tells something else than its frames, a plain error.
func CheckSegment(prevHead Hash, nextSeq uint64, s Segment) ([]Entry, error) {
	if err := s.Follows(prevHead, nextSeq); err != nil {
		return nil, err
	}
	return s.Open()
}

// Follows is the part of CheckSegment that asks where s stands: it reads no frame.
func (s Segment) Follows(prevHead Hash, nextSeq uint64) error {
	switch {
	case !s.bounded():
		return s.noSegment()
	case s.Last < nextSeq:
		return fmt.Errorf("spool %s, seq %d to %d: %w", s.Spool, s.First, s.Last, ErrDuplicate)
	case s.First != nextSeq:
		return &GapError{Spool: s.Spool, Expected: nextSeq, Got: s.First}
	case s.Prev != prevHead:
		return &ForkError{Spool: s.Spool, Seq: s.First, Want: prevHead, Got: s.Prev}
	}
	return nil
}

// Len returns how many records s says it has; it is only meant of one that NewSegment
// made or whose seqs were looked at.
func (s Segment) Len() uint64 { return s.Last - s.First + 1 }

func (s Segment) bounded() bool {
	return validID("spl_", s.Spool) && s.First > 0 && s.Last >= s.First && s.Last-s.First < MaxSegmentRecords
}

func (s Segment) noSegment() error {
	return fmt.Errorf("segment of spool %.40q, seq %d to %d: not a segment", s.Spool, s.First, s.Last)
}

// Open is the part of CheckSegment that needs nothing but s: it computes s again
// from its frames, as a continuation of Prev, and returns them.
func (s Segment) Open() ([]Entry, error) {
	var entries []Entry
	if err := s.Visit(func(e Entry) { entries = append(entries, e) }); err != nil {
		return nil, err
	}
	return entries, nil
}

// Visit is Open for who needs each entry once: visit gets them in order, before those
// behind are looked at. What it made of them counts only if Visit returns nil.
func (s Segment) Visit(visit func(Entry)) error {
	if !s.bounded() {
		return s.noSegment()
	}
	leaves := make([]Hash, 0, min(int(s.Len()), len(s.Frames)/(frameHeader+minPayload)))
	tail, err := ScanFrames(s.Frames, s.Prev, s.First, func(e Entry) error {
		leaves = append(leaves, leafHash(e.Frame.Payload))
		visit(e)
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("segment of spool %s: %w", s.Spool, err)
	case tail.Torn:
		return fmt.Errorf("segment of spool %s: %w", s.Spool, tail.corrupt("cut short or damaged"))
	case tail.Next != s.Last+1:
		return fmt.Errorf("segment of spool %s: holds seq %d to %d, not to %d", s.Spool, s.First, tail.Next-1, s.Last)
	case tail.Head != s.ChainHead:
		return fmt.Errorf("segment of spool %s: chain head is %s, not %s", s.Spool, tail.Head, s.ChainHead)
	case merkleRoot(leaves) != s.Root:
		return fmt.Errorf("segment of spool %s: root is %s, not %s", s.Spool, merkleRoot(leaves), s.Root)
	}
	return nil
}
