package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
)

type instances struct{ t *tx }

const (
	instanceColumns = `id, sidecar, run, apps, environment, version, catalogues, joined_at, last_pong, stale_after,
		acked_epoch, acked_revision, last_allowed, last_action, bounded, nack, nack_at, gone_at, strayed_at, strayed, pong_passed`
	selectInstance = `SELECT ` + instanceColumns + ` FROM instances `
)

func readInstance(r row) (i access.Instance, err error) {
	var id string
	return i, r.Scan(&id, &i.ID.Sidecar, &i.ID.Run, asObject(&i.Apps), &i.Environment, &i.Version, asObject(&i.Catalogues),
		asTime(&i.JoinedAt), asTime(&i.LastPong), asDuration(&i.StaleAfter),
		&i.Acked.Epoch, &i.Acked.Revision, asTime(&i.LastAllowed), &i.LastAction, asTime(&i.Bounded),
		&i.Nack, asTime(&i.NackAt), asTime(&i.GoneAt), asTime(&i.StrayedAt), asObject(&i.Strayed), asDuration(&i.PongPassed))
}

// Join keeps the later last_pong too: what a revoke waits for is the lease that
// the instance may still hold, whatever stream it came by.
func (s instances) Join(ctx context.Context, i access.Instance) error {
	_, err := s.t.exec(ctx, `INSERT INTO instances (`+instanceColumns+`, acked_at) VALUES (`+marks(21)+`, 0)
		ON CONFLICT (id) DO UPDATE SET apps = excluded.apps, environment = excluded.environment,
		version = excluded.version, catalogues = excluded.catalogues, joined_at = excluded.joined_at,
		last_pong = max(last_pong, excluded.last_pong), pong_passed = max(pong_passed, excluded.pong_passed), stale_after = excluded.stale_after,
		nack = excluded.nack, nack_at = excluded.nack_at, gone_at = excluded.gone_at`,
		i.ID.String(), i.ID.Sidecar, i.ID.Run, object{i.Apps}, i.Environment, i.Version, object{i.Catalogues},
		micros(i.JoinedAt), micros(i.LastPong), i.StaleAfter.Microseconds(),
		i.Acked.Epoch, i.Acked.Revision, micros(i.LastAllowed), i.LastAction, micros(i.Bounded),
		i.Nack, micros(i.NackAt), micros(i.GoneAt), micros(i.StrayedAt), object{i.Strayed}, i.PongPassed.Microseconds())
	return about(err, "join instance %s", i.ID)
}

func (s instances) Get(ctx context.Context, id feed.Instance) (access.Instance, error) {
	i, err := single(ctx, s.t, readInstance, selectInstance+`WHERE id = ?`, id.String())
	return i, about(err, "instance %s", id)
}

func (s instances) List(ctx context.Context) ([]access.Instance, error) {
	out, err := list(ctx, s.t, readInstance, selectInstance+`WHERE gone_at = 0 ORDER BY id`)
	return out, about(err, "list instances")
}

// SetLastPong is one statement for a batch. An instance that was gone and beats
// is back.
func (s instances) SetLastPong(ctx context.Context, ids []feed.Instance, at time.Time, passed time.Duration) error {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var want int64
	if err := s.t.one(ctx, `SELECT count(DISTINCT value) FROM json_each(?)`, []any{object{texts}}, &want); err != nil {
		return about(err, "set last pong")
	}
	n, err := s.t.exec(ctx, `UPDATE instances SET last_pong = max(last_pong, ?), pong_passed = max(pong_passed, ?), gone_at = 0
		WHERE id IN (SELECT value FROM json_each(?))`, micros(at), passed.Microseconds(), object{texts})
	if err == nil && n != want {
		err = access.ErrNotFound
	}
	return about(err, "set last pong of %d instances", len(ids))
}

// SetAcked is one statement for a batch.
func (s instances) SetAcked(ctx context.Context, receipts []feed.Receipt, at time.Time) error {
	rows := receiptRows(receipts)
	var known int
	if err := s.t.one(ctx, `SELECT count(*) FROM instances WHERE id IN (SELECT value ->> 0 FROM json_each(?))`, []any{rows}, &known); err != nil {
		return about(err, "store receipts")
	}
	if known != len(receipts) {
		return about(access.ErrNotFound, "store receipts of %d instances, %d of them known", len(receipts), known)
	}
	_, err := s.t.exec(ctx, `WITH receipts AS MATERIALIZED (`+selectReceipts+`)
		UPDATE instances SET acked_epoch = r.epoch, acked_revision = r.revision, acked_at = ?2,
		last_allowed = r.last_allowed, last_action = r.last_action, bounded = r.bounded
		FROM receipts r WHERE id = r.instance AND (acked_epoch, acked_revision) < (r.epoch, r.revision)`, rows, micros(at))
	return about(err, "store receipts")
}

// selectReceipts reads what receiptRows wrote, in a statement's first argument.
const selectReceipts = `SELECT value ->> 0 AS instance, value ->> 1 AS epoch, value ->> 2 AS revision,
		value ->> 3 AS last_allowed, value ->> 4 AS last_action, value ->> 5 AS bounded,
		value ->> 6 AS streams_cut FROM json_each(?1)`

func receiptRows(receipts []feed.Receipt) object {
	rows := make([][]any, len(receipts))
	for i, r := range receipts {
		rows[i] = []any{r.Instance.String(), r.At.Epoch, r.At.Revision, micros(r.LastAllowed), r.LastAction, micros(r.Bounded), r.StreamsCut}
	}
	return object{rows}
}

func (s instances) SetNack(ctx context.Context, id feed.Instance, text string, at time.Time) error {
	err := s.t.change(ctx, `UPDATE instances SET nack = ?, nack_at = ? WHERE id = ?`, text, micros(at), id.String())
	return about(err, "store a refusal of instance %s", id)
}

func (s instances) MarkGone(ctx context.Context, id feed.Instance, at time.Time) error {
	err := s.t.change(ctx, `UPDATE instances SET gone_at = ? WHERE id = ?`, micros(at), id.String())
	return about(err, "mark instance %s gone", id)
}

func (s instances) SetStrayed(ctx context.Context, id feed.Instance, since time.Time, apps []string) error {
	err := s.t.change(ctx, `UPDATE instances SET strayed_at = ?, strayed = ? WHERE id = ?`, micros(since), object{apps}, id.String())
	return about(err, "quarantine of instance %s", id)
}

func (s instances) Strayed(ctx context.Context) ([]feed.Instance, error) {
	out, err := list(ctx, s.t, readInstanceID, `SELECT sidecar, run FROM instances WHERE strayed_at > 0 ORDER BY id`)
	return out, about(err, "list strayed instances")
}

func readInstanceID(r row) (i feed.Instance, err error) { return i, r.Scan(&i.Sidecar, &i.Run) }
