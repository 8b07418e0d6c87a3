package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// put adds one event of some bytes.
func put(ctx context.Context, s *Store, size int) error {
	return s.Update(ctx, func(tx access.Tx) error {
		return tx.Outbox().Put(ctx, access.Event{Kind: "k", ID: string(make([]byte, size))})
	})
}

func events(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(tx access.Tx) error {
		list, err := tx.Outbox().After(t.Context(), 0, 1<<20)
		n = len(list)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFullDiskChangesNothingAndHeals(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	limit := func(pages string) {
		if err := raw(s, `PRAGMA max_page_count = `+pages); err != nil {
			t.Fatal(err)
		}
	}
	limit("150")
	kept := 0
	var err error
	for err == nil {
		if err = put(t.Context(), s, 20_000); err == nil {
			kept++
		}
	}
	if !errors.Is(err, ErrFull) || kept == 0 {
		t.Fatalf("after %d events: %v, want ErrFull", kept, err)
	}
	if n := events(t, s); n != kept {
		t.Errorf("%d events are there, %d were acknowledged", n, kept)
	}
	limit("100000")
	if err := put(t.Context(), s, 20_000); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

// SQLite rolls the whole transaction back when the disk is full. What f does
// after that, deaf to the error, must not stand alone.
func TestNothingStandsAfterABrokenStatement(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	if err := raw(s, `PRAGMA max_page_count = 150`); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(tx access.Tx) error {
		for tx.Outbox().Put(t.Context(), access.Event{Kind: "k", ID: string(make([]byte, 50_000))}) == nil {
		}
		if err := tx.Outbox().Put(t.Context(), access.Event{Kind: "after"}); !errors.Is(err, ErrFull) {
			t.Errorf("a statement after the broken one = %v", err)
		}
		return nil
	})
	if !errors.Is(err, ErrFull) {
		t.Errorf("Update whose f hid the error = %v, want ErrFull", err)
	}
	if n := events(t, s); n != 0 {
		t.Errorf("%d events are there", n)
	}
}

func TestLockedDatabaseChangesNothingAndHeals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mayfly.db")
	s := openWith(t, Config{Path: path, BusyTimeout: 20 * time.Millisecond})
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(sql string) {
		if _, err := conn.ExecContext(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	do("BEGIN IMMEDIATE")
	if err := put(t.Context(), s, 1); !errors.Is(err, ErrBusy) {
		t.Errorf("Update of a locked database = %v, want ErrBusy", err)
	}
	if n := events(t, s); n != 0 { // reading goes on
		t.Errorf("%d events are there", n)
	}
	do("ROLLBACK")
	if err := put(t.Context(), s, 1); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	if n := events(t, s); n != 1 {
		t.Errorf("%d events are there, want 1", n)
	}
}

// Waiting for another program's lock ends with the context, not with the timeout.
func TestLockedDatabaseAndAnEndedContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mayfly.db")
	s := openWith(t, Config{Path: path, BusyTimeout: time.Hour})
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := put(ctx, s, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Update = %v, want the context's error", err)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := put(t.Context(), s, 1); err != nil {
			t.Fatalf("after the lock: %v", err)
		}
	}
}

// Whoever waits for the writer's place leaves when the context ends.
func TestWaitingEndsWithTheContext(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	err := s.Update(t.Context(), func(access.Tx) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := put(ctx, s, 1); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("an update beside an update: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
