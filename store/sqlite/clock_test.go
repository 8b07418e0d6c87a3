package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/store/storetest"
)

func TestClock(t *testing.T) {
	storetest.RunClock(t, func(t *testing.T, folder string, c *storetest.Clock, alarm func(string)) (access.Store, func()) {
		s, err := Open(t.Context(), Config{Path: filepath.Join(folder, "mayfly.db"), Now: c.Now, BootNow: c.BootNow, BootID: c.BootID(), Alarm: alarm})
		if err != nil {
			t.Fatal(err)
		}
		return s, func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTheBootHasAName(t *testing.T) {
	if a := bootID(); a == "" || a != bootID() {
		t.Errorf("%q, then %q", a, bootID())
	}
}

func TestBootClockRuns(t *testing.T) {
	first := bootNow()
	if second := bootNow(); first <= 0 || second < first {
		t.Errorf("boot clock reads %v, then %v", first, second)
	}
}
