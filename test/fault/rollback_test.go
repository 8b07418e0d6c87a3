package fault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
