package sqlite

import (
	"context"
	"time"
)

const (
	carryEvery = 200 * time.Millisecond
	// A log of more pages, about 16 MB, is begun anew, for which the writer has to wait
	// until the last of its pages are in the file.
	longLog = 4000
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
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		if s.committed.Swap(false) && !s.carryOver() {
			s.committed.Store(true)
		}
	}
}

// carryOver reports whether SQLite could. A long log of which somebody still reads what is
// not in the file is not begun anew: the writer would wait for nothing.
func (s *Store) carryOver() bool {
	left, length, err := s.checkpoint()
	if err != nil || left > 0 || length < longLog {
		return err == nil
	}
	own, err := s.enter(context.Background(), s.writing)
	if err != nil {
		return false
	}
	defer func() { s.writing <- own }()
	_, _, err = s.checkpoint() // the few pages that were written meanwhile
	return err == nil
}

// checkpoint carries over what no reader needs in the log, and returns how many of its
// pages are left, and how many it has.
func (s *Store) checkpoint() (left, length int, err error) {
	var busy, done int
	err = s.carrier.QueryRow(`PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &length, &done)
	return length - done, length, err
}
