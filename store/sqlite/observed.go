package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/mayflyproxy/mayfly/access"
)

// maxObserved bounds the table, and what one report reads of it: whoever can sign for a
// trust domain can make up names without end.
const maxObserved = 100_000

type observed struct{ t *tx }

const observedColumns = `SELECT app, name, operation, code, day, last, count, attributes FROM observed`

func readObserved(r row) (u access.ObservedUse, err error) {
	var text string
	if err := r.Scan(&u.App, &u.Name, &u.Operation, &u.Code, asTime(&u.Day), asTime(&u.Last), &u.Count, &text); err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(text), &u.Attributes)
}

func (s observed) Add(ctx context.Context, uses []access.ObservedUse, forget time.Time) error {
	if _, err := s.t.exec(ctx, `DELETE FROM observed WHERE day < ?`, micros(forget)); err != nil {
		return about(err, "forget what was observed")
	}
	room := -1 // for new ones; -1: not counted yet, which reads all of the table
	for _, u := range uses {
		was, err := list(ctx, s.t, readObserved, observedColumns+` WHERE app = ? AND name = ? AND operation = ? AND code = ? AND day = ?`, u.App, u.Name, u.Operation, u.Code, micros(u.Day))
		if err != nil {
			return about(err, "read what was observed")
		}
		switch {
		case len(was) > 0:
			u = was[0].Join(u)
		case room < 0:
			var there int
			if err := s.t.one(ctx, `SELECT count(*) FROM observed`, nil, &there); err != nil {
				return about(err, "count what was observed")
			}
			room = max(maxObserved-there, 0)
		}
		if len(was) == 0 {
			if room == 0 {
				continue
			}
			room--
		}
		attributes, err := json.Marshal(u.Attributes)
		if err != nil {
			return about(err, "write what was observed")
		}
		_, err = s.t.exec(ctx, `INSERT INTO observed (app, name, operation, code, day, last, count, attributes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (app, name, operation, code, day) DO UPDATE SET last = excluded.last, count = excluded.count, attributes = excluded.attributes`,
			u.App, u.Name, u.Operation, u.Code, micros(u.Day), micros(u.Last), u.Count, string(attributes))
		if err != nil {
			return about(err, "note what was observed")
		}
	}
	return nil
}

func (s observed) Since(ctx context.Context, app string, from time.Time) ([]access.ObservedUse, error) {
	out, err := list(ctx, s.t, readObserved, observedColumns+` WHERE (?1 = '' OR app = ?1) AND day >= ?2 ORDER BY app, name, operation, code, day LIMIT ?3`, app, micros(from), maxObserved)
	return out, about(err, "list what was observed")
}
