package proxy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/feed/feedtest"
	"github.com/mayflyproxy/mayfly/grant"
)

// record is a log that whoever has its key can change as they like.
type record struct {
	t      *testing.T
	signer *audit.Signer
	hashes []tlog.Hash
	size   int64
}

func newRecord(t *testing.T) (*record, *audit.Verifier) {
	t.Helper()
	signer, v := audittest.NewKey(t)
	return &record{t: t, signer: signer}, v
}

func (r *record) reader() tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = r.hashes[n]
		}
		return out, nil
	}
}

// grow appends leaves.
func (r *record) grow(leaves ...string) {
	r.t.Helper()
	for _, l := range leaves {
		hashes, err := tlog.StoredHashes(r.size, []byte(l), r.reader())
		if err != nil {
			r.t.Fatal(err)
		}
		r.hashes, r.size = append(r.hashes, hashes...), r.size+1
	}
}

// copied is a copy, as a backup makes it, of the first size entries.
func (r *record) copied(size int64) *record {
	n := tlog.StoredHashCount(size)
	return &record{t: r.t, signer: r.signer, hashes: slices.Clone(r.hashes[:n]), size: size}
}

func (r *record) note() []byte {
	r.t.Helper()
	root, err := tlog.TreeHash(r.size, r.reader())
	if err != nil {
		r.t.Fatal(err)
	}
	note, err := r.signer.Sign(r.size, audit.Hash(root))
	if err != nil {
		r.t.Fatal(err)
	}
	return note
}

// proof is what an honest mayflyd sends to one that named a checkpoint of that size.
func (r *record) proof(old int64) (out [][]byte) {
	r.t.Helper()
	if old <= 0 || old >= r.size {
		return nil
	}
	p, err := tlog.ProveTree(r.size, old, r.reader())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range p {
		out = append(out, h[:])
	}
	return out
}

// watched is a gateway with a grant that keeps checkpoints.
type watched struct {
	*memory
	grant  grant.GrantID
	record *record
	key    *audit.Verifier
	file   string
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{memory: newMemory(t), grant: newIDs().next(), file: filepath.Join(t.TempDir(), "checkpoint")}
	w.record, w.key = newRecord(t)
	w.record.grow("1", "2", "3", "4", "5")
	w.restart()
	return w
}

// restart starts the gateway again over what it kept on disk.
func (w *watched) restart() {
	w.t.Helper()
	witness, err := OpenWitness(WitnessConfig{Record: w.key, File: w.file})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Table = w.open(nil)
	w.Table.witness = witness
	w.swap(stripeApp(), refunds(w.grant, refunder, time.Hour))
}

// beat is one Ping and its Pong by a control plane that has that record. It reports
// whether the Pong counted.
func (w *watched) beat(r *record) error {
	w.t.Helper()
	named, size := w.ping()
	return w.answer(named, r.note(), r.proof(size))
}

func (w *watched) ping() (named []byte, size int64) {
	p := &feed.Ping{}
	w.Describe(p)
	return p.GetCheckpoint(), p.GetCheckpointSize()
}

func (w *watched) answer(named, note []byte, proof [][]byte) error {
	w.t.Helper()
	p := &feed.Pong{Epoch: w.at.Epoch, Head: w.at.Revision, TimeUs: w.machine.plane().UnixMicro(), Checkpoint: note, Consistency: proof}
	if err := w.Extends(named, p); err != nil {
		return err
	}
	if err := w.Ponged(w.machine.now(), p); err != nil {
		w.t.Fatal(err)
	}
	return nil
}

// fork is another history of the record from an entry on, longer than it.
func (w *watched) fork(from int64) *record {
	f := w.record.copied(from)
	f.grow("another", "history", "of", "the", "same", "log")
	return f
}

func (w *watched) kept() int64 {
	c, _, _ := w.witness.Kept()
	return c.Size
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// What a control plane may show after five entries were seen.
func TestP9_OnlyARecordThatGoesOnRenewsTheLease(t *testing.T) {
	stranger, _ := newRecord(t)
	stranger.grow("1", "2", "3", "4", "5")
	for _, c := range []struct {
		name  string
		show  func(w *watched) (note []byte, proof [][]byte)
		want  string // in the alarm; "" counts
		final bool   // until an operator acts
	}{
		{"the same", func(w *watched) ([]byte, [][]byte) { return w.record.note(), nil }, "", false},
		{"more of it", func(w *watched) ([]byte, [][]byte) {
			w.record.grow("6", "7")
			return w.record.note(), w.record.proof(5)
		}, "", false},
		{"less of it", func(w *watched) ([]byte, [][]byte) { return w.record.copied(3).note(), nil }, "set back", false},
		{"nothing of it", func(w *watched) ([]byte, [][]byte) { return w.record.copied(0).note(), nil }, "set back", false},
		{"as many other entries", func(w *watched) ([]byte, [][]byte) {
			f := w.record.copied(4)
			f.grow("another")
			return f.note(), nil
		}, "different roots", true},
		{"more of another one", func(w *watched) ([]byte, [][]byte) { f := w.fork(4); return f.note(), f.proof(5) }, "does not begin", true},
		{"more without proof", func(w *watched) ([]byte, [][]byte) { w.record.grow("6"); return w.record.note(), nil }, "nothing shows", false},
		{"more with a cut proof", func(w *watched) ([]byte, [][]byte) {
			w.record.grow("6")
			p := w.record.proof(5)
			return w.record.note(), p[1:]
		}, "does not begin", true},
		{"more with half a hash", func(w *watched) ([]byte, [][]byte) {
			w.record.grow("6")
			p := w.record.proof(5)
			p[0] = p[0][:16]
			return w.record.note(), p
		}, "does not begin", true},
		{"signed by another key", func(w *watched) ([]byte, [][]byte) { return stranger.note(), nil }, "signature", false},
		{"not signed", func(w *watched) ([]byte, [][]byte) { return []byte("mayfly.acme.example/log\n5\n\n"), nil }, "checkpoint", false},
		{"none", func(w *watched) ([]byte, [][]byte) { return nil, nil }, "checkpoint", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatched(t)
			w.must(w.beat(w.record))
			w.machine.pass(10 * time.Second)
			named, _ := w.ping()
			note, proof := c.show(w)
			err := w.answer(named, note, proof)
			age, _ := w.Freshness()
			if c.want == "" {
				if err != nil || age != 0 || len(w.alarmed()) != 0 || w.reason() != "" {
					t.Fatalf("%v, age %s, alarms %v, requests get %q", err, age, w.alarmed(), w.reason())
				}
				return
			}
			if err == nil || age != 10*time.Second {
				t.Fatalf("it counts: %v, age %s", err, age)
			}
			if got := w.alarmed(); len(got) != 1 || got[0].Reason != grant.RecordUnavailable || !strings.Contains(got[0].Text, c.want) {
				t.Errorf("alarms %+v, want one with %q", got, c.want)
			}
			want := grant.Reason("")
			if c.final {
				want = grant.RecordUnavailable
			}
			if got := w.reason(); got != want {
				t.Errorf("at once requests get %q, want %q", got, want)
			}
			if err := w.answer(named, note, proof); err == nil || len(w.alarmed()) != 1 {
				t.Errorf("again: %v, and %d alarms", err, len(w.alarmed()))
			}
			w.machine.pass(10 * time.Second)
			if got := w.reason(); got == "" {
				t.Error("requests pass after the lease")
			}
			if err := w.beat(w.record); (err != nil) != c.final {
				t.Errorf("the record comes back: %v", err)
			}
		})
	}
}

// A contradiction stays over a restart, with both checkpoints as evidence, until an
// operator lets go of what is kept; that is recorded.
func TestP9_AContradictionStaysUntilAnOperatorActs(t *testing.T) {
	w := newWatched(t)
	w.must(w.beat(w.record))
	right, fork := w.record.note(), w.fork(3)
	if w.beat(fork) == nil {
		t.Fatal("a fork counts")
	}
	for _, c := range []struct{ file, want string }{{w.file, string(right)}, {w.file + ".contradiction", string(fork.note())}} {
		if b, err := os.ReadFile(c.file); err != nil || string(b) != c.want {
			t.Errorf("%s holds %q, %v", c.file, b, err)
		}
	}
	if a := w.alarmed()[0]; string(a.Kept) != string(right) || string(a.Shown) != string(fork.note()) {
		t.Errorf("the alarm has not both checkpoints: %+v", a)
	}
	w.restart()
	if got := w.reason(); got != grant.RecordUnavailable {
		t.Errorf("after a restart requests get %q", got)
	}
	if w.beat(w.record) == nil || w.beat(fork) == nil {
		t.Error("after a restart something counts")
	}
	named, _ := w.ping() // on its way while the operator acts
	w.must(w.ResetCheckpoint())
	if a := w.alarmed(); !strings.Contains(a[len(a)-1].Text, "by an operator") || string(a[len(a)-1].Kept) != string(right) || string(a[len(a)-1].Shown) != string(fork.note()) {
		t.Errorf("what the operator did is not recorded: %+v", a[len(a)-1])
	}
	w.must(w.answer(named, fork.note(), fork.proof(5)))
	w.must(w.beat(fork))
	if got := w.reason(); got != "" {
		t.Errorf("after the reset requests get %q", got)
	}
	if _, err := os.Stat(w.file + ".contradiction"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the contradiction is still there: %v", err)
	}
	var found []string
	files, err := os.ReadDir(filepath.Join(filepath.Dir(w.file), "evidence"))
	w.must(err)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(w.file), "evidence", f.Name()))
		w.must(err)
		found = append(found, string(b))
	}
	if !slices.Contains(found, string(right)) || !slices.Contains(found, string(fork.note())) {
		t.Errorf("the evidence is gone: %q", found)
	}
	w.restart()
	if w.beat(fork) != nil || w.beat(w.record) == nil {
		t.Error("a restart brings back what the operator let go of")
	}
}

// The newest checkpoint outlives the process, for the owner's eyes only.
func TestP9_TheNewestCheckpointOutlivesTheProcess(t *testing.T) {
	w := newWatched(t)
	w.must(w.beat(w.record))
	w.record.grow("6", "7", "8")
	w.must(w.beat(w.record))
	w.must(w.witness.Save())
	if info, err := os.Stat(w.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if b, err := os.ReadFile(w.file); err != nil || string(b) != string(w.record.note()) {
		t.Errorf("the file is not the signed checkpoint: %q, %v", b, err)
	}
	w.restart()
	if w.kept() != 8 {
		t.Fatalf("%d entries are known", w.kept())
	}
	if w.beat(w.record.copied(7)) == nil || w.beat(w.fork(7)) == nil {
		t.Error("a restarted gateway believes an older or another record")
	}
}

// Whatever lies in the file, a gateway does not begin anew by itself.
func TestP9_AnUnreadableKeptCheckpointDeniesUntilAnOperatorActs(t *testing.T) {
	w := newWatched(t)
	other, _ := newRecord(t)
	for name, content := range map[string]string{"garbage": "garbage", "empty": "", "another record's": string(other.note())} {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			w.must(os.WriteFile(w.file, []byte(content), 0o600))
			w.restart()
			if err := w.beat(w.record); err == nil || w.reason() != grant.RecordUnavailable {
				t.Fatalf("%v, requests get %q", err, w.reason())
			}
			w.must(w.ResetCheckpoint())
			w.must(w.beat(w.record))
		})
	}
	w.must(w.beat(w.record)) // without a file the first one is taken
}

// What contradicted the record before stays evidence when the kept file is spoilt too.
func TestP9_ASpoiltFileLosesNoEvidence(t *testing.T) {
	w := newWatched(t)
	w.record.grow("6")
	w.must(w.beat(w.record))
	fork := w.fork(5)
	if w.beat(fork) == nil {
		t.Fatal("another record counts")
	}
	w.must(os.WriteFile(w.file, []byte("garbage"), 0o600))
	w.restart()
	w.must(w.ResetCheckpoint())
	aside := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(w.file), evidenceDir, "*"))
	w.must(err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		w.must(err)
		aside[string(b)] = true
	}
	if !aside[string(fork.note())] || !aside["garbage"] {
		t.Errorf("put aside: %v", aside)
	}
}

// Answers that take longer than a second cross with the next Pings. They count from
// when those were sent; what is kept goes on only by what is shown to continue it.
func TestP9_AnswersToOlderPingsKeepNothing(t *testing.T) {
	w := newWatched(t)
	w.must(w.beat(w.record))
	named, size := w.ping()
	w.record.grow("6")
	first, proof := w.record.note(), w.record.proof(size)
	w.record.grow("7")
	second, proof2 := w.record.note(), w.record.proof(size)
	fork := w.fork(5)
	third, proof3 := fork.note(), fork.proof(size)
	w.must(w.answer(named, first, proof))
	w.must(w.answer(named, second, proof2))
	if w.kept() != 6 {
		t.Fatalf("%d entries are kept", w.kept())
	}
	w.must(w.answer(named, third, proof3)) // nobody can tell yet, and it renews nothing that was asked for later
	if w.kept() != 6 {
		t.Fatalf("%d entries are kept", w.kept())
	}
	if w.beat(fork) == nil {
		t.Error("the next one of the fork counts")
	}
}

// A control plane that was set back tells a snapshot from before, and is not asked for
// a checkpoint while it does: that alone raises the alarm, once.
func TestP9_AStateFromBeforeRaisesTheAlarm(t *testing.T) {
	w := newWatched(t)
	w.must(w.beat(w.record))
	old := feed.Position{Epoch: w.at.Epoch, Revision: w.at.Revision - 1}
	for range 3 {
		if _, _, err := feedtest.Swap(t.Context(), w, old, nil); err == nil {
			t.Fatal("a snapshot from before is taken in")
		}
	}
	if got := w.alarmed(); len(got) != 1 || got[0].Reason != grant.RecordUnavailable || !strings.Contains(got[0].Text, "set back") {
		t.Errorf("alarms %+v", got)
	}
	p := &feed.Ping{}
	if w.Describe(p); !strings.Contains(p.GetDoubt(), "set back") || w.Status().Doubt == nil {
		t.Errorf("it is not said: %q, %v", p.GetDoubt(), w.Status().Doubt)
	}
	w.swap(stripeApp(), refunds(w.grant, refunder, time.Hour))
	if doubt := w.Status().Doubt; doubt != nil {
		t.Errorf("it is said for ever: %v", doubt)
	}
}
