package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const markLayout = "2006-01-02T15:04:05.000000Z"

// readMark returns the time in the file, the zero time if there is no file.
func readMark(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock's mark: %w", err)
	}
	t, err := time.Parse(markLayout, strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the clock's mark %s: %w", path, err)
	}
	return t.UTC(), nil
}

// writeMark replaces the file whole, durably, readable by its owner only.
func writeMark(path string, t time.Time) error {
	if err := replaceFile(path, []byte(t.UTC().Format(markLayout)+"\n")); err != nil {
		return fmt.Errorf("write the clock's mark: %w", err)
	}
	return nil
}

// replaceFile writes a file of ours, 0600, whole or not at all, durably.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// RemoveMark removes the file of a clock that is not running, for reset-clock:
// the next start takes its time from the first Pong.
func RemoveMark(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the clock's mark: %w", err)
	}
	return nil
}
