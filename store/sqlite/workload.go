package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
)

// maxWorkloads bounds the table: whoever can sign for a trust domain can make up
// names without end.
const maxWorkloads = 100_000

type workloads struct{ t *tx }

// Seen keeps what was called of the newest call at a gateway.
func (s workloads) Seen(ctx context.Context, u access.WorkloadUse) error {
	_, err := s.t.exec(ctx, `INSERT INTO workloads (principal, first, last, called, environment, app, operation, code, allowed, denied, asked)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
		WHERE EXISTS (SELECT 1 FROM workloads WHERE principal = ?1) OR (SELECT count(*) FROM workloads) < ?12
		ON CONFLICT (principal) DO UPDATE SET
		  (called, environment, app, operation, code) = (
		    SELECT excluded.called, excluded.environment, excluded.app, excluded.operation, excluded.code WHERE excluded.called >= workloads.called AND excluded.called > 0
		    UNION ALL SELECT workloads.called, workloads.environment, workloads.app, workloads.operation, workloads.code
		    WHERE NOT (excluded.called >= workloads.called AND excluded.called > 0)),
		  first = min(first, excluded.first), last = max(last, excluded.last),
		  allowed = allowed + excluded.allowed, denied = denied + excluded.denied, asked = asked + excluded.asked`,
		u.Principal.String(), micros(u.First), micros(u.Last), micros(u.Called), u.Environment, u.App, u.Operation, u.Code, u.Allowed, u.Denied, u.Asked, maxWorkloads)
	return about(err, "note workload %s", u.Principal)
}

func (s workloads) List(ctx context.Context, after string, limit int) ([]access.WorkloadUse, error) {
	read := func(r row) (u access.WorkloadUse, err error) {
		return u, r.Scan(asText(&u.Principal), asTime(&u.First), asTime(&u.Last), asTime(&u.Called), &u.Environment, &u.App, &u.Operation, &u.Code, &u.Allowed, &u.Denied, &u.Asked)
	}
	const columns = `SELECT principal, first, last, called, environment, app, operation, code, allowed, denied, asked FROM workloads`
	if after == "" {
		out, err := list(ctx, s.t, read, columns+` ORDER BY principal LIMIT ?`, limit)
		return out, about(err, "list workloads")
	}
	out, err := list(ctx, s.t, read, columns+` WHERE principal > ? ORDER BY principal LIMIT ?`, after, limit)
	return out, about(err, "list workloads")
}
