package sqlite

import (
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/mayflyproxy/mayfly/access"
)

// Faults that a caller may meet. Each comes wrapped, and nothing has changed then.
var (
	// ErrBusy says that somebody else, such as a backup tool, kept the database
	// locked for longer than Config.BusyTimeout.
	ErrBusy = errors.New("the database is locked by another program")
	// ErrFull says that the disk, or the database's own limit, is full.
	ErrFull = errors.New("the disk is full")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// errOver says that a transaction was used after its function returned.
	errOver = errors.New("the transaction is over")
)

// typed names a driver's error, so that callers need not know SQLite's codes.
func typed(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_ROWID:
		return fmt.Errorf("%w: %w", access.ErrExists, err)
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// undone reports whether err undid one statement only. After any other failure
// SQLite may have rolled the whole transaction back, and the next statement would
// stand alone.
func undone(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT
}
