package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Pin is the newest signed checkpoint, kept in a file outside the database, so
// that an older or another copy of the database is noticed (contracts §5,
// rollback and forks). Whoever owns the file can hide a rollback: keep it on
// another disk than the database. It is safe for concurrent use by one process.
type Pin struct {
	path     string
	verifier *Verifier

	mu      sync.Mutex
	current Checkpoint
}

// BehindError says that the log is shorter than the pin proves it was.
type BehindError struct {
	Path   string
	Pinned Checkpoint
	Size   int64 // of the log as found
}

// Error says what is missing and what to do.
func (e *BehindError) Error() string {
	return fmt.Sprintf("the database holds %d entries of the record, but the pin file %s holds a signed checkpoint of %d: "+
		"entries %d to %d are missing, so this is an older copy of the database. Restore a newer copy; if there is none, mayflyd recover --accept-rollback",
		e.Size, e.Path, e.Pinned.Size, e.Size, e.Pinned.Size-1)
}

// DivergedError says that the log is another one than the pin proves it was.
type DivergedError struct {
	Path   string
	Pinned Checkpoint
	Size   int64 // at which the roots differ
	Root   Hash  // as found
}

// Error says what differs and what to do.
func (e *DivergedError) Error() string {
	return fmt.Sprintf("the first %d entries of the record have root %s, but the pin file %s holds a signed checkpoint with root %s: "+
		"the database was changed, or it is a copy that went its own way. Restore a newer copy of the database that this pin file belongs to; if there is none, mayflyd recover --accept-rollback",
		e.Size, e.Root, e.Path, e.Pinned.Root)
}

// OpenPin reads the pin file and checks its signature. The error is
// fs.ErrNotExist if there is no file: a log that has entries must not start then.
func OpenPin(path string, v *Verifier) (*Pin, error) {
	if v == nil {
		return nil, errors.New("pin file: no verifier")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("pin file: %w", err)
	}
	c, err := v.Open(b)
	if err != nil {
		return nil, fmt.Errorf("pin file %s: %w", path, err)
	}
	return &Pin{path: path, verifier: v, current: c}, nil
}

// CreatePin makes the pin file with its first signed checkpoint. The error is
// fs.ErrExist if there is one already.
func CreatePin(path string, v *Verifier, signed []byte) (*Pin, error) {
	if v == nil {
		return nil, errors.New("pin file: no verifier")
	}
	c, err := v.Open(signed)
	if err != nil {
		return nil, fmt.Errorf("pin file: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("pin file %s: %w", path, os.ErrExist)
	}
	if err := replaceFile(path, signed); err != nil {
		return nil, fmt.Errorf("pin file: %w", err)
	}
	return &Pin{path: path, verifier: v, current: c}, nil
}

// Checkpoint returns the pinned checkpoint.
func (p *Pin) Checkpoint() Checkpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// Check compares the log with the pin: size is the log's, root that of its first
// Checkpoint().Size entries (not looked at if the log is shorter). It fails with
// *BehindError or *DivergedError.
func (p *Pin) Check(size int64, root Hash) error {
	c := p.Checkpoint()
	if size < c.Size {
		return &BehindError{Path: p.path, Pinned: c, Size: size}
	}
	if root != c.Root {
		return &DivergedError{Path: p.path, Pinned: c, Size: c.Size, Root: root}
	}
	return nil
}

// Advance puts a newer signed checkpoint into the file, durably when it returns.
// The same one again is nothing to do; a shorter one is *BehindError, one of the
// same size with another root *DivergedError. Whoever signs has made sure that
// the log extends the pinned one (Check).
func (p *Pin) Advance(signed []byte) error {
	c, err := p.verifier.Open(signed)
	if err != nil {
		return fmt.Errorf("pin file: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.Size < p.current.Size:
		return &BehindError{Path: p.path, Pinned: p.current, Size: c.Size}
	case c.Size == p.current.Size && c.Root != p.current.Root:
		return &DivergedError{Path: p.path, Pinned: p.current, Size: c.Size, Root: c.Root}
	case c.Size == p.current.Size:
		return nil
	}
	if err := replaceFile(p.path, signed); err != nil {
		return fmt.Errorf("pin file: %w", err)
	}
	p.current = c
	return nil
}

// ReplacePin puts a signed checkpoint into the pin file whatever was there, or makes
// it: an operator has accepted that the log was set back.
func ReplacePin(path string, v *Verifier, signed []byte) error {
	if v == nil {
		return errors.New("pin file: no verifier")
	}
	if _, err := v.Open(signed); err != nil {
		return fmt.Errorf("pin file: %w", err)
	}
	if err := replaceFile(path, signed); err != nil {
		return fmt.Errorf("pin file: %w", err)
	}
	return nil
}

// replaceFile writes a 0600 file whole or not at all, durably.
func replaceFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".tmp*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
