package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

// tx is one transaction on its own connection. Statements are not interrupted by
// their context, only refused: SQLite answers an interrupted write by rolling the
// whole transaction back, and what came after would stand alone.
type tx struct {
	*connection
	reading // of the clock
	bootID  string
	updates bool
	broken  error // the failure after which nothing may be committed
	over    bool
}

var _ access.Tx = (*tx)(nil)

func (s *Store) begin(ctx context.Context, own *connection) (*tx, error) {
	if err := own.open(ctx); err != nil {
		return nil, err
	}
	t := &tx{connection: own, updates: own.db == s.write, bootID: s.bootID}
	if _, err := own.conn.ExecContext(ctx, own.begin); err != nil {
		t.end()
		return nil, err
	}
	// The first read fixes what a View sees; the clock is read after it, so that
	// nothing seen is later than now.
	var mark reading
	if err := t.one(ctx, `SELECT mark, passed FROM head`, nil, asTime(&mark.now), asDuration(&mark.passed)); err != nil {
		t.end()
		return nil, err
	}
	t.reading = s.clock.read(mark)
	return t, nil
}

func (t *tx) commit(ctx context.Context) error {
	if t.updates {
		if _, err := t.exec(ctx, `UPDATE head SET mark = ?, passed = ?, boot_id = ?, boot_at = ?`,
			micros(t.now), t.passed.Microseconds(), t.bootID, t.boot.Nanoseconds()); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	if err := t.ready(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if _, err := t.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", typed(err))
	}
	t.over = true
	return nil
}

// end rolls back what was not committed. A connection that cannot is thrown away,
// and the rollback with it.
func (t *tx) end() {
	if t.over {
		return
	}
	t.over = true
	if _, err := t.conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		t.close()
	}
}

func (t *tx) ready(ctx context.Context) error {
	switch {
	case t.over:
		return errOver
	case t.broken != nil:
		return t.broken
	default:
		return ctx.Err()
	}
}

func (t *tx) failed(err error) error {
	err = typed(err)
	if !undone(err) {
		t.broken = fmt.Errorf("the transaction has failed: %w", err)
	}
	return err
}

// exec runs one statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.ready(ctx); err != nil {
		return 0, err
	}
	s, err := t.prepared(ctx, query)
	if err != nil {
		return 0, t.failed(err)
	}
	res, err := s.ExecContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return 0, t.failed(err)
	}
	return res.RowsAffected()
}

// change is exec for exactly one row: none is ErrNotFound.
func (t *tx) change(ctx context.Context, query string, args ...any) error {
	n, err := t.exec(ctx, query, args...)
	if err == nil && n == 0 {
		return access.ErrNotFound
	}
	return err
}

// row is one row of an answer.
type row interface{ Scan(dest ...any) error }

// one reads a single row; none is ErrNotFound.
func (t *tx) one(ctx context.Context, query string, args []any, dest ...any) error {
	_, err := single(ctx, t, func(r row) (struct{}, error) { return struct{}{}, r.Scan(dest...) }, query, args...)
	return err
}

// single reads one value; no row is ErrNotFound.
func single[T any](ctx context.Context, t *tx, scan func(row) (T, error), query string, args ...any) (T, error) {
	var zero T
	if err := t.ready(ctx); err != nil {
		return zero, err
	}
	s, err := t.prepared(ctx, query)
	if err != nil {
		return zero, t.failed(err)
	}
	v, err := scan(s.QueryRowContext(context.WithoutCancel(ctx), args...))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return zero, access.ErrNotFound
	case err != nil:
		return zero, t.failed(err)
	default:
		return v, nil
	}
}

// list reads all rows of an answer.
func list[T any](ctx context.Context, t *tx, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	s, err := t.prepared(ctx, query)
	if err != nil {
		return nil, t.failed(err)
	}
	rows, err := s.QueryContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return nil, t.failed(err)
	}
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, t.failed(errors.Join(err, rows.Close()))
		}
		out = append(out, v)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, t.failed(err)
	}
	return out, nil
}

// about adds to err what was being done, and to whom.
func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// Now implements access.Tx, as the methods below do.
func (t *tx) Now() time.Time                        { return t.now }
func (t *tx) Passed() time.Duration                 { return t.passed }
func (t *tx) Log() audit.Storage                    { return controlLog{t} }
func (t *tx) Head() access.HeadStore                { return heads{t} }
func (t *tx) Changes() access.ChangeStore           { return changes{t} }
func (t *tx) Policies() access.PolicyStore          { return policies{t} }
func (t *tx) Requests() access.RequestStore         { return requests{t} }
func (t *tx) Approvals() access.ApprovalStore       { return approvals{t} }
func (t *tx) Grants() access.GrantStore             { return grants{t} }
func (t *tx) Sessions() access.SessionStore         { return sessions{t} }
func (t *tx) Persons() access.PersonStore           { return persons{t} }
func (t *tx) Identities() access.IdentityStore      { return identities{t} }
func (t *tx) Locks() access.LockStore               { return locks{t} }
func (t *tx) Instances() access.InstanceStore       { return instances{t} }
func (t *tx) Revocations() access.RevocationStore   { return revocations{t} }
func (t *tx) Spools() access.SpoolStore             { return spools{t} }
func (t *tx) Reservations() access.ReservationStore { return reservations{t} }
func (t *tx) Keys() access.KeyStore                 { return keys{t} }
func (t *tx) Outbox() access.OutboxStore            { return outbox{t} }
func (t *tx) Quarantines() access.QuarantineStore   { return quarantines{t} }
func (t *tx) Workloads() access.WorkloadStore       { return workloads{t} }
func (t *tx) Bundles() access.BundleStore           { return bundles{t} }
func (t *tx) Observed() access.ObservedStore        { return observed{t} }
func (t *tx) Tokens() access.TokenStore             { return issuedTokens{t} }
func (t *tx) TokenKeys() access.TokenKeyStore       { return tokenKeys{t} }
func (t *tx) Proofs() access.ProofStore             { return proofs{t} }
