package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dir returns the folder that the command keeps its things in, private to the
// person, and makes it.
func (a *app) dir(sub string) (string, error) {
	dir := a.c.Getenv("MAYFLY_CONFIG_DIR")
	if dir == "" {
		base, err := a.c.UserConfigDir()
		if err != nil {
			return "", hinted{err, "set MAYFLY_CONFIG_DIR"}
		}
		dir = filepath.Join(base, "mayfly")
	}
	dir = filepath.Join(dir, sub)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}

// writePrivate replaces a file as a whole, with mode 0600.
func writePrivate(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readPrivate reads a file that nobody else may read or write.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != 0 || info.Mode().Perm()&0o077 != 0 {
		return nil, hinted{fmt.Errorf("%s has mode %s: others may use it", path, info.Mode()), "rm " + path + " && mayfly login"}
	}
	return os.ReadFile(path)
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
