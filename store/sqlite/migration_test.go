package sqlite

import (
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/mayflyproxy/mayfly/access"
)

// oldAt makes a database of an older schema, and runs statements on it.
func oldAt(t *testing.T, version int64, statements ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "mayfly.db")
	cfg, err := Config{Path: path}.complete()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", source(cfg, false))
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.UpTo(t.Context(), version)
	for _, one := range statements {
		_, failed := db.ExecContext(t.Context(), one)
		err = errors.Join(err, failed)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPlacesOfAnOlderDatabase are found where they were, in the order of their leaves.
func TestPlacesOfAnOlderDatabase(t *testing.T) {
	path := oldAt(t, 24,
		`INSERT INTO spools (spool, sidecar, next, chain) VALUES ('spl_A', 's', 9, zeroblob(32)), ('spl_B', 's', 9, zeroblob(32))`,
		`INSERT INTO segments (spool, first_seq, last_seq, sidecar, frames, root, chain_head, leaf) VALUES
			('spl_B', 1, 4, 's', zeroblob(9000), zeroblob(32), zeroblob(32), 2), ('spl_A', 1, 8, 's', zeroblob(9000), zeroblob(32), zeroblob(32), 4),
			('spl_B', 5, 8, 's', zeroblob(9000), zeroblob(32), zeroblob(32), 5)`,
		`INSERT INTO places (id, spool, seq) VALUES
			('act_1', 'spl_A', 8), ('act_1', 'spl_B', 5), ('act_1', 'spl_B', 4), ('act_1', '', 3), ('grt_1', '', 0), ('grt_1', 'spl_B', 8)`)
	s := openAt(t, path)
	for id, want := range map[string][]access.Place{
		"act_1": {{Spool: "spl_B", Seq: 4}, {Seq: 3}, {Spool: "spl_A", Seq: 8}, {Spool: "spl_B", Seq: 5}},
		"grt_1": {{}, {Spool: "spl_B", Seq: 8}},
	} {
		var got []access.Place
		err := s.View(t.Context(), func(tx access.Tx) (err error) {
			got, err = tx.Spools().Find(t.Context(), id)
			return err
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is found at %v (%v), want %v", id, got, err, want)
		}
	}
}

// TestAPlaceWithoutItsSegment is an error, and no place on the control log.
func TestAPlaceWithoutItsSegment(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	if err := raw(s, `INSERT INTO places (id, leaf, seq) VALUES ('act_1', 7, 3)`); err != nil {
		t.Fatal(err)
	}
	err := s.View(t.Context(), func(tx access.Tx) error {
		got, err := tx.Spools().Find(t.Context(), "act_1")
		if err == nil {
			t.Errorf("found at %v", got)
		}
		return nil
	})
	if err == nil {
		t.Error("the view's caller was not told")
	}
}
