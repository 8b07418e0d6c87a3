package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
)

type sessions struct{ t *tx }

// shown is what a session says of a person; it is erasable.
type shown struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

const selectSession = `SELECT id, kind, hash, app, host, parent, provider, principal, pseudonym, groups, groups_at, acr, auth_time,
	created_at, ends_at, ended_at, proof_key,
	coalesce((SELECT body FROM texts WHERE texts.kind = '` + textSession + `' AND texts.id = sessions.id), CAST('{}' AS BLOB)) FROM sessions `

func readSession(r row) (v access.Session, err error) {
	var text []byte
	err = r.Scan(asText(&v.ID), &v.Kind, asHash(&v.Hash), &v.App, &v.Host, asText(&v.Parent), &v.Provider, asText(&v.Principal), &v.Pseudonym,
		asObject(&v.Groups), asTime(&v.GroupsAt), &v.ACR, asTime(&v.AuthTime), asTime(&v.CreatedAt), asTime(&v.EndsAt), asTime(&v.EndedAt), ifHash(&v.ProofKey), &text)
	var of shown
	if err == nil {
		err = json.Unmarshal(text, &of)
	}
	if err != nil {
		return access.Session{}, err
	}
	v.Name, v.Email = of.Name, of.Email
	return v, nil
}

func (s sessions) Insert(ctx context.Context, v access.Session) error {
	_, err := s.t.exec(ctx, `INSERT INTO sessions (id, kind, hash, app, host, parent, provider, principal, pseudonym, groups, groups_at, acr, auth_time, created_at, ends_at, ended_at, proof_key)
		VALUES (`+marks(17)+`)`, v.ID.String(), string(v.Kind), v.Hash[:], v.App, v.Host, v.Parent.String(), v.Provider,
		v.Principal.String(), v.Pseudonym, object{v.Groups}, micros(v.GroupsAt), v.ACR, micros(v.AuthTime), micros(v.CreatedAt), micros(v.EndsAt), micros(v.EndedAt), hashIf(v.ProofKey))
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
	v, err := single(ctx, s.t, readSession, selectSession+`WHERE hash = ?`, hash[:])
	return v, about(err, "session")
}

func (s sessions) ByID(ctx context.Context, id grant.SessionID) (access.Session, error) {
	v, err := single(ctx, s.t, readSession, selectSession+`WHERE id = ?`, id.String())
	return v, about(err, "session %s", id)
}

func (s sessions) List(ctx context.Context, f access.SessionFilter) ([]access.Session, error) {
	var w where
	w.equal("principal", f.Principal.String())
	w.equal("parent", f.Parent.String())
	w.equal("provider", f.Provider)
	w.equal("app", f.App)
	w.before(f.Before.String())
	from := selectSession
	if !f.LiveAt.IsZero() {
		w.and("ended_at = 0 AND ends_at > ?", micros(f.LiveAt))
		if f.App != "" { // few of all that ever were, see grants.List
			from += `INDEXED BY sessions_fed `
			w.and("kind = 'app' AND swept = 0")
		}
	}
	if f.Fed {
		from += `INDEXED BY sessions_fed `
		w.and("kind = 'app' AND ended_at = 0 AND swept = 0")
	}
	out, err := list(ctx, s.t, readSession, from+w.page(f.Limit), w.args...)
	return out, about(err, "list sessions")
}

// Unswept leaves out ended sessions: the verb that ended one took it off the feed.
func (s sessions) Unswept(ctx context.Context, now time.Time, limit int) ([]access.Session, error) {
	out, err := list(ctx, s.t, readSession, selectSession+`
		WHERE kind = 'app' AND ended_at = 0 AND swept = 0 AND ends_at <= ? ORDER BY ends_at, id LIMIT ?`, micros(now), limitOf(limit))
	return out, about(err, "list sessions to sweep")
}

func (s sessions) MarkSwept(ctx context.Context, id grant.SessionID) error {
	return about(s.t.change(ctx, `UPDATE sessions SET swept = 1 WHERE id = ?`, id.String()), "mark session %s swept", id)
}

func (s sessions) SetGroups(ctx context.Context, id grant.SessionID, groups []identity.Group, at time.Time) error {
	err := s.t.change(ctx, `UPDATE sessions SET groups = ?, groups_at = ? WHERE id = ?`, object{groups}, micros(at), id.String())
	return about(err, "groups of session %s", id)
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
