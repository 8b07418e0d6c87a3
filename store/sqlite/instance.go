package sqlite

import (
	"context"
	"slices"
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

func (s instances) Unseen(ctx context.Context, after time.Time) ([]access.Instance, error) {
	out, err := list(ctx, s.t, readInstance, selectInstance+`WHERE gone_at = 0 AND max(joined_at, last_pong) <= ? ORDER BY id`, micros(after))
	return out, about(err, "list unseen instances")
}

// Fronting reads what a list of apps says once: most instances front the same ones.
func (s instances) Fronting(ctx context.Context, app string) ([]access.Instance, error) {
	var last string
	var apps []string
	read := func(r row) (i access.Instance, err error) {
		var text string
		err = r.Scan(&i.ID.Sidecar, &i.ID.Run, &text, asTime(&i.LastPong), asDuration(&i.PongPassed), asDuration(&i.StaleAfter))
		if err == nil && text != last {
			apps = nil
			last, err = text, asObject(&apps).Scan(text)
		}
		i.Apps = apps
		return i, err
	}
	all, err := list(ctx, s.t, read, `SELECT sidecar, run, apps, last_pong, pong_passed, stale_after FROM instances
		WHERE gone_at = 0 AND last_pong > 0 ORDER BY id`)
	var out []access.Instance
	for _, i := range all {
		if slices.Contains(i.Apps, app) {
			out = append(out, i)
		}
	}
	return out, about(err, "list instances that front %s", app)
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

// SetAcked is one statement for all that say the same.
func (s instances) SetAcked(ctx context.Context, receipts []feed.Receipt, at time.Time) error {
	all := make([]string, len(receipts))
	for i, r := range receipts {
		all[i] = r.Instance.String()
	}
	var known int
	if err := s.t.one(ctx, `SELECT count(*) FROM instances WHERE id IN (SELECT value FROM json_each(?))`, []any{object{all}}, &known); err != nil {
		return about(err, "store receipts")
	}
	if known != len(receipts) {
		return about(access.ErrNotFound, "store receipts of %d instances, %d of them known", len(receipts), known)
	}
	for r, ids := range alike(receipts, byReceipt) {
		_, err := s.t.exec(ctx, `UPDATE instances SET acked_epoch = ?1, acked_revision = ?2, acked_at = ?3, last_allowed = ?4, last_action = ?5, bounded = ?6
			WHERE id IN (SELECT value FROM json_each(?7)) AND (acked_epoch, acked_revision) < (?1, ?2)`,
			r.At.Epoch, r.At.Revision, micros(at), micros(r.LastAllowed), r.LastAction, micros(r.Bounded), object{ids})
		if err != nil {
			return about(err, "store receipts")
		}
	}
	return nil
}

// alike groups instances by what is to be stored of each, which one takes apart: at most
// gateways nothing was let through under what ended, and Pings are answered together.
func alike[T comparable](all []T, one func(T) (feed.Instance, T)) map[T][]string {
	out := map[T][]string{}
	for _, v := range all {
		id, rest := one(v)
		out[rest] = append(out[rest], id.String())
	}
	return out
}

func byReceipt(r feed.Receipt) (id feed.Instance, rest feed.Receipt) {
	id, r.Instance = r.Instance, feed.Instance{}
	return id, r
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
