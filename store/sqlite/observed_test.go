package sqlite

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// The table is bounded, and counted once a call: segments wait for the writer meanwhile.
func TestObservedIsBoundedAndCountedOnce(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mayfly.db"))
	day := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	// Each new row makes room: whoever counts again would take the second one too.
	for _, q := range []string{
		`WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
			INSERT INTO observed (app, name, operation, code, day, last, count, attributes) SELECT 'full', i, '', '', 1767571200000000, 1767571200000000, 1, '{}' FROM n`,
		`CREATE TRIGGER room AFTER INSERT ON observed BEGIN DELETE FROM observed WHERE app = 'full' AND name = '2'; END`,
	} {
		if _, err := s.write.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	use := func(name string) access.ObservedUse {
		return access.ObservedUse{App: "wiki", Name: name, Day: day, Last: day, Count: 1, Attributes: map[string]string{}}
	}
	var got []access.ObservedUse
	err := s.Update(t.Context(), func(tx access.Tx) error {
		if err := tx.Observed().Add(t.Context(), []access.ObservedUse{use("p_1"), use("p_2"), use("p_1")}, day); err != nil {
			return err
		}
		var err error
		got, err = tx.Observed().Since(context.Background(), "wiki", day)
		return err
	})
	if err != nil || len(got) != 1 || got[0].Name != "p_1" || got[0].Count != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}
