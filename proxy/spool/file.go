package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mayflyproxy/mayfly/audit"
)

const (
	suffix   = ".frames"
	lockName = "lock"

	fileRecords  = audit.MaxSegmentRecords
	fileBytes    = 4 << 20
	minFileBytes = 16 << 10
	filesInLimit = 16 // at least that many fit, so that the room of shipped ones comes back
)

// file is one run of frames on disk, named by its first seq. Only the last one
// is written to.
type file struct {
	path    string
	first   uint64
	prev    audit.Hash // payload hash before first
	count   uint64
	size    int64 // bytes of whole frames
	denied  int64 // of which denials
	watched int64 // of requests that passed undecided, with room for their outcomes
	open    int   // intents in it without an outcome
}

func (f *file) last() uint64 { return f.first + f.count - 1 }

// full reports whether the next frame goes into another file.
func (s *Spool) full(f *file) bool {
	return f.count >= fileRecords || f.size >= min(fileBytes, max(s.c.Limit/filesInLimit, minFileBytes))
}

// disk is the file that frames are appended to; *os.File is one.
type disk interface {
	Write(b []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

func openFile(path string, flag int) (disk, error) { return os.OpenFile(path, flag, 0o600) }

func fileName(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, suffix))
}

// listFiles returns the files of dir in order of their first seq.
func listFiles(dir string) ([]*file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []*file
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil || first == 0 || !e.Type().IsRegular() {
			return nil, fmt.Errorf("spool: %s is not a file of frames", e.Name())
		}
		out = append(out, &file{path: filepath.Join(dir, e.Name()), first: first})
	}
	slices.SortFunc(out, func(a, b *file) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return out, nil
}

// rotate begins the file of the next frame, after all of the one before is on
// disk. The writer calls it, or Open.
func (s *Spool) rotate() error {
	next := &file{path: fileName(s.c.Dir, s.next), first: s.next, prev: s.head}
	f, err := s.c.openFile(next.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := s.replace(f); err != nil {
		return s.fail(err)
	}
	if err := syncDir(s.c.Dir); err != nil {
		return s.fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, next)
	return nil
}

// replace syncs the active file and puts f in its place.
func (s *Spool) replace(f disk) error {
	s.handle.Lock()
	defer s.handle.Unlock()
	old := s.active
	if old != nil {
		if err := old.Sync(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	s.active = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// sync makes every frame that is written durable.
func (s *Spool) sync() error {
	if err := s.failure(); err != nil {
		return err
	}
	s.handle.RLock()
	defer s.handle.RUnlock()
	if err := s.active.Sync(); err != nil {
		return s.fail(err)
	}
	return nil
}

// lock holds dir for this process until the returned file is closed.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("spool: %s is held by another process: each sidecar process has its own state_dir", dir)
		}
		return nil, fmt.Errorf("spool: lock %s: %w", dir, err)
	}
	return f, nil
}

// syncDir makes names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// writeWhole makes the file path with that content, durably, or not at all.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// readBegin returns the first n bytes of a file.
func readBegin(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}
