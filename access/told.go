package access

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// told is a segment and what its records say, read and packed before the change that
// stores it: to read thousands of records takes longer than to store them, and meanwhile
// nobody else could write, a revoke neither. Each record is read once.
type told struct {
	audit.Segment
	named []Named                     // ids under which its records are found again, each where it stands first
	names map[string]bool             // the ids of named
	used  map[grant.GrantID]time.Time // newest use, by the gateway's clock
	watch map[observedKey]ObservedUse // what passed undecided; times by the gateway's clock
	calls map[string]WorkloadUse      // by the caller's name on the record; times by the gateway's clock
	err   error                       // what is wrong with it, if it is new

	packed []byte // its frames, unless something is wrong with it
}

func readSegment(r *feed.IngestRequest) (*told, error) {
	seg, err := segmentOf(r)
	if err != nil {
		return nil, err
	}
	t := &told{Segment: seg, names: map[string]bool{}, used: map[grant.GrantID]time.Time{}, watch: map[observedKey]ObservedUse{}, calls: map[string]WorkloadUse{}}
	var wrong error // with a record; what is wrong with the frames comes first
	var into bodies
	if t.err = seg.Visit(func(e audit.Entry) {
		if wrong == nil {
			wrong = t.read(&e, &into)
		}
	}); t.err == nil {
		t.err = wrong
	}
	if t.err == nil {
		t.packed = packFrames(seg.Frames)
	}
	return t, nil
}

// bodies are what the records of a segment are read into, one after the other: a new one
// for each would be most of what the reader asks memory for.
type bodies struct {
	intent  audit.Intent
	denied  audit.Denied
	outcome audit.Outcome
}

func (t *told) read(e *audit.Entry, into *bodies) error {
	r := e.Record
	switch r.Type {
	case audit.TypeActionIntent:
		b := &into.intent
		*b = audit.Intent{}
		if err := r.Into(b); err != nil {
			return err
		}
		t.under(e, b.Action, b.Grant)
		if b.Principal != "" {
			t.call(b.Principal, r.Time, WorkloadUse{App: b.App, Operation: b.Operation, Allowed: 1})
		}
	case audit.TypeActionRebound:
		var b audit.Rebound
		if err := r.Into(&b); err != nil {
			return err
		}
		t.under(e, b.Action, b.Grant)
	case audit.TypeActionObserved:
		var b audit.Observed
		if err := r.Into(&b); err != nil {
			return err
		}
		t.under(e, b.Action, b.Grant) // what would have been allowed is a use of the grant: it must not end for want of one
		if b.Principal != "" {
			u := observedOf(b, r.Time)
			t.watch[u.key()] = t.watch[u.key()].Join(u)
			t.call(b.Principal, r.Time, WorkloadUse{App: b.App, Operation: b.Operation, Code: b.Code}) // neither allowed nor denied
		}
	case audit.TypeActionDenied:
		b := &into.denied
		*b = audit.Denied{}
		if err := r.Into(b); err != nil {
			return err
		}
		t.name(e.Seq, b.Action, b.Denial)
		if b.Principal != "" {
			t.call(b.Principal, r.Time, WorkloadUse{App: b.App, Operation: b.Operation, Code: b.Code, Denied: 1})
		}
	case audit.TypeActionOutcome:
		b := &into.outcome
		*b = audit.Outcome{}
		if err := r.Into(b); err != nil {
			return err
		}
		t.name(e.Seq, b.Action)
	case audit.TypeActionDeniedCount:
		var b audit.DeniedCount
		if r.Into(&b) != nil || b.Count == 0 || b.Count > 1<<40 {
			return nil // it says nothing of anybody
		}
		// Without a name it is a certificate that proved nobody.
		if b.Peer != "" || b.Code == string(grant.BadCertificate) {
			t.call(b.Peer, r.Time, WorkloadUse{Code: b.Code, Denied: int64(b.Count)})
		}
	}
	return nil
}

// under notes that a record puts an action under a grant.
func (t *told) under(e *audit.Entry, action, under string) {
	t.name(e.Seq, action, under)
	var id grant.GrantID
	if id.UnmarshalText([]byte(under)) == nil && e.Record.Time.After(t.used[id]) {
		t.used[id] = e.Record.Time
	}
}

func (t *told) name(seq uint64, ids ...string) {
	for _, id := range ids {
		if id != "" && !t.names[id] {
			t.names[id] = true
			t.named = append(t.named, Named{ID: id, Seq: seq})
		}
	}
}

func (t *told) call(name string, at time.Time, use WorkloadUse) {
	use.First, use.Last, use.Called = at, at, at
	t.calls[name] = t.calls[name].join(use)
}

// segmentOf reads a segment off the wire. What it claims of its frames is for
// Segment.Open to hold; the link to the frame before stands in the first.
func segmentOf(r *feed.IngestRequest) (audit.Segment, error) {
	bad := func(format string, args ...any) error { return status.Errorf(codes.InvalidArgument, format, args...) }
	if len(r.GetRoot()) != len(audit.Hash{}) || len(r.GetChainHead()) != len(audit.Hash{}) {
		return audit.Segment{}, bad("root and chain head are 32 bytes")
	}
	if _, err := parseSpoolID(r.GetSpool()); err != nil {
		return audit.Segment{}, bad("%v", err)
	}
	if r.GetFirst() == 0 || r.GetLast() < r.GetFirst() || r.GetLast()-r.GetFirst() >= audit.MaxSegmentRecords {
		return audit.Segment{}, bad("segment: seq %d to %d: want 1 to %d records, from seq 1 on", r.GetFirst(), r.GetLast(), audit.MaxSegmentRecords)
	}
	first, err := audit.NextFrame(r.GetFrames())
	if err != nil {
		return audit.Segment{}, bad("segment: %v", err)
	}
	return audit.Segment{
		Spool: r.GetSpool(), First: r.GetFirst(), Last: r.GetLast(), Frames: r.GetFrames(),
		Root: audit.Hash(r.GetRoot()), ChainHead: audit.Hash(r.GetChainHead()), Prev: first.Prev(),
	}, nil
}
