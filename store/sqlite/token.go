package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

type issuedTokens struct{ t *tx }

// Insert also forgets the tokens that have ended.
func (s issuedTokens) Insert(ctx context.Context, v access.OnwardToken) error {
	if _, err := s.t.exec(ctx, `DELETE FROM issued_tokens WHERE ends <= ?`, micros(s.t.now)); err != nil {
		return about(err, "insert token %s", v.ID)
	}
	_, err := s.t.exec(ctx, `INSERT INTO issued_tokens (id, grants, onward, ends) VALUES (?, ?, ?, ?)`,
		v.ID.String(), v.Grant.String(), object{v.Onward}, micros(v.Ends))
	return about(err, "insert token %s", v.ID)
}

func (s issuedTokens) Get(ctx context.Context, id grant.TokenID) (access.OnwardToken, error) {
	read := func(r row) (v access.OnwardToken, err error) {
		return v, r.Scan(asText(&v.ID), asText(&v.Grant), asObject(&v.Onward), asTime(&v.Ends))
	}
	v, err := single(ctx, s.t, read, `SELECT id, grants, onward, ends FROM issued_tokens WHERE id = ?`, id.String())
	return v, about(err, "token %s", id)
}
