package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/mayflyproxy/mayfly/audit"
)

// spoolOf returns the frames of n records and where each starts.
func spoolOf(t testing.TB, n int) (frames []byte, starts []int) {
	t.Helper()
	var prev audit.Hash
	for i := range n {
		b, err := audit.Encode(audit.Record{
			ID: recordID(i + 1), Type: audit.TypeActionDeniedCount, Time: start(), Node: "n", Seq: uint64(i + 1),
			Body: audit.DeniedCount{Code: "no_identity", Count: uint64(i), From: audit.At(start()), To: audit.At(start())},
		})
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, len(frames))
		want := audit.FrameSHA256(prev, b)
		if frames, prev, err = audit.AppendFrame(frames, prev, b); err != nil {
			t.Fatal(err)
		}
		if prev != want {
			t.Fatal("FrameSHA256 differs from AppendFrame")
		}
	}
	return frames, starts
}

func scan(b []byte) (seqs []uint64, tail audit.Tail, err error) {
	tail, err = audit.ScanFrames(b, audit.Hash{}, 1, func(e audit.Entry) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	return seqs, tail, err
}

func TestFrameLayout(t *testing.T) {
	frame, hash, err := audit.AppendFrame(nil, audit.Hash{1}, []byte("record"))
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(frame); n != 38 || len(frame) != 8+38 {
		t.Fatalf("length %d of %d bytes", n, len(frame))
	}
	if frame[8] != 1 || string(frame[40:]) != "record" || hash != audit.SHA256(frame[8:]) {
		t.Fatalf("payload %x", frame[8:])
	}
	for _, record := range [][]byte{nil, make([]byte, audit.MaxRecord+1)} {
		if _, _, err := audit.AppendFrame(nil, audit.Hash{}, record); err == nil {
			t.Errorf("a record of %d bytes was framed", len(record))
		}
	}
}

func TestScanCutsATornTailAnywhere(t *testing.T) {
	frames, starts := spoolOf(t, 3)
	for size := range len(frames) {
		whole := 0
		for whole < 2 && starts[whole+1] <= size {
			whole++
		}
		seqs, tail, err := scan(frames[:size])
		if err != nil || len(seqs) != whole || int(tail.Cut) != starts[whole] || tail.Torn != (size != starts[whole]) {
			t.Fatalf("cut at %d: %d frames, tail %+v, %v", size, len(seqs), tail, err)
		}
	}
	_, tail, err := scan(frames)
	if err != nil || tail.Torn || tail.Next != 4 || int(tail.Cut) != len(frames) {
		t.Fatalf("whole: %+v %v", tail, err)
	}
	_, tail, err = scan(append(bytes.Clone(frames), make([]byte, 4096)...))
	if err != nil || !tail.Torn || int(tail.Cut) != len(frames) {
		t.Fatalf("zeros after: %+v %v", tail, err)
	}
}

func TestP9_ScanNamesADamagedFrame(t *testing.T) {
	frames, starts := spoolOf(t, 20)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := random.IntN(len(frames))
		bad := bytes.Clone(frames)
		bad[at] ^= byte(1 + random.IntN(255))
		frame := 0
		for frame < 19 && starts[frame+1] <= at {
			frame++
		}
		seqs, tail, err := scan(bad)
		var corrupt *audit.CorruptError
		switch {
		case len(seqs) != frame:
			t.Fatalf("flip in frame %d: %d good frames", frame+1, len(seqs))
		case frame == 19: // the last one cannot be told from a torn write
			if err != nil || !tail.Torn || int(tail.Cut) != starts[19] {
				t.Fatalf("flip in the last frame: %+v %v", tail, err)
			}
		case !errors.As(err, &corrupt) || int(corrupt.Seq) != frame+1 || int(corrupt.Offset) != starts[frame]:
			t.Fatalf("flip in frame %d: %v", frame+1, err)
		}
	}
}

func TestP9_ScanRefusesAnotherHistory(t *testing.T) {
	frames, starts := spoolOf(t, 4)
	one, two, three := frames[:starts[1]], frames[starts[1]:starts[2]], frames[starts[2]:starts[3]]
	second, err := audit.NextFrame(two)
	if err != nil {
		t.Fatal(err)
	}
	first, err := audit.NextFrame(one)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"another link":        append(bytes.Clone(one), mustFrame(t, audit.Hash{1}, second.Record())...),
		"a seq twice":         append(bytes.Clone(one), mustFrame(t, first.SHA256(), first.Record())...),
		"a frame left out":    append(bytes.Clone(one), three...),
		"a frame twice":       append(append(bytes.Clone(one), two...), two...),
		"frames swapped":      append(append(bytes.Clone(two), one...), three...),
		"the beginning gone":  two,
		"not a record at all": mustFrame(t, audit.Hash{}, []byte("x")),
		"a leaf's record":     mustFrame(t, audit.Hash{}, []byte(loginText)),
	} {
		var corrupt *audit.CorruptError
		if _, _, err := scan(b); !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustFrame(t testing.TB, prev audit.Hash, record []byte) []byte {
	t.Helper()
	b, _, err := audit.AppendFrame(nil, prev, record)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const spoolA = "spl_0000000000000000000000000A"

func segment(t testing.TB, prev audit.Hash, first uint64, frames []byte) audit.Segment {
	t.Helper()
	s, err := audit.NewSegment(spoolA, prev, first, frames)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckSegment(t *testing.T) {
	frames, starts := spoolOf(t, 10)
	a := segment(t, audit.Hash{}, 1, frames[:starts[4]])
	b := segment(t, a.ChainHead, 5, frames[starts[4]:])
	entries, err := audit.CheckSegment(audit.Hash{}, 1, a)
	if err != nil || len(entries) != 4 || entries[3].Seq != 4 || entries[3].Hash != a.ChainHead {
		t.Fatalf("first: %+v %v", entries, err)
	}
	if entries, err = audit.CheckSegment(a.ChainHead, 5, b); err != nil || len(entries) != 6 || b.Last != 10 {
		t.Fatalf("second: %+v %v", entries, err)
	}
	var gap *audit.GapError
	if _, err := audit.CheckSegment(audit.Hash{}, 1, b); !errors.As(err, &gap) || gap.Expected != 1 || gap.Got != 5 {
		t.Errorf("gap: %v", err)
	}
	if _, err := audit.CheckSegment(b.ChainHead, 11, a); !errors.Is(err, audit.ErrDuplicate) {
		t.Errorf("duplicate: %v", err)
	}
	if _, err := audit.CheckSegment(a.ChainHead, 3, a); !errors.As(err, &gap) || gap.Expected != 3 {
		t.Errorf("overlap: %v", err)
	}
	var fork *audit.ForkError
	if _, err := audit.CheckSegment(audit.Hash{9}, 5, b); !errors.As(err, &fork) || fork.Got != a.ChainHead {
		t.Errorf("fork: %v", err)
	}
	for name, change := range map[string]func(*audit.Segment){
		"another root":  func(s *audit.Segment) { s.Root[0]++ },
		"another head":  func(s *audit.Segment) { s.ChainHead[0]++ },
		"a longer end":  func(s *audit.Segment) { s.Last++ },
		"a shorter end": func(s *audit.Segment) { s.Last-- },
		"no spool":      func(s *audit.Segment) { s.Spool = "" },
		"a path":        func(s *audit.Segment) { s.Spool = "spl_/../../../../../../etc/x" },
		"no frames":     func(s *audit.Segment) { s.Frames = nil },
		"a cut frame":   func(s *audit.Segment) { s.Frames = s.Frames[:len(s.Frames)-1] },
		"a flipped bit": func(s *audit.Segment) { s.Frames = bytes.Clone(s.Frames); s.Frames[100] ^= 1 },
		"too many":      func(s *audit.Segment) { s.Last = 1 << 40 },
	} {
		s := b
		change(&s)
		if _, err := audit.CheckSegment(a.ChainHead, 5, s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := audit.NewSegment(spoolA, audit.Hash{}, 1, frames[starts[1]:]); err == nil {
		t.Error("a segment was made with a broken chain")
	}
}

func FuzzScanFrames(f *testing.F) {
	frames, starts := spoolOf(f, 3)
	f.Add(frames)
	f.Add(frames[:starts[2]+5])
	f.Add(append(frames[:starts[1]:starts[1]], frames[starts[2]:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		seqs, tail, err := scan(b)
		if int(tail.Cut) > len(b) || int(tail.Next) != len(seqs)+1 {
			t.Fatalf("%d frames, tail %+v", len(seqs), tail)
		}
		if err == nil {
			again, tail2, err := scan(b[:tail.Cut])
			if err != nil || len(again) != len(seqs) || tail2.Torn || tail2.Head != tail.Head {
				t.Fatalf("after the cut: %d of %d frames, %+v, %v", len(again), len(seqs), tail2, err)
			}
		}
	})
}
