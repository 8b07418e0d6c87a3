package sqlite

import (
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
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
// TestWaitsOfAnOlderDatabase are those of the same instances, with all that they said.
func TestWaitsOfAnOlderDatabase(t *testing.T) {
	const run = "0123456789abcdef0123456789abcdef"
	path := oldAt(t, 25, `PRAGMA foreign_keys = OFF`,
		`INSERT INTO revocations (grant_id, epoch, revision, started, closed) VALUES ('grt_01JZZZZZZZZZZZZZZZZZZZZZZZ', 1, 2, 3, 0)`,
		`INSERT INTO waits (grant_id, instance, sidecar, run, last_pong, until_at, acked_at, last_allowed, last_action, bounded, streams_cut, until_passed)
			VALUES ('grt_01JZZZZZZZZZZZZZZZZZZZZZZZ', 'spiffe://acme.example/gw#`+run+`', 'spiffe://acme.example/gw', '`+run+`', 11, 12, 13, 14, 'act', 15, 16, 17)`)
	s := openAt(t, path)
	err := s.View(t.Context(), func(tx access.Tx) error {
		all, err := tx.Revocations().Open(t.Context())
		if err != nil {
			return err
		}
		at := func(us int64) time.Time { return time.UnixMicro(us).UTC() }
		want := []access.Wait{{Instance: feed.Instance{Sidecar: "spiffe://acme.example/gw", Run: run}, LastPong: at(11), Until: at(12), AckedAt: at(13),
			LastAllowed: at(14), LastAction: "act", Bounded: at(15), StreamsCut: 16, UntilPassed: 17 * time.Microsecond}}
		if len(all) != 1 || !reflect.DeepEqual(all[0].Waits, want) {
			t.Errorf("%+v, want waits %+v", all, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

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
