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
	idName   = "id"

	fileRecords = audit.MaxSegmentRecords
	fileBytes   = 4 << 20
)

// file is one run of frames on disk, named by its first seq. Only the last one
// is written to.
type file struct {
	path  string
	first uint64
	count uint64
	size  int64      // bytes of whole frames
	prev  audit.Hash // payload hash before first
	open  int        // intents in it without an outcome
}

func (f *file) last() uint64 { return f.first + f.count - 1 }

func (f *file) full() bool { return f.count >= fileRecords || f.size >= fileBytes }

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

// readRange returns n bytes at offset.
func readRange(path string, offset, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, offset); err != nil {
		return nil, err
	}
	return b, nil
}
