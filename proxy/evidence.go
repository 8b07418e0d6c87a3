package proxy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/audit"
)

// evidenceDir is where checkpoints go that were let go of.
const evidenceDir = "evidence"

// putAside keeps a signed note in the folder evidence beside its file, and takes the
// file away. Done twice, it changes nothing.
func putAside(path string, note []byte) error {
	if note == nil {
		return nil
	}
	dir := filepath.Join(filepath.Dir(path), evidenceDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(dir, evidenceName(note)), note); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// evidenceName says which checkpoint it is: its size, and the beginning of its root.
func evidenceName(note []byte) string {
	c, err := audit.ParseNote(note)
	if err != nil {
		return fmt.Sprintf("unreadable-%.8x.note", sha256.Sum256(note))
	}
	return fmt.Sprintf("%d-%.16s.note", c.Size, c.Root)
}
