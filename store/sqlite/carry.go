package sqlite

import (
	"context"
	"time"
)

const (
	carryEvery = 200 * time.Millisecond
	// A log of more pages, about 16 MB, is begun anew. The writer has to wait until the last
	// of its pages are in the file, and until nobody reads them any more in the log:
	// at most restartWait. If somebody still does, it is tried again when the log is longer
	// by as much.
	longLog     = 4000
	restartWait = 20 * time.Millisecond
	// In a commit SQLite carries over itself only if this has failed for long.
	longestLog = 16 * longLog
)

// carry has SQLite carry its log over into the database file, beside the writer, five
// times a second while something is committed, until Close. Done in a commit, as SQLite
// does by itself, all others would wait for it, and some of them revoke. What fails is
// tried again; a disk that takes nothing is told by the next commit.
func (s *Store) carry() {
	tick := time.NewTicker(carryEvery)
	defer tick.Stop()
	for tooLong := longLog; ; {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		if !s.committed.Swap(false) {
			continue
		}
		var ok bool
		if tooLong, ok = s.carryOver(tooLong); !ok {
			s.committed.Store(true)
		}
	}
}

// carryOver carries the log over, and has it begun anew if it has tooLong pages. It returns
// how many are too many the next time, and whether SQLite could.
func (s *Store) carryOver(tooLong int) (int, bool) {
	_, length, err := s.checkpoint("PASSIVE")
	if err != nil || length < tooLong {
		return tooLong, err == nil
	}
	own, err := s.enter(context.Background(), s.writing)
	if err != nil {
		return tooLong, false
	}
	defer func() { s.writing <- own }()
	begun, length, err := s.checkpoint("RESTART")
	if err == nil && !begun {
		return length + longLog, true
	}
	return longLog, err == nil
}

// checkpoint carries over what no reader needs in the log, and returns how many pages
// that has. RESTART has it begun anew, unless it is read from for longer than restartWait.
func (s *Store) checkpoint(mode string) (begun bool, length int, err error) {
	var busy, done int
	err = s.carrier.QueryRow(`PRAGMA wal_checkpoint(`+mode+`)`).Scan(&busy, &length, &done)
	return mode == "RESTART" && busy == 0, length, err
}
