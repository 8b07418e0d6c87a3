package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

type quarantines struct{ t *tx }

// Put keeps the beginning of a quarantine that lasts already.
func (s quarantines) Put(ctx context.Context, q access.Quarantine) error {
	_, err := s.t.exec(ctx, `INSERT INTO quarantines (sidecar, since, reason) VALUES (?, ?, ?) ON CONFLICT (sidecar) DO NOTHING`,
		q.Sidecar.String(), micros(q.Since), q.Reason)
	return about(err, "quarantine %s", q.Sidecar)
}

func (s quarantines) Lift(ctx context.Context, sidecar identity.Principal) error {
	err := s.t.change(ctx, `DELETE FROM quarantines WHERE sidecar = ?`, sidecar.String())
	return about(err, "release %s", sidecar)
}

func (s quarantines) List(ctx context.Context) ([]access.Quarantine, error) {
	read := func(r row) (q access.Quarantine, err error) {
		return q, r.Scan(asText(&q.Sidecar), asTime(&q.Since), &q.Reason)
	}
	out, err := list(ctx, s.t, read, `SELECT sidecar, since, reason FROM quarantines ORDER BY sidecar`)
	return out, about(err, "list quarantines")
}
