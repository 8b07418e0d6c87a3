package main

import (
	"fmt"
	"io"
	"os"
)

// readPrivate reads a key that init made. One that others on the machine can read is
// refused: it may be everybody's by now.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what is read, not of what the name leads to a moment later
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v: others can read it. If nobody did, chmod 600; else docs/keys.md says how it is replaced", path, mode)
	}
	return io.ReadAll(f)
}
