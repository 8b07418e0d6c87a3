package audit

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// anchored is an anchor and the leaf that holds it.
type anchored struct {
	Anchor
	leaf int64
}

// anchor takes a leaf that anchors a segment.
func (v *verification) anchor(index int64, r Record) {
	var a Anchor
	if err := r.Into(&a); err != nil {
		v.problem(leafPlace(index, index), ReasonForm, "%v", err)
		return
	}
	if !validID("spl_", a.Spool) || a.First == 0 || a.Last < a.First || a.Last-a.First >= MaxSegmentRecords {
		v.problem(leafPlace(index, index), ReasonAnchor, "spool %.40q, seq %d to %d: not a segment", a.Spool, a.First, a.Last)
		return
	}
	v.report.Segments++
	list := v.anchors[a.Spool]
	expected := uint64(1)
	if len(list) > 0 {
		expected = list[len(list)-1].Last + 1
	}
	switch {
	case a.First == expected || a.First > expected && !v.whole: // the anchor between is one of the leaves that are gone
		v.anchors[a.Spool] = append(list, anchored{a, index})
	default:
		v.problem(leafPlace(index, index), ReasonAnchor, "spool %s goes on at seq %d: expected %d", a.Spool, a.First, expected)
	}
}

// segments checks every spool's frames against the anchors.
func (v *verification) segments() {
	names := v.files(segmentsDir)
	for _, spool := range slices.Sorted(maps.Keys(v.anchors)) {
		v.spool(spool, v.anchors[spool])
		delete(names, spoolFile(spool, framesExt))
		delete(names, spoolFile(spool, hashesExt))
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if v.whole {
			v.problem(filePlace(name), ReasonExtra, "no entry anchors it")
		}
	}
}

func (v *verification) spool(spool string, anchors []anchored) {
	b, err := os.ReadFile(filepath.Join(v.dir, spoolFile(spool, framesExt)))
	if err != nil {
		v.problem(filePlace(spoolFile(spool, framesExt)), ReasonFile, "cannot be read: %v", errors.Unwrap(err))
	}
	s := &spoolCheck{
		v: v, spool: spool, last: anchors[len(anchors)-1].Last,
		frames: map[uint64]spoolFrame{}, named: map[uint64]bool{},
		index: readHashes(filepath.Join(v.dir, spoolFile(spool, hashesExt))),
	}
	s.read(b)
	for _, a := range anchors {
		s.segment(a)
	}
	s.beyond()
	s.chain()
	s.records()
}

// spoolFrame is a whole frame as found: its CRC fits.
type spoolFrame struct {
	leaf, sha, prev Hash
	rec             Record
	err             error // of Decode
}

// spoolCheck is the state of checking one spool.
type spoolCheck struct {
	v      *verification
	spool  string
	last   uint64 // anchored
	frames map[uint64]spoolFrame
	named  map[uint64]bool // a problem names this seq
	index  []Hash          // untrusted
}

func (s *spoolCheck) problem(first, last uint64, r Reason, format string, args ...any) {
	for seq := first; seq <= last; seq++ {
		s.named[seq] = true
	}
	s.v.problem(framePlace(s.spool, first, last), r, format, args...)
}

// read finds the frames. After damage it goes on at the next whole frame, which
// says itself what seq it has.
func (s *spoolCheck) read(b []byte) {
	next := uint64(1)
	for off := 0; off < len(b); {
		f, err := NextFrame(b[off:])
		if err != nil {
			if next <= s.last {
				s.problem(next, next, ReasonChanged, "%v", err)
			} else {
				s.v.problem(framePlace(s.spool, next, next), ReasonExtra, "bytes after the last anchored frame")
			}
			if off = findFrame(b, off+1); off < 0 {
				return
			}
			continue
		}
		off += f.Size
		next = s.take(next, f) + 1
	}
}

// take puts a whole frame at its seq and returns the highest so far.
func (s *spoolCheck) take(next uint64, f Frame) uint64 {
	frame := spoolFrame{leaf: leafHash(f.Payload), sha: f.SHA256(), prev: f.Prev()}
	frame.rec, frame.err = Decode(f.Record())
	seq := next
	if frame.err == nil {
		seq = frame.rec.Seq
	}
	if _, ok := s.frames[seq]; ok {
		s.problem(seq, seq, ReasonDuplicate, "stands here more than once")
		return next - 1
	}
	s.frames[seq] = frame
	if seq < next {
		if !s.named[seq] {
			s.problem(seq, seq, ReasonOrder, "stands at another place")
		}
		return next - 1
	}
	return seq
}

// segment compares the frames of one anchored segment with its anchor.
func (s *spoolCheck) segment(a anchored) {
	leaves := make([]Hash, 0, a.Last-a.First+1)
	var missing []int64
	for seq := a.First; seq <= a.Last; seq++ {
		f, ok := s.frames[seq]
		if !ok && !s.named[seq] {
			missing = append(missing, int64(seq))
		}
		leaves = append(leaves, f.leaf)
	}
	for _, m := range spans(missing) {
		s.problem(uint64(m.first), uint64(m.last), ReasonMissing, "entry %d anchors seq %d to %d", a.leaf, a.First, a.Last)
	}
	rooted := merkleRoot(leaves) == a.Root
	index := s.indexOf(a)
	indexRooted := len(index) == len(leaves) && merkleRoot(index) == a.Root
	switch {
	case rooted && !indexRooted:
		place := Place{File: spoolFile(s.spool, hashesExt), Spool: s.spool, First: int64(a.First), Last: int64(a.Last)}
		for i, h := range index {
			if h != leaves[i] {
				place.First = int64(a.First) + int64(i)
				place.Last = place.First
				break
			}
		}
		s.v.problem(place, ReasonIndex, "the .hashes line does not fit the frame; the frame itself is proven")
	case !rooted && indexRooted:
		s.compare(a, leaves, index)
	case !rooted && !s.anyNamed(a.First, a.Last):
		s.unrooted(a, leaves, index)
	}
	if f, ok := s.frames[a.Last]; ok && !s.named[a.Last] && f.sha != a.ChainHead {
		s.problem(a.Last, a.Last, ReasonChain, "is not the chain head that entry %d anchors", a.leaf)
	}
}

// compare names the frames that differ from an index that is anchored.
func (s *spoolCheck) compare(a anchored, leaves, index []Hash) {
	for i := range leaves {
		if seq := a.First + uint64(i); leaves[i] != index[i] && !s.named[seq] {
			s.problem(seq, seq, ReasonChanged, "not what entry %d anchors", a.leaf)
		}
	}
}

// unrooted says what can be said when neither frames nor index are anchored: a
// changed frame is not the one that the next links to.
func (s *spoolCheck) unrooted(a anchored, leaves, index []Hash) {
	named := false
	for seq := a.First; seq < a.Last; seq++ {
		if s.frames[seq+1].prev != s.frames[seq].sha {
			named = true
			s.problem(seq, seq, ReasonChanged, "the next frame does not link to it, and the root is not what entry %d anchors", a.leaf)
		}
	}
	for i := range min(len(leaves), len(index)) {
		if seq := a.First + uint64(i); leaves[i] != index[i] && !s.named[seq] {
			named = true
			s.problem(seq, seq, ReasonChanged, "does not fit its .hashes line, and the root is not what entry %d anchors", a.leaf)
		}
	}
	if !named {
		s.problem(a.First, a.Last, ReasonChanged, "the root is %s: entry %d anchors %s", merkleRoot(leaves), a.leaf, a.Root)
	}
}

func (s *spoolCheck) indexOf(a anchored) []Hash {
	if uint64(len(s.index)) < a.Last {
		return nil
	}
	return s.index[a.First-1 : a.Last]
}

func (s *spoolCheck) anyNamed(first, last uint64) bool {
	for seq := first; seq <= last; seq++ {
		if s.named[seq] {
			return true
		}
	}
	return false
}

// beyond looks for frames and hashes that nothing anchors.
func (s *spoolCheck) beyond() {
	if !s.v.whole {
		return
	}
	var extra []int64
	for seq := range s.frames {
		if seq == 0 || seq > s.last {
			extra = append(extra, int64(seq))
		}
	}
	slices.Sort(extra)
	for _, e := range spans(extra) {
		s.problem(uint64(e.first), uint64(e.last), ReasonExtra, "no entry anchors it")
	}
	if uint64(len(s.index)) > s.last {
		s.v.problem(filePlace(spoolFile(s.spool, hashesExt)), ReasonIndex, "%d lines: %d frames are anchored", len(s.index), s.last)
	}
}

// chain checks the links between frames that nothing else is wrong with.
func (s *spoolCheck) chain() {
	head := Hash{}
	for seq := uint64(1); seq <= s.last; seq++ {
		f, ok := s.frames[seq]
		before := seq > 1 && (s.named[seq-1] || s.frames[seq-1].sha.IsZero())
		if ok && !before && !s.named[seq] && f.prev != head {
			s.problem(seq, seq, ReasonChain, "does not link to the frame before")
		}
		head = f.sha
	}
}

// records hands the good frames on, in their order.
func (s *spoolCheck) records() {
	for seq := uint64(1); seq <= s.last; seq++ {
		f, ok := s.frames[seq]
		if !ok || s.named[seq] {
			s.v.actions.lost(s.spool)
			continue
		}
		err := f.err
		if err == nil {
			s.v.report.Frames++
			err = s.v.actions.frame(s.v, s.spool, f)
		}
		if err != nil {
			s.problem(seq, seq, ReasonForm, "%v", err)
		}
	}
	s.v.actions.anchoredTo(s.spool, s.last)
}
