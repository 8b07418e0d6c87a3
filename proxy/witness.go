package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
)

const keepEvery = time.Second

// WitnessConfig configures a Witness.
type WitnessConfig struct {
	// Record opens the record's checkpoints. Required.
	Record *audit.Verifier
	// File keeps the newest over restarts, as a signed note. Required.
	File string
	// Log is for operators; nil discards.
	Log *slog.Logger
}

// Witness keeps the newest checkpoint of the record that this gateway was shown, and
// counts nothing that does not continue it (P9; contracts §5, rollback and forks): a
// control plane that went back, or that shows this gateway another record than others,
// is found with its next Pong. One that contradicts what is kept stays disbelieved
// until Reset, and both signed checkpoints stay on disk as evidence. Safe for
// concurrent use.
type Witness struct {
	c WitnessConfig

	refused atomic.Pointer[grant.Denial] // why nothing is decided until Reset

	mu    sync.Mutex
	kept  witnessed // the newest; no note: none yet
	shown []byte    // the note that contradicts it, nil: none
	doubt *Doubt    // of the newest Pong, nil: it counted

	disk  sync.Mutex // taken before mu; nothing else waits for it
	saved []byte     // the note in File
}

type witnessed struct {
	audit.Checkpoint
	note []byte
}

// Doubt is why a Pong does not count for what it shows of the record.
type Doubt struct {
	Text string
	// Kept and Shown are the signed checkpoints that contradict each other; nil if
	// nothing is contradicted: then the record may yet come back.
	Kept, Shown []byte
}

// Error returns the text.
func (d *Doubt) Error() string { return d.Text }

// OpenWitness reads what was kept before. Without a file the first checkpoint that the
// key signed is taken as it is.
func OpenWitness(c WitnessConfig) (*Witness, error) {
	if c.Record == nil || c.File == "" {
		return nil, errors.New("witness: Record and File are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	w := &Witness{c: c}
	note, err := readKept(c.File)
	if err != nil {
		return nil, err
	}
	shown, err := readKept(w.shownFile())
	if err != nil {
		return nil, err
	}
	w.saved = note
	if note != nil {
		w.kept.note = note
		if w.kept.Checkpoint, err = c.Record.Open(note); err != nil {
			if shown == nil {
				shown = note
			} // else both are evidence
			w.contradicted(shown, fmt.Sprintf("the checkpoint that is kept in %s is not of this record: %v", c.File, err))
			return w, nil
		}
	}
	if shown != nil {
		w.contradicted(shown, "another record was shown before this process started")
	}
	return w, nil
}

func readKept(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept checkpoint: %w", err)
	}
	return b, nil
}

// shownFile keeps the note that contradicts the one in File.
func (w *Witness) shownFile() string { return w.c.File + ".contradiction" }

// Trusted returns nil unless a record was shown that contradicts the one kept. Then it
// is a Denial, until Reset.
func (w *Witness) Trusted() error {
	if w == nil {
		return nil
	}
	if d := w.refused.Load(); d != nil {
		out := *d // callers give a denial its id
		return &out
	}
	return nil
}

// Kept returns the newest checkpoint and its signed note, nil if there is none, and why
// the newest Pong did not count.
func (w *Witness) Kept() (c audit.Checkpoint, note []byte, doubt *Doubt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept.Checkpoint, w.kept.note, w.doubt
}

// Extends reports, as nil, that a signed checkpoint continues the record as this
// gateway has seen it, and keeps it. named is the one that was asked to be continued:
// the proof shows that the shown tree begins with it. news says that an error is not
// the last one over again. It does not wait for the disk unless there is evidence to
// keep.
func (w *Witness) Extends(named, signed []byte, proof [][]byte) (doubt *Doubt, news bool) {
	w.mu.Lock()
	before := w.doubt
	if w.shown == nil {
		w.doubt = w.judge(named, signed, proof)
	}
	doubt, shown := w.doubt, w.shown
	w.mu.Unlock()
	news = doubt != nil && (before == nil || before.Shown == nil && doubt.Shown != nil)
	if news && shown != nil {
		w.keepEvidence(shown)
	}
	return doubt, news
}

// judge says what is wrong with a checkpoint, and keeps it if nothing is.
func (w *Witness) judge(named, signed []byte, proof [][]byte) *Doubt {
	if w.kept.note != nil && bytes.Equal(signed, w.kept.note) {
		return nil
	}
	c, err := w.c.Record.Open(signed)
	if err != nil {
		return doubtf("the record's checkpoint does not count: %v", err)
	}
	switch kept := w.kept.Checkpoint; {
	case w.kept.note == nil:
	case c.Size < kept.Size:
		return doubtf("the record has %d entries, and this gateway has seen %d: the control plane was set back, or is behind", c.Size, kept.Size)
	case c == kept: // signed anew
	case c.Size == kept.Size:
		return w.contradicted(signed, fmt.Sprintf("two checkpoints of %d entries have different roots", c.Size))
	case len(proof) == 0:
		return doubtf("the record has %d entries, and nothing shows that the %d which this gateway has seen are among them", c.Size, kept.Size)
	case !bytes.Equal(named, w.kept.note):
		return w.older(named, c, proof)
	default:
		if err := audit.CheckTree(hashesOf(proof), c, kept); err != nil {
			return w.contradicted(signed, err.Error())
		}
	}
	w.kept = witnessed{c, bytes.Clone(signed)}
	return nil
}

// older judges the answer to a Ping that was sent before the newest checkpoint came: it
// proves that it continues the one before. The Pong counts from when its Ping was sent,
// which was before any record but the right one could have been shown; what it shows is
// not kept.
func (w *Witness) older(named []byte, c audit.Checkpoint, proof [][]byte) *Doubt {
	from, err := w.c.Record.Open(named)
	if err == nil {
		err = audit.CheckTree(hashesOf(proof), c, from)
	}
	if err != nil {
		return doubtf("an answer to an older ping: %v", err)
	}
	return nil
}

func doubtf(format string, args ...any) *Doubt { return &Doubt{Text: fmt.Sprintf(format, args...)} }

// contradicted makes everything be denied until Reset.
func (w *Witness) contradicted(shown []byte, why string) *Doubt {
	w.shown = bytes.Clone(shown)
	w.doubt = &Doubt{Text: why, Kept: w.kept.note, Shown: w.shown}
	w.refused.Store(grant.Deny(grant.RecordUnavailable, "the gateway was shown another record than the one that it has seen: nothing is decided until its operator has looked"))
	return w.doubt
}

// hashesOf reads a proof; one of another form proves nothing.
func hashesOf(proof [][]byte) []audit.Hash {
	out := make([]audit.Hash, len(proof))
	for i, b := range proof {
		if len(b) != len(audit.Hash{}) {
			return nil
		}
		out[i] = audit.Hash(b)
	}
	return out
}

// keepEvidence writes both notes. What cannot be written is in the log and, with the
// alarm, on the record.
func (w *Witness) keepEvidence(shown []byte) {
	err := w.Save()
	w.disk.Lock()
	defer w.disk.Unlock()
	if err = errors.Join(err, replaceFile(w.shownFile(), shown)); err != nil {
		w.c.Log.Error("the checkpoint that contradicts the kept one is not on disk", "error", err, "checkpoint", string(shown))
	}
}

// Save writes the newest checkpoint to the file, if it is not there yet.
func (w *Witness) Save() error {
	w.disk.Lock()
	defer w.disk.Unlock()
	_, note, _ := w.Kept()
	if note == nil || bytes.Equal(note, w.saved) {
		return nil
	}
	if err := replaceFile(w.c.File, note); err != nil {
		return fmt.Errorf("keep the newest checkpoint: %w", err)
	}
	w.saved = note
	return nil
}

// Run saves the newest checkpoint each second until ctx ends, and once more. The
// process after it goes on from there: a crash loses the newest second at most, and
// what is on disk is of the same record.
func (w *Witness) Run(ctx context.Context) error {
	if w == nil {
		return nil
	}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return w.Save()
		case <-tick.C:
			err := w.Save()
			if err != nil && !failed {
				w.c.Log.Error("the newest checkpoint cannot be kept over a restart", "error", err)
			}
			failed = err != nil
		}
	}
}

// Reset lets go of what is kept: the next checkpoint that the key signed is taken as it
// is. It returns what it let go of. It is an operator's decision, to be recorded by the
// caller; the files are moved to the folder evidence beside them.
func (w *Witness) Reset() (kept, shown []byte, err error) {
	w.disk.Lock()
	defer w.disk.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for path, note := range map[string][]byte{w.c.File: w.kept.note, w.shownFile(): w.shown} {
		if err := putAside(path, note); err != nil {
			return nil, nil, fmt.Errorf("let go of the kept checkpoint: %w", err)
		}
	}
	kept, shown = w.kept.note, w.shown
	w.kept, w.shown, w.doubt, w.saved = witnessed{}, nil, nil, nil
	w.refused.Store(nil)
	return kept, shown, nil
}
