package env

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
)

// Export fetches the whole record into dir, which must not be there yet, as a
// client of the security group.
func (e *Env) Export(ctx context.Context, client *api.Client, dir string) error {
	stream, err := client.Export(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for archive := tar.NewReader(stream); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpack(dir, h, archive); err != nil {
			return err
		}
	}
}

func unpack(dir string, h *tar.Header, r io.Reader) error {
	name := strings.TrimSuffix(h.Name, "/")
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the export", h.Name)
	}
	path := filepath.Join(dir, name)
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(path, 0o700)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Verify checks an export with the key that mayflyd init printed, against
// checkpoints kept from before.
func (e *Env) Verify(dir string, kept ...[]byte) (audit.Report, error) {
	key, err := os.ReadFile(e.keyFile)
	if err != nil {
		return audit.Report{}, err
	}
	return audit.Verify(dir, audit.VerifyOptions{Key: strings.TrimSpace(string(key)), Kept: kept})
}

// Record is what an export says, read but not checked: Verify first.
type Record struct {
	Leaves   []audit.Record
	Intents  map[string]Intent          // by action
	Observed map[string]audit.Observed  // what passed undecided, by action: no intents
	Outcomes map[string]audit.Outcome   // by action
	Rebounds map[string][]audit.Rebound // by action, in their order
	Denied   map[string]int             // verbatim denials by reason code
	Grants   map[string]time.Time       // not_after by grant
	Ended    map[string]time.Time       // when revoked or finished, by grant
	Settled  map[string]time.Time       // when every instance had acknowledged that, or could hold it no longer
	Reserved map[string]string          // action to grant

	read map[string]part // by file of the export
}

// part is the begin of a file that was read.
type part struct {
	size int
	sum  [sha256.Size]byte
	tail audit.Tail // of frames
}

// Intent is one action.intent.
type Intent struct {
	audit.Intent
	Time  time.Time
	Node  string
	Spool string
	Seq   uint64
}

// ReadRecord reads an export.
func ReadRecord(dir string) (*Record, error) {
	r := NewRecord()
	return r, r.Read(dir)
}

// NewRecord returns one of which nothing was read.
func NewRecord() *Record {
	return &Record{
		Intents: map[string]Intent{}, Observed: map[string]audit.Observed{}, Outcomes: map[string]audit.Outcome{}, Rebounds: map[string][]audit.Rebound{}, Denied: map[string]int{},
		Grants: map[string]time.Time{}, Ended: map[string]time.Time{}, Settled: map[string]time.Time{}, Reserved: map[string]string{},
		read: map[string]part{},
	}
}

// Read reads what an export has beyond the one read before. It fails if that one is
// not the begin of this one, byte by byte.
func (r *Record) Read(dir string) error {
	for path := range r.read {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			return fmt.Errorf("what was on record is gone: %w", err)
		}
	}
	for pattern, read := range map[string]func(spool string, text []byte, p *part) error{
		"leaves/*.jsonl": r.leaves, "segments/*.frames": r.frames,
	} {
		paths, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		sort.Strings(paths)
		for _, path := range paths {
			if err := r.more(dir, path, read); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// more reads on in one file.
func (r *Record) more(dir, path string, read func(spool string, text []byte, p *part) error) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	p, ok := r.read[name]
	if ok && (len(text) < p.size || sha256.Sum256(text[:p.size]) != p.sum) {
		return errors.New("what was on record is not as it was")
	}
	if !ok {
		p.tail.Next = 1
	}
	if err := read(strings.TrimSuffix(filepath.Base(path), ".frames"), text[p.size:], &p); err != nil {
		return err
	}
	p.size, p.sum = len(text), sha256.Sum256(text)
	r.read[name] = p
	return nil
}

func (r *Record) leaves(_ string, text []byte, _ *part) error {
	for line := range bytes.Lines(text) {
		leaf, err := audit.Decode(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return err
		}
		r.Leaves = append(r.Leaves, leaf)
		body, err := leaf.Map()
		if err != nil {
			return err
		}
		of := func(name string) string { s, _ := body[name].(string); return s }
		switch leaf.Type {
		case audit.TypeGrantCreated:
			if r.Grants[of("grant")], err = audit.ParseStamp(of("not_after")); err != nil {
				return err
			}
		case audit.TypeGrantRevoked, audit.TypeGrantFinished, audit.TypeGrantIdle:
			r.Ended[of("grant")] = leaf.Time
		case audit.TypeGrantReceipts:
			r.Settled[of("grant")] = leaf.Time
		case audit.TypeActionReserved:
			r.Reserved[of("action")] = of("grant")
		}
	}
	return nil
}

func (r *Record) frames(spool string, text []byte, p *part) error {
	tail, err := audit.ScanFrames(text, p.tail.Head, p.tail.Next, func(e audit.Entry) error {
		switch e.Record.Type {
		case audit.TypeActionIntent:
			i := Intent{Time: e.Record.Time, Node: e.Record.Node, Spool: spool, Seq: e.Seq}
			if err := e.Record.Into(&i.Intent); err != nil {
				return err
			}
			r.Intents[i.Action] = i
		case audit.TypeActionObserved:
			var o audit.Observed
			if err := e.Record.Into(&o); err != nil {
				return err
			}
			r.Observed[o.Action] = o
		case audit.TypeActionOutcome:
			var o audit.Outcome
			if err := e.Record.Into(&o); err != nil {
				return err
			}
			r.Outcomes[o.Action] = o
		case audit.TypeActionRebound:
			var b audit.Rebound
			if err := e.Record.Into(&b); err != nil {
				return err
			}
			r.Rebounds[b.Action] = append(r.Rebounds[b.Action], b)
		case audit.TypeActionDenied:
			var d audit.Denied
			if err := e.Record.Into(&d); err != nil {
				return err
			}
			r.Denied[d.Code]++
		}
		return nil
	})
	if err == nil && tail.Torn {
		err = errors.New("the export ends with half a frame")
	}
	p.tail = tail
	return err
}

// Late is how long after a grant's end its last request may still arrive.
const Late = 250 * time.Millisecond

// Breach is one way in which what reached an upstream is not as the record says.
type Breach struct {
	Kind    BreachKind
	Arrival Arrival
	Because string
}

// BreachKind is what is wrong with an arrival.
type BreachKind int

const (
	Unrecorded BreachKind = iota + 1 // it has no intent, or none of a grant
	AfterEnd                         // its grant had ended by time, or on every instance
	Twice                            // its action had arrived before
	Other                            // its intent is for something else
)

// Error implements error.
func (b *Breach) Error() string {
	a := b.Arrival
	return fmt.Sprintf("%s %s at %s under %q: %s", a.Method, a.Path, a.At.UTC().Format(time.RFC3339Nano), a.Action, b.Because)
}

// Hold compares what reached the upstreams with the record: a Breach for each
// arrival without an intent (or, of an app in observe mode, without a record of that), later than Late after its grant's not_after or after
// the receipts of its early end, or under an action id that arrived before.
func (r *Record) Hold(arrivals []Arrival) []*Breach {
	var out []*Breach
	seen := map[string]bool{}
	for _, a := range arrivals {
		breach := func(kind BreachKind, format string, args ...any) {
			out = append(out, &Breach{Kind: kind, Arrival: a, Because: fmt.Sprintf(format, args...)})
		}
		i, ok := r.Intents[a.Action]
		o, observed := r.Observed[a.Action]
		if !ok && !observed {
			breach(Unrecorded, "no intent on record")
			continue
		}
		if observed {
			i.Try = o.Try
		}
		if seen[a.Action] {
			breach(Twice, "arrived twice")
		}
		seen[a.Action] = true
		if i.App != a.App || i.Ask.Method != a.Method {
			breach(Other, "the intent is for %s %s", i.Ask.Method, i.App)
		}
		if observed { // under no grant: only while its app was in observe mode
			if !o.Until.IsZero() && a.At.Sub(o.Until.Time) > Late {
				breach(AfterEnd, "its app was enforced from %s on", audit.Stamp(o.Until.Time))
			}
			continue
		}
		end, ok := r.Grants[i.Grant]
		if !ok {
			breach(Unrecorded, "its grant %s is not on record", i.Grant)
		} else if late := a.At.Sub(end); late > Late {
			breach(AfterEnd, "%s after the end of %s", late, i.Grant)
		}
		if settled, ok := r.Settled[i.Grant]; ok && a.At.Sub(settled) > Late {
			breach(AfterEnd, "%s after no gateway took %s any more", a.At.Sub(settled), i.Grant)
		}
	}
	return out
}
