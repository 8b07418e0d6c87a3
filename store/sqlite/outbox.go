package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
)

type outbox struct{ t *tx }

// Put gives the event the next seq; e.Seq is not read.
func (s outbox) Put(ctx context.Context, e access.Event) error {
	_, err := s.t.exec(ctx, `INSERT INTO outbox (kind, id, at) VALUES (?, ?, ?)`, e.Kind, e.ID, micros(e.At))
	return about(err, "put event %s", e.Kind)
}

func (s outbox) After(ctx context.Context, seq int64, limit int) ([]access.Event, error) {
	read := func(r row) (e access.Event, err error) { return e, r.Scan(&e.Seq, &e.Kind, &e.ID, asTime(&e.At)) }
	out, err := list(ctx, s.t, read, `SELECT seq, kind, id, at FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?`, seq, limitOf(limit))
	return out, about(err, "list events")
}
