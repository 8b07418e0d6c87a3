package audit

import "fmt"

// Entry is one frame of a spool, read and checked.
type Entry struct {
	Seq    uint64
	Offset int64 // of the frame in the bytes scanned
	Frame  Frame
	Hash   Hash   // SHA-256 of the payload
	Record Record // decoded; Record.Seq is Seq
}

// Tail is where a scan ended.
type Tail struct {
	Cut  int64  // offset after the last good frame: cut the file here if Torn
	Next uint64 // seq of the frame to write next
	Head Hash   // payload hash of the last good frame: the chain head
	Torn bool   // bytes after Cut are a frame that was never whole
}

// CorruptError says that frames are damaged where a crash cannot have done it:
// good frames follow, or a whole frame is not the one that belongs there.
type CorruptError struct {
	Seq    uint64 // of the frame that should stand there
	Offset int64
	Reason string
}

// Error names the frame.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("frame seq %d at byte %d: %s", e.Seq, e.Offset, e.Reason)
}

// ScanFrames reads frames from b, the first of which has seq next and follows a
// payload with hash prev (1 and the zero Hash for a whole spool), checks length,
// CRC, chain, record and seq of each, and calls visit for each in order. An
// error of visit ends the scan and is returned as it is.
//
// Bytes at the end that are no whole frame are a torn tail, as a crash in a
// write leaves: no error, Tail.Torn is set. Anything else is a *CorruptError,
// beside the Tail up to there.
func ScanFrames(b []byte, prev Hash, next uint64, visit func(Entry) error) (Tail, error) {
	t := Tail{Next: next, Head: prev}
	for int(t.Cut) < len(b) {
		f, err := NextFrame(b[t.Cut:])
		if err != nil {
			if findFrame(b, int(t.Cut)+1) >= 0 {
				return t, t.corrupt("%v, and good frames follow", err)
			}
			t.Torn = true
			return t, nil
		}
		e, err := t.entry(f)
		if err != nil {
			return t, err
		}
		if err := visit(e); err != nil {
			return t, err
		}
		t = Tail{Cut: t.Cut + int64(f.Size), Next: t.Next + 1, Head: e.Hash}
	}
	return t, nil
}

// entry checks that f is the frame that belongs at t.
func (t Tail) entry(f Frame) (Entry, error) {
	if f.Prev() != t.Head {
		return Entry{}, t.corrupt("links to %s, not to the frame before, %s", f.Prev(), t.Head)
	}
	r, err := Decode(f.Record())
	if err != nil {
		return Entry{}, t.corrupt("%v", err)
	}
	if r.Type.Where() != WhereSpool {
		return Entry{}, t.corrupt("type %s does not belong in a spool", r.Type)
	}
	if r.Seq != t.Next {
		return Entry{}, t.corrupt("holds the record with seq %d", r.Seq)
	}
	return Entry{Seq: t.Next, Offset: t.Cut, Frame: f, Hash: f.SHA256(), Record: r}, nil
}

func (t Tail) corrupt(format string, args ...any) *CorruptError {
	return &CorruptError{Seq: t.Next, Offset: t.Cut, Reason: fmt.Sprintf(format, args...)}
}
