package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

type revocations struct{ t *tx }

const selectRevocation = `SELECT grant_id, epoch, revision, started, closed FROM revocations `

func readRevocation(row row) (r access.Revocation, err error) {
	return r, row.Scan(&r.Grant, &r.At.Epoch, &r.At.Revision, asTime(&r.Started), asTime(&r.Closed))
}

func (s revocations) Insert(ctx context.Context, r access.Revocation) error {
	_, err := s.t.exec(ctx, `INSERT INTO revocations (grant_id, epoch, revision, started, closed) VALUES (?, ?, ?, ?, ?)`,
		r.Grant, r.At.Epoch, r.At.Revision, micros(r.Started), micros(r.Closed))
	for w, ids := range alike(r.Waits, byWait) {
		if err != nil {
			break
		}
		_, err = s.t.exec(ctx, `INSERT INTO waits (grant_id, instance, last_pong, until_at, acked_at,
			last_allowed, last_action, bounded, streams_cut, until_passed)
			SELECT ?1, value, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM json_each(?10)`, r.Grant, micros(w.LastPong), micros(w.Until), micros(w.AckedAt),
			micros(w.LastAllowed), w.LastAction, micros(w.Bounded), w.StreamsCut, w.UntilPassed.Microseconds(), object{ids})
	}
	return about(err, "insert revocation of %s", r.Grant)
}

func byWait(w access.Wait) (id feed.Instance, rest access.Wait) {
	id, w.Instance = w.Instance, feed.Instance{}
	return id, w
}

func (s revocations) Get(ctx context.Context, id grant.GrantID) (access.Revocation, error) {
	r, err := single(ctx, s.t, readRevocation, selectRevocation+`WHERE grant_id = ?`, id.String())
	if err == nil {
		r.Waits, err = s.waits(ctx, r.Grant)
	}
	return r, about(err, "revocation of %s", id)
}

func (s revocations) Open(ctx context.Context) ([]access.Revocation, error) {
	out, err := list(ctx, s.t, readRevocation, selectRevocation+`WHERE closed = 0 ORDER BY started, grant_id`)
	for i := range out {
		if err != nil {
			break
		}
		out[i].Waits, err = s.waits(ctx, out[i].Grant)
	}
	return out, about(err, "list open revocations")
}

func (s revocations) waits(ctx context.Context, id string) ([]access.Wait, error) {
	read := func(r row) (w access.Wait, err error) {
		return w, r.Scan(asInstance(&w.Instance), asTime(&w.LastPong), asTime(&w.Until), asTime(&w.AckedAt),
			asTime(&w.LastAllowed), &w.LastAction, asTime(&w.Bounded), &w.StreamsCut, asDuration(&w.UntilPassed))
	}
	return list(ctx, s.t, read, `SELECT instance, last_pong, until_at, acked_at, last_allowed, last_action, bounded, streams_cut, until_passed
		FROM waits WHERE grant_id = ? ORDER BY instance`, id)
}

// Acked is one statement for all that say the same, found by the waits that are open.
func (s revocations) Acked(ctx context.Context, receipts []feed.Receipt, at time.Time, passed time.Duration) error {
	for r, ids := range alike(receipts, byReceipt) {
		_, err := s.t.exec(ctx, `UPDATE waits SET acked_at = ?1, last_allowed = ?2, last_action = ?3, bounded = ?4, streams_cut = ?5
			WHERE instance IN (SELECT value FROM json_each(?6)) AND acked_at = 0 AND until_passed > ?7 AND grant_id IN
				(SELECT grant_id FROM revocations WHERE closed = 0 AND (epoch, revision) <= (?8, ?9))`,
			micros(at), micros(r.LastAllowed), r.LastAction, micros(r.Bounded), r.StreamsCut, object{ids}, passed.Microseconds(), r.At.Epoch, r.At.Revision)
		if err != nil {
			return about(err, "note acknowledgements")
		}
	}
	return nil
}

func (s revocations) Settled(ctx context.Context, passed time.Duration) ([]access.Revocation, error) {
	out, err := list(ctx, s.t, readRevocation, selectRevocation+`WHERE closed = 0 AND NOT EXISTS
		(SELECT 1 FROM waits w WHERE w.grant_id = revocations.grant_id AND w.acked_at = 0 AND w.until_passed > ?)
		ORDER BY started, grant_id`, passed.Microseconds())
	for i := range out {
		if err != nil {
			break
		}
		out[i].Waits, err = s.waits(ctx, out[i].Grant)
	}
	return out, about(err, "list settled revocations")
}

// Close closes a revocation once.
func (s revocations) Close(ctx context.Context, id grant.GrantID, at time.Time) error {
	err := s.t.change(ctx, `UPDATE revocations SET closed = CASE closed WHEN 0 THEN ?1 ELSE closed END WHERE grant_id = ?2`,
		micros(at), id.String())
	return about(err, "close revocation of %s", id)
}
