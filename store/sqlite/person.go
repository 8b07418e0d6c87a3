package sqlite

import (
	"context"
	"errors"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

type persons struct{ t *tx }

func (s persons) Key(ctx context.Context, p identity.Principal, fresh func() []byte) ([]byte, error) {
	key, err := single(ctx, s.t, readBytes, `SELECT key FROM persons WHERE principal = ? AND key IS NOT NULL`, p.String())
	if !errors.Is(err, access.ErrNotFound) || !s.t.updates {
		return key, about(err, "key of a person")
	}
	key = fresh()
	if len(key) == 0 {
		return nil, errors.New("key of a person: the new one is empty")
	}
	_, err = s.t.exec(ctx, `INSERT INTO persons (principal, key, pseudonym, name, email) VALUES (?, ?, NULL, '', '')
		ON CONFLICT (principal) DO UPDATE SET key = excluded.key`, p.String(), key)
	return key, about(err, "key of a person")
}

func (s persons) ByPseudonym(ctx context.Context, pseudonym string) (identity.Principal, error) {
	read := func(r row) (p identity.Principal, err error) { return p, r.Scan(asText(&p)) }
	p, err := single(ctx, s.t, read, `SELECT principal FROM persons WHERE pseudonym = ?`, pseudonym)
	return p, about(err, "pseudonym %s", pseudonym)
}

func (s persons) SetPseudonym(ctx context.Context, p identity.Principal, pseudonym string) error {
	_, err := s.t.exec(ctx, `INSERT INTO persons (principal, key, pseudonym, name, email) VALUES (?, NULL, ?, '', '')
		ON CONFLICT (principal) DO UPDATE SET pseudonym = excluded.pseudonym`, p.String(), nullable(pseudonym))
	return about(err, "set pseudonym %s", pseudonym)
}

func (s persons) Profile(ctx context.Context, p identity.Principal) (name, email string, err error) {
	err = s.t.one(ctx, `SELECT name, email FROM persons WHERE principal = ?`, []any{p.String()}, &name, &email)
	return name, email, about(err, "profile of a person")
}

func (s persons) SetProfile(ctx context.Context, p identity.Principal, name, email string) error {
	_, err := s.t.exec(ctx, `INSERT INTO persons (principal, key, pseudonym, name, email) VALUES (?, NULL, NULL, ?, ?)
		ON CONFLICT (principal) DO UPDATE SET name = excluded.name, email = excluded.email`, p.String(), name, email)
	return about(err, "set profile of a person")
}

// WithEmail takes ASCII letters of either case as the same: two accounts too many
// that count as one person refuse an approval, two too few allow one (P6).
func (s persons) WithEmail(ctx context.Context, email string) ([]identity.Principal, error) {
	if email == "" {
		return nil, nil
	}
	read := func(r row) (p identity.Principal, err error) { return p, r.Scan(asText(&p)) }
	out, err := list(ctx, s.t, read, `SELECT principal FROM persons WHERE email = ? ORDER BY principal`, email)
	return out, about(err, "accounts that share an e-mail address")
}

// Erase also takes the pseudonym out of grants that are over: beside the
// principal it would still say who the record speaks of.
func (s persons) Erase(ctx context.Context, p identity.Principal) error {
	if _, err := s.t.exec(ctx, `DELETE FROM persons WHERE principal = ?`, p.String()); err != nil {
		return about(err, "erase a person")
	}
	if _, err := s.t.exec(ctx, `DELETE FROM texts WHERE principal = ?`, p.String()); err != nil {
		return about(err, "erase a person's texts")
	}
	if err := identities(s).Delete(ctx, p); err != nil {
		return err
	}
	_, err := s.t.exec(ctx, `UPDATE grants SET pseudonym = '' WHERE principal = ?
		AND (revoked > 0 OR finished > 0 OR not_after <= ?)`, p.String(), micros(s.t.now))
	return about(err, "erase a person's pseudonym")
}
