package env

import (
	"archive/tar"
	"bytes"
	"context"
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
	Outcomes map[string]audit.Outcome   // by action
	Rebounds map[string][]audit.Rebound // by action, in their order
	Denied   map[string]int             // verbatim denials by reason code
	Grants   map[string]time.Time       // not_after by grant
	Ended    map[string]time.Time       // when revoked or finished, by grant
	Reserved map[string]string          // action to grant
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
	r := &Record{
		Intents: map[string]Intent{}, Outcomes: map[string]audit.Outcome{}, Rebounds: map[string][]audit.Rebound{}, Denied: map[string]int{},
		Grants: map[string]time.Time{}, Ended: map[string]time.Time{}, Reserved: map[string]string{},
	}
	for pattern, read := range map[string]func(path string, text []byte) error{
		"leaves/*.jsonl": r.leaves, "segments/*.frames": r.frames,
	} {
		paths, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		sort.Strings(paths)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			if err := read(path, text); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return r, nil
}

func (r *Record) leaves(_ string, text []byte) error {
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
		case audit.TypeActionReserved:
			r.Reserved[of("action")] = of("grant")
		}
	}
	return nil
}

func (r *Record) frames(path string, text []byte) error {
	spool := strings.TrimSuffix(filepath.Base(path), ".frames")
	tail, err := audit.ScanFrames(text, audit.Hash{}, 1, func(e audit.Entry) error {
		switch e.Record.Type {
		case audit.TypeActionIntent:
			i := Intent{Time: e.Record.Time, Node: e.Record.Node, Spool: spool, Seq: e.Seq}
			if err := e.Record.Into(&i.Intent); err != nil {
				return err
			}
			r.Intents[i.Action] = i
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
	return err
}

// Late is how long after a grant's end its last request may still arrive.
const Late = 250 * time.Millisecond

// Hold compares what reached the upstreams with the record: an error for each
// arrival without an intent, after its grant's not_after and Late, or under an
// action id that arrived before.
func (r *Record) Hold(arrivals []Arrival) []error {
	var out []error
	seen := map[string]bool{}
	for _, a := range arrivals {
		where := fmt.Sprintf("%s %s at %s under %q", a.Method, a.Path, a.At.UTC().Format(time.RFC3339Nano), a.Action)
		i, ok := r.Intents[a.Action]
		if !ok {
			out = append(out, fmt.Errorf("%s: no intent on record", where))
			continue
		}
		if seen[a.Action] {
			out = append(out, fmt.Errorf("%s: arrived twice", where))
		}
		seen[a.Action] = true
		if i.App != a.App || i.Ask.Method != a.Method {
			out = append(out, fmt.Errorf("%s: the intent is for %s %s", where, i.Ask.Method, i.App))
		}
		end, ok := r.Grants[i.Grant]
		if !ok {
			out = append(out, fmt.Errorf("%s: its grant %s is not on record", where, i.Grant))
		} else if late := a.At.Sub(end); late > Late {
			out = append(out, fmt.Errorf("%s: %s after the end of %s", where, late, i.Grant))
		}
	}
	return out
}
