package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mayflyproxy/mayfly/grant"
)

const idName = "id"

// loadID reads the folder's id, or makes one for an empty folder.
func (s *Spool) loadID(empty bool) error {
	path := filepath.Join(s.c.Dir, idName)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		var id grant.SpoolID
		if err := id.UnmarshalText(bytes.TrimSpace(text)); err != nil || id.IsZero() {
			return fmt.Errorf("spool: %s holds no spool id", path)
		}
		s.id = id.String()
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("spool: %w", err)
	case !empty:
		return fmt.Errorf("spool: %s has frames but no id: the folder was tampered with or half restored", s.c.Dir)
	}
	s.id = s.c.Minter.NewSpoolID(s.now()).String()
	if err := writeWhole(path, []byte(s.id+"\n")); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
