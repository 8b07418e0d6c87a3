package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

type identities struct{ t *tx }

const selectIdentity = `SELECT principal, sealed, checked_at, tried_at, retry_at FROM identities `

// Whether an account holds something at an instant. Open grants are looked up for each
// account that is asked about, since workloads hold grants too, and many; sessions that
// last are few of all that ever were.
const (
	holdsGrants = `EXISTS (SELECT 1 FROM grants INDEXED BY grants_open_by_principal
		WHERE grants.principal = identities.principal AND revoked = 0 AND finished = 0 AND swept = 0 AND not_after > ?)`
	holdsSessions = `identities.principal IN (SELECT principal FROM sessions INDEXED BY sessions_by_end WHERE ended_at = 0 AND ends_at > ?)`
)

func readIdentity(r row) (v access.Identity, err error) {
	return v, r.Scan(asText(&v.Principal), &v.Sealed, asTime(&v.CheckedAt), asTime(&v.TriedAt), asTime(&v.RetryAt))
}

func (s identities) Get(ctx context.Context, p identity.Principal) (access.Identity, error) {
	v, err := single(ctx, s.t, readIdentity, selectIdentity+`WHERE principal = ?`, p.String())
	return v, about(err, "identity of a person")
}

func (s identities) Put(ctx context.Context, v access.Identity) error {
	_, err := s.t.exec(ctx, `INSERT INTO identities (principal, sealed, checked_at, tried_at, retry_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (principal) DO UPDATE SET sealed = excluded.sealed, checked_at = excluded.checked_at,
		tried_at = excluded.tried_at, retry_at = excluded.retry_at`,
		v.Principal.String(), blob(v.Sealed), micros(v.CheckedAt), micros(v.TriedAt), micros(v.RetryAt))
	return about(err, "keep the identity of a person")
}

func (s identities) Delete(ctx context.Context, p identity.Principal) error {
	_, err := s.t.exec(ctx, `DELETE FROM identities WHERE principal = ?`, p.String())
	return about(err, "forget the identity of a person")
}

func (s identities) Due(ctx context.Context, d access.IdentityDue) ([]access.Identity, error) {
	now := micros(d.Now)
	out, err := list(ctx, s.t, readIdentity, selectIdentity+`WHERE (checked_at <= ? AND retry_at <= ? OR checked_at <= ?)
		AND (`+holdsGrants+` OR `+holdsSessions+`) ORDER BY checked_at, principal LIMIT ?`,
		micros(d.Checked), now, micros(d.Over), now, now, limitOf(d.Limit))
	return out, about(err, "list identities to ask about")
}

func (s identities) Idle(ctx context.Context, now time.Time, limit int) ([]identity.Principal, error) {
	read := func(r row) (p identity.Principal, err error) { return p, r.Scan(asText(&p)) }
	out, err := list(ctx, s.t, read, `SELECT principal FROM identities WHERE NOT `+holdsGrants+` AND NOT `+holdsSessions+`
		AND principal NOT IN (SELECT beneficiary FROM requests WHERE state = 'pending')
		ORDER BY principal LIMIT ?`, micros(now), micros(now), limitOf(limit))
	return out, about(err, "list idle identities")
}
