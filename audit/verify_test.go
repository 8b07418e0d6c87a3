package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/audit/audittest"
)

const spoolB = "spl_0000000000000000000000000B"

// world is a small record as mayflyd and two sidecars write it.
type world struct {
	audittest.Memory
	t      testing.TB
	signer *audit.Signer
	key    string
	now    time.Time
	ids    int
	spools map[string]*worldSpool
}

type worldSpool struct {
	frames   []byte
	starts   []int // of frame seq i+1
	head     audit.Hash
	shipped  int // frames anchored
	shipHead audit.Hash
}

func newWorld(t testing.TB) *world {
	s, v := newKey(t)
	return &world{t: t, signer: s, key: v.Key(), now: start(), spools: map[string]*worldSpool{spoolA: {}, spoolB: {}}}
}

func (w *world) record(typ audit.Type, seq uint64, body any) audit.Record {
	w.ids++
	w.now = w.now.Add(time.Millisecond)
	return audit.Record{ID: recordID(w.ids), Type: typ, Time: w.now, Node: "mayflyd", Seq: seq, Body: body}
}

func (w *world) leaf(typ audit.Type, body any) int64 {
	w.t.Helper()
	i, err := audit.Append(w.t.Context(), w, w.record(typ, 0, body))
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// frame writes into a spool and returns seq and frame SHA-256.
func (w *world) frame(spool string, typ audit.Type, body any) (uint64, audit.Hash) {
	w.t.Helper()
	s := w.spools[spool]
	seq := uint64(len(s.starts) + 1)
	b, err := audit.Encode(w.record(typ, seq, body))
	if err != nil {
		w.t.Fatal(err)
	}
	s.starts = append(s.starts, len(s.frames))
	if s.frames, s.head, err = audit.AppendFrame(s.frames, s.head, b); err != nil {
		w.t.Fatal(err)
	}
	return seq, s.head
}

func (w *world) ship(spool string) int64 {
	w.t.Helper()
	s := w.spools[spool]
	seg, err := audit.NewSegment(spool, s.shipHead, uint64(s.shipped+1), s.frames[s.starts[s.shipped]:])
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := audit.CheckSegment(s.shipHead, uint64(s.shipped+1), seg); err != nil {
		w.t.Fatal(err)
	}
	s.shipped, s.shipHead = len(s.starts), s.head
	return w.leaf(audit.TypeSegmentAnchored, seg.Anchor())
}

func (w *world) grant(id string, notAfter time.Time) {
	w.leaf(audit.TypeGrantCreated, map[string]any{"grant": id, "not_after": audit.Stamp(notAfter), "app": "stripe"})
}

func intent(action, grant, class string) audit.Intent {
	return audit.Intent{Grant: grant, Try: audit.Try{Action: action, App: "stripe", Operation: "refunds.create", Class: class}}
}

func (w *world) intent(spool, action, grant, class string, reserve bool) {
	seq, sha := w.frame(spool, audit.TypeActionIntent, intent(action, grant, class))
	if reserve {
		w.leaf(audit.TypeActionReserved, audit.Reserved{
			Action: action, Grant: grant, Class: class, Calls: 1, Spool: spool, Seq: seq, Frame: sha})
	}
}

func (w *world) outcome(spool, action string, r audit.Result) {
	w.frame(spool, audit.TypeActionOutcome, audit.Outcome{Action: action, Result: r, Status: 200})
}

// fill writes actions and other leaves until the log has n leaves.
func (w *world) fill(n int) {
	w.grant("grt_1", w.now.Add(time.Hour))
	w.frame(spoolA, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolA})
	w.frame(spoolB, audit.TypeSpoolStarted, audit.SpoolStarted{Spool: spoolB})
	for i := 0; i < 100 && len(w.Leaves) < n-7; i++ {
		spool := []string{spoolA, spoolB}[i%2]
		action := fmt.Sprintf("act_%d", i)
		w.intent(spool, action, "grt_1", []string{"read", "money", "write", "admin"}[i%4], i%2 == 1)
		w.outcome(spool, action, audit.ResultSent)
		w.leaf(audit.TypeLogin, map[string]any{"who": "p_0"})
		if i%8 == 7 {
			w.ship(spoolA)
			w.ship(spoolB)
		}
	}
	for len(w.Leaves) < n-2 {
		w.leaf(audit.TypeLogin, nil)
	}
	w.frame(spoolA, audit.TypeActionDeniedCount, audit.DeniedCount{Code: "no_grant", Count: 3})
	w.frame(spoolB, audit.TypeActionDeniedCount, audit.DeniedCount{Code: "no_grant", Count: 3})
	w.ship(spoolA)
	w.ship(spoolB)
}

func (w *world) checkpoint() []byte {
	w.t.Helper()
	size := int64(len(w.Leaves))
	root, err := audit.TreeHash(w.t.Context(), w, size)
	if err != nil {
		w.t.Fatal(err)
	}
	return sign(w.t, w.signer, size, root)
}

// Frames makes world an audit.ExportSource.
func (w *world) Frames(_ context.Context, spool string, first, last uint64) ([]byte, error) {
	s := w.spools[spool]
	end := len(s.frames)
	if int(last) < len(s.starts) {
		end = s.starts[last]
	}
	return s.frames[s.starts[first-1]:end], nil
}

func (w *world) export() string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "export")
	if err := audit.Export(w.t.Context(), dir, audit.ExportConfig{Source: w, Key: w.key, Checkpoint: w.checkpoint()}); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) verify(dir string, kept ...[]byte) audit.Report {
	w.t.Helper()
	r, err := audit.Verify(dir, audit.VerifyOptions{Key: w.key, Kept: kept})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func describe(r audit.Report) string {
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	for _, p := range r.Notes {
		fmt.Fprintln(&b, "note:", p)
	}
	for _, u := range r.Unchecked {
		fmt.Fprintln(&b, "unchecked:", u)
	}
	return b.String()
}

func filled(t testing.TB, n int) *world {
	w := newWorld(t)
	w.fill(n)
	if len(w.Leaves) != n {
		t.Fatalf("%d leaves", len(w.Leaves))
	}
	return w
}

func TestVerifyPassesAGoodExport(t *testing.T) {
	for _, n := range []int{20, 100, 1000, 2001} {
		w := filled(t, n)
		r := w.verify(w.export(), w.checkpoint())
		if !r.OK() || len(r.Notes)+len(r.Unchecked) > 0 || r.Leaves != int64(n) || r.Actions == 0 || !r.KeyGiven ||
			r.Frames != len(w.spools[spoolA].starts)+len(w.spools[spoolB].starts) {
			t.Fatalf("%d leaves: %+v\n%s", n, r, describe(r))
		}
	}
	empty := newWorld(t)
	if r := empty.verify(empty.export()); !r.OK() {
		t.Fatalf("empty: %s", describe(r))
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// first returns the place of the first problem.
func first(r audit.Report) audit.Place {
	if r.OK() {
		return audit.Place{First: -1}
	}
	return r.Problems[0].Place
}

func TestP9_OneFlippedByteNamesItsEntry(t *testing.T) {
	w := filled(t, 1050)
	dir := w.export()
	random := rand.New(rand.NewPCG(7, 7))
	for _, name := range []string{"leaves/000000000000.jsonl", "leaves/000000001000.jsonl",
		"segments/" + spoolA + ".frames", "segments/" + spoolB + ".frames"} {
		path := filepath.Join(dir, name)
		good := readFile(t, path)
		for range 12 {
			at := random.IntN(len(good))
			bad := bytes.Clone(good)
			bad[at] ^= byte(1 + random.IntN(255))
			writeFile(t, path, bad)
			entry, spool := w.entryAt(name, good, at)
			r := w.verify(dir)
			if p := first(r); p.First != entry || p.Spool != spool || p.File != name {
				t.Fatalf("%s: byte %d of entry %d %q to %q: found\n%s", name, at, entry, good[at], bad[at], describe(r))
			}
			if len(r.Problems) > 2 {
				t.Fatalf("%s: byte %d of entry %d: one change, and it says\n%s", name, at, entry, describe(r))
			}
		}
		writeFile(t, path, good)
	}
	if r := w.verify(dir); !r.OK() {
		t.Fatal(describe(r))
	}
}

// entryAt returns which entry holds a byte of a file.
func (w *world) entryAt(name string, b []byte, at int) (int64, string) {
	if strings.HasPrefix(name, "leaves/") {
		base := int64(0)
		if strings.Contains(name, "1000.") {
			base = 1000
		}
		return base + int64(bytes.Count(b[:at], []byte("\n"))), ""
	}
	spool := strings.TrimSuffix(filepath.Base(name), ".frames")
	seq := 0
	for _, s := range w.spools[spool].starts {
		if s <= at {
			seq++
		}
	}
	return int64(seq), spool
}

func TestP9_EveryByteOfASmallExportCounts(t *testing.T) {
	w := filled(t, 20)
	dir := w.export()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"leaves", "segments"} {
		more, err := filepath.Glob(filepath.Join(dir, folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		good := readFile(t, path)
		for at := 0; at < len(good)-1; at += 13 {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			writeFile(t, path, bad)
			if r := w.verify(dir); r.OK() {
				t.Fatalf("%s: byte %d %q changed unnoticed", path, at, good[at])
			}
		}
		writeFile(t, path, good)
	}
}

func editLines(t testing.TB, path string, edit func(lines []string) []string) {
	t.Helper()
	text := strings.TrimSuffix(string(readFile(t, path)), "\n")
	writeFile(t, path, []byte(strings.Join(edit(strings.Split(text, "\n")), "\n")+"\n"))
}

func TestP9_CutReorderedAndDoubledEntriesAreNamed(t *testing.T) {
	cut := func(l []string) []string { return l[:95] }
	swap := func(l []string) []string { l[40], l[41] = l[41], l[40]; return l }
	double := func(l []string) []string { return append(l[:51:51], l[50:]...) }
	drop := func(l []string) []string { return append(l[:30:30], l[31:]...) }
	other := strings.Replace(loginText, `"seq":"7"`, `"seq":"20"`, 1)
	insert := func(l []string) []string { return append(l[:20:20], append([]string{other}, l[20:]...)...) }
	toEnd := func(l []string) []string { return append(append(l[:10:10], l[11:]...), l[10]) }
	for _, tc := range []struct {
		name        string
		edit        func([]string) []string
		first, last int64
		reason      audit.Reason
	}{
		{"the last five cut", cut, 95, 99, audit.ReasonMissing},
		{"two swapped", swap, 40, 41, audit.ReasonOrder},
		{"one twice", double, 50, 50, audit.ReasonDuplicate},
		{"one left out", drop, 30, 30, audit.ReasonMissing},
		{"one put in", insert, 20, 20, audit.ReasonExtra},
		{"one moved to the end", toEnd, 10, 10, audit.ReasonOrder},
	} {
		for _, index := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, index too %v", tc.name, index), func(t *testing.T) {
				w := filled(t, 100)
				dir := w.export()
				editLines(t, filepath.Join(dir, "leaves/000000000000.jsonl"), tc.edit)
				if index {
					editLines(t, filepath.Join(dir, "leaves/000000000000.hashes"), tc.edit)
				}
				r := w.verify(dir, w.checkpoint())
				if r.OK() {
					t.Fatal("unnoticed")
				}
				p := r.Problems[0]
				if p.Reason != tc.reason && !(index && tc.name == "one put in") || p.Place.First < tc.first || p.Place.Last > tc.last {
					t.Fatal(describe(r))
				}
			})
		}
	}
}

func TestP9_ACutThatIsSignedAgainIsFoundByAKeptCheckpoint(t *testing.T) {
	w := filled(t, 100)
	for len(w.Leaves) < 105 { // a tail without anchors, so that the cut log is whole in itself
		w.leaf(audit.TypeLogin, nil)
	}
	kept := w.checkpoint()
	forged := newWorld(t)
	forged.signer, forged.key, forged.spools = w.signer, w.key, w.spools
	forged.cut(w, 100)
	dir := forged.export()
	if r := w.verify(dir); !r.OK() {
		t.Fatalf("without a kept checkpoint nothing can be found: %s", describe(r))
	}
	r := w.verify(dir, kept, kept) // twice the same tells once
	if p := first(r); len(r.Problems) != 1 || p.First != 100 || p.Last != 104 || !strings.HasPrefix(r.Problems[0].String(), "entries 100..104 are missing") {
		t.Fatal(describe(r))
	}
	forged.leaf(audit.TypeLogin, map[string]any{"other": "history"})
	for len(forged.Leaves) < 110 {
		forged.leaf(audit.TypeLogin, nil)
	}
	if r := w.verify(forged.export(), kept); first(r).File == "" || r.Problems[0].Reason != audit.ReasonDiverged {
		t.Fatalf("another history: %s", describe(r))
	}
}

// What gateways keep is compared one by one: a node that saw more, or another history,
// is named, and the record does not hold.
func TestP9_WhatGatewaysKeepIsCompared(t *testing.T) {
	w := filled(t, 100)
	early := w.checkpoint()
	for len(w.Leaves) < 105 {
		w.leaf(audit.TypeLogin, nil)
	}
	fork := sign(t, w.signer, 50, audit.SHA256([]byte("another history")))
	more := sign(t, w.signer, 200, audit.SHA256([]byte("what is lost")))
	stranger := newWorld(t)
	stranger.leaf(audit.TypeLogin, nil)
	dir := w.export()
	ask := func(nodes ...audit.NodeNote) audit.Report {
		t.Helper()
		r, err := audit.Verify(dir, audit.VerifyOptions{Key: w.key, Nodes: nodes})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask(audit.NodeNote{Node: "a", Note: early}, audit.NodeNote{Node: "b", Note: w.checkpoint()}); !r.OK() || len(r.Nodes) != 2 || r.Nodes[0] != (audit.NodeReport{Node: "a", Size: 100}) {
		t.Errorf("%+v", r.Nodes)
	}
	for want, note := range map[string][]byte{"are not those": fork, "there are 105": more, "signature": stranger.checkpoint(), "checkpoint": []byte("none")} {
		r := ask(audit.NodeNote{Node: "a", Note: early}, audit.NodeNote{Node: "b", Note: note})
		if r.OK() || r.Nodes[0].Problem != "" || !strings.Contains(r.Nodes[1].Problem, want) || len(r.Problems) != 0 {
			t.Errorf("want %q, got %+v", want, r)
		}
	}
}

// cut takes the first n leaves of another world.
func (w *world) cut(of *world, n int) {
	for i, leaf := range of.Leaves[:n] {
		r, err := audit.Decode(leaf)
		if err != nil {
			w.t.Fatal(err)
		}
		if at, err := audit.Append(w.t.Context(), w, r); err != nil || at != int64(i) || !bytes.Equal(w.Leaves[i], leaf) {
			w.t.Fatal(at, err)
		}
	}
}

func TestP9_AForgedFrameWithAGoodCRCIsNamed(t *testing.T) {
	w := filled(t, 100)
	dir := w.export()
	path := filepath.Join(dir, "segments", spoolA+".frames")
	s := w.spools[spoolA]
	b := readFile(t, path)
	f, err := audit.NextFrame(b[s.starts[4]:])
	if err != nil {
		t.Fatal(err)
	}
	record := bytes.Replace(f.Record(), []byte(`"not_sent"`), []byte(`"sent"`), 1)
	record = bytes.Replace(record, []byte("200"), []byte("500"), 1)
	if bytes.Equal(record, f.Record()) {
		t.Fatalf("nothing to change in %s", record)
	}
	relinked := mustFrame(t, audit.Hash{1}, f.Record())
	writeFile(t, path, join(b[:s.starts[4]], relinked, b[s.starts[5]:]))
	if p := first(w.verify(dir)); p.Spool != spoolA || p.First != 5 || p.Last != 5 {
		t.Fatalf("another link: %s", describe(w.verify(dir)))
	}
	forged := mustFrame(t, f.Prev(), record)
	writeFile(t, path, append(append(bytes.Clone(b[:s.starts[4]]), forged...), b[s.starts[5]:]...))
	for _, index := range []bool{true, false} {
		if !index {
			if err := os.Remove(filepath.Join(dir, "segments", spoolA+".hashes")); err != nil {
				t.Fatal(err)
			}
		}
		if p := first(w.verify(dir)); p.Spool != spoolA || p.First != 5 || p.Last != 5 {
			t.Fatalf("with index %v: %s", index, describe(w.verify(dir)))
		}
	}
}

func TestP9_FramesCutDroppedOrAddedAreNamed(t *testing.T) {
	w := filled(t, 100)
	s := w.spools[spoolB]
	n := len(s.starts)
	at := func(seq int) int { return append(s.starts, len(s.frames))[seq-1] }
	f := s.frames
	for name, tc := range map[string]struct {
		frames []byte
		place  string
	}{
		"the last two cut": {f[:at(n-1)], fmt.Sprintf("spool %s seqs %d..%d", spoolB, n-1, n)},
		"half a frame":     {f[:len(f)-9], fmt.Sprintf("spool %s seq %d", spoolB, n)},
		"one left out":     {join(f[:at(7)], f[at(8):]), "spool " + spoolB + " seq 7"},
		"one twice":        {join(f[:at(8)], f[at(7):]), "spool " + spoolB + " seq 7"},
		"two swapped":      {join(f[:at(7)], f[at(8):at(9)], f[at(7):at(8)], f[at(9):]), "spool " + spoolB + " seq 7"},
		"bytes at the end": {join(f, []byte("more")), fmt.Sprintf("spool %s seq %d", spoolB, n+1)},
		"a frame at the end": {join(f, mustFrame(t, s.head, mustEncode(t, w.record(audit.TypeActionDeniedCount, uint64(n+1), audit.DeniedCount{})))),
			fmt.Sprintf("spool %s seq %d", spoolB, n+1)},
		"nothing left": {nil, fmt.Sprintf("spool %s seqs 1..4", spoolB)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := w.export()
			writeFile(t, filepath.Join(dir, "segments", spoolB+".frames"), tc.frames)
			if r := w.verify(dir); !strings.HasPrefix(first(r).String(), strings.TrimSuffix(tc.place, "1..4")) {
				t.Fatalf("want %s, got %s", tc.place, describe(r))
			}
		})
	}
	dir := w.export()
	if err := os.Remove(filepath.Join(dir, "segments", spoolB+".frames")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "segments", "spl_0000000000000000000000000C.frames"), s.frames)
	if r := w.verify(dir); !strings.Contains(describe(r), "0C.frames: extra") || !strings.Contains(describe(r), "0B.frames: file") {
		t.Fatal(describe(r))
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func mustEncode(t testing.TB, r audit.Record) []byte {
	t.Helper()
	b, err := audit.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
