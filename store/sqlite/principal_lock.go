package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/identity"
)

type locks struct{ t *tx }

const selectLock = `SELECT target, locked_by, at,
	coalesce((SELECT body FROM texts WHERE texts.kind = '` + textLock + `' AND texts.id = locks.target), CAST('' AS BLOB)) FROM locks `

func readLock(r row) (v access.Lock, err error) {
	var reason []byte
	err = r.Scan(&v.Target, asText(&v.By), asTime(&v.At), &reason)
	v.Reason = string(reason)
	return v, err
}

func (s locks) Insert(ctx context.Context, v access.Lock) error {
	_, err := s.t.exec(ctx, `INSERT INTO locks (target, locked_by, at) VALUES (?, ?, ?)`, v.Target, v.By.String(), micros(v.At))
	if err != nil {
		return about(err, "lock %s", v.Target)
	}
	if err := s.Extend(ctx, v.Target, v.Accounts); err != nil || len(v.Accounts) == 0 {
		return err
	}
	return about(s.t.putText(ctx, textLock, v.Target, v.Accounts[0], []byte(v.Reason)), "lock %s", v.Target)
}

func (s locks) Extend(ctx context.Context, target string, accounts []identity.Principal) error {
	for _, p := range accounts {
		_, err := s.t.exec(ctx, `INSERT INTO lock_accounts (target, principal, place)
			SELECT ?1, ?2, (SELECT count(*) FROM lock_accounts WHERE target = ?1) WHERE true ON CONFLICT (target, principal) DO NOTHING`, target, p.String())
		if err != nil {
			return about(err, "extend the lock of %s", target)
		}
	}
	return nil
}

func (s locks) Holding(ctx context.Context, names []string) ([]access.Lock, error) {
	if len(names) == 0 {
		return nil, nil
	}
	args := make([]any, 0, 2*len(names))
	for range 2 {
		for _, n := range names {
			args = append(args, n)
		}
	}
	return s.list(ctx, `WHERE target IN (`+marks(len(names))+`)
		OR target IN (SELECT target FROM lock_accounts WHERE principal IN (`+marks(len(names))+`)) ORDER BY at, target`, args...)
}

func (s locks) List(ctx context.Context) ([]access.Lock, error) {
	return s.list(ctx, `ORDER BY at, target`)
}

func (s locks) list(ctx context.Context, where string, args ...any) ([]access.Lock, error) {
	out, err := list(ctx, s.t, readLock, selectLock+where, args...)
	if err != nil {
		return nil, about(err, "list locks")
	}
	read := func(r row) (p identity.Principal, err error) { return p, r.Scan(asText(&p)) }
	for i := range out {
		out[i].Accounts, err = list(ctx, s.t, read, `SELECT principal FROM lock_accounts WHERE target = ? ORDER BY place, principal`, out[i].Target)
		if err != nil {
			return nil, about(err, "accounts of a lock")
		}
	}
	return out, nil
}

func (s locks) Delete(ctx context.Context, target string) error {
	if _, err := s.t.exec(ctx, `DELETE FROM lock_accounts WHERE target = ?`, target); err != nil {
		return about(err, "unlock %s", target)
	}
	if _, err := s.t.exec(ctx, `DELETE FROM texts WHERE kind = ? AND id = ?`, textLock, target); err != nil {
		return about(err, "unlock %s", target)
	}
	return about(s.t.change(ctx, `DELETE FROM locks WHERE target = ?`, target), "unlock %s", target)
}
