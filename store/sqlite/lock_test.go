package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
)

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mayfly.db")
	s := openAt(t, path)
	link := filepath.Join(t.TempDir(), "other name.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link, filepath.Dir(path) + "/./mayfly.db"} {
		_, err := Open(t.Context(), Config{Path: name})
		if !errors.Is(err, ErrInUse) || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("belongs to process %d", os.Getpid())) {
			t.Errorf("open %s again = %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, link)
}

func TestCloseWaitsAndRefuses(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	inside, leave := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := s.Update(t.Context(), func(access.Tx) error {
			close(inside)
			<-leave
			return nil
		})
		if err != nil {
			t.Errorf("the update that ran when the store was closed: %v", err)
		}
	})
	<-inside
	all.Go(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	<-s.closing
	if err := s.View(t.Context(), func(access.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View while closing = %v", err)
	}
	close(leave)
	all.Wait()
	if err := s.Update(t.Context(), func(access.Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Close = %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "mayfly.db")
	s := openAt(t, path)
	if err := s.Update(t.Context(), func(access.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v), want 0600", f.Name(), info.Mode(), err)
		}
	}
	if len(files) != 4 { // database, wal, shm, lock
		t.Errorf("files beside the database: %v", files)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(t *testing.T) string
	}{
		{"no path", "no path", func(*testing.T) string { return "" }},
		{"no such folder", "no such file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "no", "x.db") }},
		{"a folder", "is a directory", func(t *testing.T) string { return t.TempDir() }},
		{"a file that others read", "chmod 600", func(t *testing.T) string { return write(t, nil, 0o640) }},
		{"some other file", "not a database", func(t *testing.T) string { return write(t, []byte(strings.Repeat("text ", 1000)), 0o600) }},
		{"a newer schema", "run the newer mayflyd", newer},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			for range 2 { // a failed Open leaves no lock behind
				if _, err := Open(t.Context(), Config{Path: path}); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Open = %v, want %q in it", err, c.want)
				}
			}
		})
	}
}

func write(t *testing.T, b []byte, mode os.FileMode) string {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := errors.Join(os.WriteFile(path, b, mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func newer(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	err = raw(s, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder with spaces % and ?.db")
	for i := range 3 {
		s, err := Open(t.Context(), Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Update(t.Context(), func(tx access.Tx) error {
			events, err := tx.Outbox().After(t.Context(), 0, 10)
			if len(events) != i {
				t.Errorf("opened %d times: %d events", i+1, len(events))
			}
			return errors.Join(err, tx.Outbox().Put(t.Context(), access.Event{Kind: "k"}))
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
