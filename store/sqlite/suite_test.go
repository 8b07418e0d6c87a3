package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) access.Store { return openAt(t, filepath.Join(t.TempDir(), "mayfly.db")) })
}

// openAt opens a store that lives until the test ends.
func openAt(t testing.TB, path string) *Store {
	t.Helper()
	return openWith(t, Config{Path: path})
}

func openWith(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
