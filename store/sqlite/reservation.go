package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

type reservations struct{ t *tx }

func (s reservations) Get(ctx context.Context, id grant.ActionID) (r access.Reservation, err error) {
	err = s.t.one(ctx, `SELECT action, grant_id, sidecar, run, result, reason, leaf, at FROM reservations WHERE action = ?`,
		[]any{id.String()}, asText(&r.Action), asText(&r.Grant), &r.Instance.Sidecar, &r.Instance.Run,
		&r.Result, &r.Reason, &r.Leaf, asTime(&r.At))
	return r, about(err, "reservation of %s", id)
}

func (s reservations) Insert(ctx context.Context, r access.Reservation) error {
	_, err := s.t.exec(ctx, `INSERT INTO reservations (action, grant_id, sidecar, run, result, reason, leaf, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, r.Action.String(), r.Grant.String(), r.Instance.Sidecar, r.Instance.Run,
		r.Result, r.Reason, r.Leaf, micros(r.At))
	return about(err, "insert reservation of %s", r.Action)
}
