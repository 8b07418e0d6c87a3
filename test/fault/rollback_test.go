package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/api"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/test/env"
)

// Contracts §5: mayflyd refuses to start on a database that is behind what its
// pin file has seen, and starts again on the right one.
func TestP9_Contracts5_AnOlderCopyOfTheDatabaseIsRefusedByThePin(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	g := w.mayRead(t, w.reporter, "/daily", 10*time.Minute)
	c := w.traffic.reporter
	eventually(t, "a call", func() error { return read(ctx, c, "/daily/1").must("") })
	data, older, newer := filepath.Join(w.Dir, "data"), t.TempDir(), t.TempDir()

	if err := w.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	database(t, data, older)
	if err := w.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reporter.Finish(ctx, g.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is known", func() error { return read(ctx, c, "/daily/2").must("ended") })
	check[[]byte](t)(w.bob.Checkpoint(ctx)) // somebody has seen it: it is pinned
	if err := w.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	database(t, data, newer)

	database(t, older, data)
	err := w.StartControl(ctx)
	if err == nil {
		t.Fatal("mayflyd started on an older copy of its database")
	}
	if !strings.Contains(err.Error(), "pin") {
		t.Errorf("mayflyd does not say why: %v", err)
	}
	if a := read(ctx, c, "/daily/3"); a.allowed {
		t.Error("a finished grant is back")
	}

	database(t, newer, data)
	if err := w.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	w.mayRead(t, w.reporter, "/monthly", 10*time.Minute)
	eventually(t, "it works again", func() error { return read(ctx, c, "/monthly/1").must("") })
	w.hold(t, w.gw)
}

// The pin follows the record also while no gateway is there to ask for a Pong.
func TestP9_Contracts5_ThePinFollowsWithoutAGateway(t *testing.T) {
	w := newWorld(t)
	if err := w.gw.Process.Stop(); err != nil {
		t.Fatal(err)
	}
	pinned := func() string {
		return string(check[[]byte](t)(os.ReadFile(filepath.Join(w.Dir, "data", "checkpoint.pin"))))
	}
	before := string(check[[]byte](t)(w.bob.Checkpoint(t.Context())))
	if pinned() != before {
		t.Fatal("a checkpoint that somebody has seen is not pinned")
	}
	w.mayRead(t, w.reporter, "/daily", 10*time.Minute)
	eventually(t, "the pin moves", func() error {
		if pinned() == before {
			return errors.New("it stands")
		}
		return nil
	})
}

// Contracts §5, P9: an older copy of the database is restored together with its pin
// file, while a gateway runs. mayflyd cannot know. The gateway denies, says why, and
// keeps the evidence, also over a restart.
func TestP9_Contracts5_AnOlderCopyWithItsPinIsRefusedByTheGateways(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.mayRead(t, w.reporter, "/daily", 2*time.Hour)
	c := w.traffic.reporter
	eventually(t, "a call", func() error { return read(ctx, c, "/daily/1").must("") })
	older := w.setBack(t)

	// mayflyd starts, and serves people as if nothing had happened.
	eventually(t, "the gateway knows that less is shown than it has seen", func() error {
		s, err := w.gw.Status(ctx)
		if err == nil && s.Entries <= older {
			err = fmt.Errorf("it keeps %d entries, the copy has %d", s.Entries, older)
		}
		return err
	})
	eventually(t, "nothing passes", func() error { return read(ctx, c, "/daily/2").must("stale") })
	eventually(t, "mayfly nodes says so", func() error { return w.doubted(t, "set back") })

	// It grows beyond what the gateway has seen, and asks for its belief.
	seen := check[env.GatewayStatus](t)(w.gw.Status(ctx)).Entries
	eventually(t, "the copy outgrows the record", func() error {
		w.mayRead(t, w.reporter, "/monthly", 10*time.Minute)
		if size := check[audit.Checkpoint](t)(audit.ParseNote(check[[]byte](t)(w.bob.Checkpoint(ctx)))).Size; size < seen+20 {
			return fmt.Errorf("it has %d entries, and %d were seen", size, seen)
		}
		return nil
	})
	eventually(t, "the gateway finds the contradiction", func() error { return read(ctx, c, "/daily/3").must("record_unavailable") })
	eventually(t, "mayfly nodes says so", func() error { return w.doubted(t, "does not begin") })
	state := filepath.Join(w.Dir, "gw", "state")
	kept := check[[]byte](t)(os.ReadFile(filepath.Join(state, "checkpoint")))
	shown := check[[]byte](t)(os.ReadFile(filepath.Join(state, "checkpoint.contradiction")))
	verifier := check[*audit.Verifier](t)(audit.NewVerifier(string(check[[]byte](t)(os.ReadFile(w.KeyFile())))))
	for _, note := range [][]byte{kept, shown} {
		check[audit.Checkpoint](t)(verifier.Open(note)) // anybody can check the evidence
	}

	before := len(w.Reports.Arrivals())
	if err := w.gw.Process.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.gw.Process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a restarted gateway denies", func() error { return read(ctx, c, "/daily/4").must("record_unavailable") })
	if got := len(w.Reports.Arrivals()); got != before {
		t.Errorf("%d requests reached the app", got-before)
	}

	// What the gateway refused, and the alarms, are on the record of the copy too: it is
	// shipped to whoever is there, with both checkpoints.
	if err := w.gw.Shipped(ctx); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "record")
	if err := w.Export(ctx, w.bob, dir); err != nil {
		t.Fatal(err)
	}
	if report := check[audit.Report](t)(w.Verify(dir)); !report.OK() {
		t.Errorf("the copy does not hold by itself: %v", report.Problems)
	}
	if report := check[audit.Report](t)(w.Verify(dir, kept)); report.OK() {
		t.Error("the copy holds against the checkpoint that the gateway kept")
	}
	if frames := texts(t, dir, "segments", "*.frames"); !strings.Contains(frames, "spool.alarm") || !strings.Contains(frames, strings.SplitN(string(kept), "\n", 3)[1]) {
		t.Error("the alarm is not on the record")
	}
}

// Contracts §5, P9: no newer copy is left. An operator of mayflyd accepts the rollback,
// and each gateway goes on when its own operator does; not before.
func TestP9_Contracts5_ARecoveryIsAcceptedByTheGatewaysOperator(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.mayRead(t, w.reporter, "/daily", 2*time.Hour)
	c := w.traffic.reporter
	eventually(t, "a call", func() error { return read(ctx, c, "/daily/1").must("") })
	w.setBack(t)
	eventually(t, "nothing passes", func() error { return read(ctx, c, "/daily/2").must("stale") })
	if err := w.Control.Kill(); err != nil {
		t.Fatal(err)
	}

	recover := func(more ...string) (string, error) {
		args := append([]string{"recover", "--dev", "--config", filepath.Join(w.Dir, "mayflyd.yaml")}, more...)
		out, err := exec.CommandContext(ctx, filepath.Join(w.Bin, "mayflyd"), args...).CombinedOutput()
		return string(out), err
	}
	kept := filepath.Join(w.Dir, "gw", "state", "checkpoint")
	if out, err := recover("--checkpoint", kept); err == nil || !strings.Contains(out, "--accept-rollback") {
		t.Fatalf("nobody accepted it: %v, %s", err, out)
	}
	if out, err := recover("--accept-rollback"); err == nil || !strings.Contains(out, "nothing was rolled back") {
		t.Fatalf("without evidence: %v, %s", err, out)
	}
	old := check[[]byte](t)(os.ReadFile(kept))
	out, err := recover("--accept-rollback", "--checkpoint", kept)
	if err != nil || !strings.Contains(out, "recorded as evidence") {
		t.Fatalf("%v, %s", err, out)
	}
	if err := w.StartControl(ctx); err != nil {
		t.Fatal(err)
	}

	// The gateway does not take mayflyd's word for it.
	w.bob = check[*api.Client](t)(w.Person(ctx, "bob")) // all sessions ended
	eventually(t, "mayfly nodes says so", func() error { return w.doubted(t, "") })
	w.mayRead(t, w.reporter, "/daily", 2*time.Hour)
	if a := read(ctx, c, "/daily/3"); a.allowed {
		t.Error("the gateway believes a recovery that its operator has not accepted")
	}
	eventually(t, "its operator accepts it", func() error { _, err := w.resetCheckpoint(ctx); return err })
	eventually(t, "it works again", func() error { return read(ctx, c, "/daily/4").must("") })
	if s := check[env.GatewayStatus](t)(w.gw.Status(ctx)); s.Record != "trusted" {
		t.Errorf("the record is %s", s.Record)
	}
	if out, err := w.resetCheckpoint(ctx); err == nil || !strings.Contains(out, "--anyway lets it go") {
		t.Errorf("a checkpoint that nothing contradicts was let go: %v, %s", err, out)
	}

	// What the gateway had shipped is on the record again, the evidence is, and the
	// checkpoint from before still shows what is lost.
	if !strings.Contains(texts(t, filepath.Dir(kept), "evidence", "*.note"), string(old)) {
		t.Error("the gateway threw its evidence away")
	}
	w.hold(t, w.gw)
	dir := filepath.Join(t.TempDir(), "record")
	if err := w.Export(ctx, w.bob, dir); err != nil {
		t.Fatal(err)
	}
	if report := check[audit.Report](t)(w.Verify(dir, old)); report.OK() {
		t.Error("the record holds against the checkpoint from before the rollback")
	}
	if leaves := texts(t, dir, "leaves", "*.jsonl"); !strings.Contains(leaves, "record.recovered") || !strings.Contains(leaves, strings.SplitN(string(old), "\n", 4)[2]) {
		t.Error("the evidence is not on the record")
	}
	if !strings.Contains(texts(t, dir, "segments", "*.frames"), "let go by an operator") {
		t.Error("what the gateway's operator did is not on the record")
	}
}

// resetCheckpoint is what the gateway's operator does, and what they are told.
func (w *world) resetCheckpoint(ctx context.Context) (string, error) {
	config := filepath.Join(w.Dir, "gw", "sidecar.yaml")
	out, err := exec.CommandContext(ctx, filepath.Join(w.Bin, "mayfly-sidecar"), "reset-checkpoint", "--dev", "--config", config).CombinedOutput()
	return string(out), err
}

// setBack restores a copy of the database and of its pin from before what happened
// last, and starts mayflyd on it. It returns how many entries the copy has.
func (w *world) setBack(t testing.TB) (entries int64) {
	t.Helper()
	ctx := t.Context()
	data, older := filepath.Join(w.Dir, "data"), t.TempDir()
	if err := w.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	database(t, data, older)
	pin := check[[]byte](t)(os.ReadFile(filepath.Join(data, "checkpoint.pin")))
	if err := w.StartControl(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.mayRead(t, w.reporter, "/monthly", 10*time.Minute)
	}
	size := check[audit.Checkpoint](t)(audit.ParseNote(check[[]byte](t)(w.bob.Checkpoint(ctx)))).Size
	eventually(t, "the gateway has seen it", func() error {
		s, err := w.gw.Status(ctx)
		if err == nil && s.Entries < size {
			err = fmt.Errorf("%d of %d entries", s.Entries, size)
		}
		return err
	})
	if err := w.Control.Kill(); err != nil {
		t.Fatal(err)
	}
	database(t, older, data)
	if err := os.WriteFile(filepath.Join(data, "checkpoint.pin"), pin, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.StartControl(ctx); err != nil {
		t.Fatalf("mayflyd found out by itself: %v", err)
	}
	return check[audit.Checkpoint](t)(audit.ParseNote(pin)).Size
}

// doubted reports, as nil, that mayfly nodes says these words of a gateway.
func (w *world) doubted(t testing.TB, words string) error {
	t.Helper()
	nodes, err := w.bob.Nodes(t.Context())
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if n.Doubt != "" && strings.Contains(n.Doubt, words) {
			return nil
		}
	}
	return fmt.Errorf("no gateway with %q: %+v", words, nodes.Items)
}

// texts are files of an export, as they are.
func texts(t testing.TB, dir, folder, names string) string {
	t.Helper()
	var out strings.Builder
	for _, path := range check[[]string](t)(filepath.Glob(filepath.Join(dir, folder, names))) {
		out.Write(check[[]byte](t)(os.ReadFile(path)))
	}
	return out.String()
}

// database copies the files of the database, and leaves no other of its files there.
func database(t testing.TB, from, to string) {
	t.Helper()
	for _, name := range []string{"mayfly.db", "mayfly.db-wal", "mayfly.db-shm"} {
		if err := os.Remove(filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
