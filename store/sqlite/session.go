package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

type sessions struct{ t *tx }

// shown is what a session says of a person; it is erasable.
type shown struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

func (s sessions) Insert(ctx context.Context, v access.Session) error {
	_, err := s.t.exec(ctx, `INSERT INTO sessions (id, kind, hash, app, host, parent, provider, principal, groups, groups_at, acr, auth_time, created_at, ends_at, ended_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, v.ID.String(), string(v.Kind), v.Hash[:], v.App, v.Host, v.Parent.String(), v.Provider,
		v.Principal.String(), object{v.Groups}, micros(v.GroupsAt), v.ACR, micros(v.AuthTime), micros(v.CreatedAt), micros(v.EndsAt), micros(v.EndedAt))
	if err != nil {
		return about(err, "insert session %s", v.ID)
	}
	text, err := json.Marshal(shown{v.Name, v.Email})
	if err == nil {
		err = s.t.putText(ctx, textSession, v.ID.String(), v.Principal, text)
	}
	return about(err, "insert session %s", v.ID)
}

func (s sessions) ByHash(ctx context.Context, hash [32]byte) (access.Session, error) {
	v := access.Session{Hash: hash}
	var text []byte
	err := s.t.one(ctx, `SELECT id, kind, app, host, parent, provider, principal, groups, groups_at, acr, auth_time, created_at, ends_at, ended_at,
		coalesce((SELECT body FROM texts WHERE kind = ? AND texts.id = sessions.id), CAST('{}' AS BLOB))
		FROM sessions WHERE hash = ?`, []any{textSession, hash[:]},
		asText(&v.ID), &v.Kind, &v.App, &v.Host, asText(&v.Parent), &v.Provider, asText(&v.Principal), asObject(&v.Groups), asTime(&v.GroupsAt), &v.ACR,
		asTime(&v.AuthTime), asTime(&v.CreatedAt), asTime(&v.EndsAt), asTime(&v.EndedAt), &text)
	var of shown
	if err == nil {
		err = json.Unmarshal(text, &of)
	}
	if err != nil {
		return access.Session{}, about(err, "session")
	}
	v.Name, v.Email = of.Name, of.Email
	return v, nil
}

// End ends a session once; a second call leaves the first end as it is.
func (s sessions) End(ctx context.Context, id grant.SessionID, at time.Time) error {
	err := s.t.change(ctx, `UPDATE sessions SET ended_at = CASE ended_at WHEN 0 THEN ?1 ELSE ended_at END WHERE id = ?2`,
		micros(at), id.String())
	return about(err, "end session %s", id)
}

// PutLogin also forgets the logins that ended unfinished.
func (s sessions) PutLogin(ctx context.Context, key string, body []byte, ends time.Time) error {
	if _, err := s.t.exec(ctx, `DELETE FROM logins WHERE ends <= ?`, micros(s.t.now)); err != nil {
		return about(err, "put login")
	}
	_, err := s.t.exec(ctx, `INSERT INTO logins (key, body, ends) VALUES (?, ?, ?)`, key, blob(body), micros(ends))
	return about(err, "put login")
}

func (s sessions) TakeLogin(ctx context.Context, key string, now time.Time) ([]byte, error) {
	b, err := single(ctx, s.t, readBytes, `DELETE FROM logins WHERE key = ? AND ends > ? RETURNING body`, key, micros(now))
	return b, about(err, "take login")
}
