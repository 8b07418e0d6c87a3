package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

const childVariable = "MAYFLY_TEST_KILL_DATABASE"

// TestMain turns the test binary into the process that is killed, when asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		fmt.Fprintln(os.Stderr, commitForever(context.Background(), path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// commitForever prints the index of each leaf once it is committed.
func commitForever(ctx context.Context, path string) error {
	s, err := Open(ctx, Config{Path: path})
	if err != nil {
		return err
	}
	m := grant.NewMinter()
	for {
		var last int64
		err := s.Update(ctx, func(tx access.Tx) (err error) {
			for range 2 {
				if last, err = appendLeaf(ctx, tx, m); err != nil {
					return err
				}
			}
			return tx.Head().SetFeed(ctx, feed.Position{Epoch: 1, Revision: last + 1})
		})
		if err != nil {
			return err
		}
		fmt.Println(last)
	}
}

func appendLeaf(ctx context.Context, tx access.Tx, m *grant.Minter) (int64, error) {
	return audit.Append(ctx, tx.Log(), audit.Record{ID: m.NewRecordID(tx.Now()).String(),
		Type: audit.TypeAdministration, Time: tx.Now(), Node: "mayflyd"})
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	const rounds, commits = 6, 25
	path := filepath.Join(t.TempDir(), "mayfly.db")
	for round := range rounds {
		printed := killAfter(t, path, commits)
		s, err := Open(t.Context(), Config{Path: path})
		if err != nil {
			t.Fatalf("open after kill %d: %v", round+1, err)
		}
		err = s.View(t.Context(), func(tx access.Tx) error {
			size, err := tx.Log().Size(t.Context())
			if err != nil {
				return err
			}
			if size <= printed || size%2 != 0 {
				t.Errorf("kill %d: the log has %d leaves, %d was acknowledged", round+1, size, printed)
			}
			at, err := tx.Head().Feed(t.Context())
			if err != nil || at.Revision != size {
				t.Errorf("kill %d: head is %v at %d leaves (%v)", round+1, at, size, err)
			}
			return storetest.VerifyLog(t.Context(), tx.Log(), size)
		})
		if err != nil {
			t.Errorf("kill %d: %v", round+1, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter starts the child, kills it in the midst of its work when it has
// committed often enough, and returns the last index that it printed.
func killAfter(t *testing.T, path string, commits int) (printed int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childVariable+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		if printed, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
		if n == commits {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // killed
	if printed == 0 {
		t.Fatal("the child committed nothing")
	}
	return printed
}

func BenchmarkUpdateTwoLeaves(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mayfly.db"))
	m := grant.NewMinter()
	for b.Loop() {
		err := s.Update(b.Context(), func(tx access.Tx) error {
			for range 2 {
				if _, err := appendLeaf(b.Context(), tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	s := openAt(b, filepath.Join(b.TempDir(), "mayfly.db"))
	for b.Loop() {
		if err := s.View(b.Context(), func(tx access.Tx) error { _, err := tx.Head().Feed(b.Context()); return err }); err != nil {
			b.Fatal(err)
		}
	}
}
