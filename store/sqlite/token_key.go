package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
)

type tokenKeys struct{ t *tx }

const selectTokenKey = `SELECT kid, alg, state, public, sealed, leaf, published_at, activated_at, retired_at, until, ended_at FROM token_keys `

func readTokenKey(r row) (v access.TokenKey, err error) {
	err = r.Scan(&v.ID, &v.Alg, &v.State, &v.Public, &v.Sealed, &v.Leaf,
		asTime(&v.PublishedAt), asTime(&v.ActivatedAt), asTime(&v.RetiredAt), asTime(&v.Until), asTime(&v.EndedAt))
	if len(v.Sealed) == 0 {
		v.Sealed = nil
	}
	return v, err
}

func (s tokenKeys) Insert(ctx context.Context, v access.TokenKey) error {
	_, err := s.t.exec(ctx, `INSERT INTO token_keys (kid, alg, state, public, sealed, leaf, published_at, activated_at, retired_at, until, ended_at)
		VALUES (`+marks(11)+`)`, v.ID, v.Alg, string(v.State), blob(v.Public), blob(v.Sealed), v.Leaf,
		micros(v.PublishedAt), micros(v.ActivatedAt), micros(v.RetiredAt), micros(v.Until), micros(v.EndedAt))
	return about(err, "publish the key %s", v.ID)
}

func (s tokenKeys) Get(ctx context.Context, kid string) (access.TokenKey, error) {
	v, err := single(ctx, s.t, readTokenKey, selectTokenKey+`WHERE kid = ?`, kid)
	return v, about(err, "token key")
}

func (s tokenKeys) In(ctx context.Context, states ...access.TokenKeyState) ([]access.TokenKey, error) {
	args := make([]any, len(states))
	for i, state := range states {
		args[i] = string(state)
	}
	out, err := list(ctx, s.t, readTokenKey, selectTokenKey+`WHERE state IN (`+marks(len(states))+`) ORDER BY leaf DESC, published_at DESC, kid`, args...)
	return out, about(err, "list token keys")
}

func (s tokenKeys) List(ctx context.Context, limit int) ([]access.TokenKey, error) {
	out, err := list(ctx, s.t, readTokenKey, selectTokenKey+`ORDER BY leaf DESC, published_at DESC, kid LIMIT ?`, limitOf(limit))
	return out, about(err, "list token keys")
}

func (s tokenKeys) Update(ctx context.Context, v access.TokenKey) error {
	err := s.t.change(ctx, `UPDATE token_keys SET state = ?, sealed = ?, activated_at = ?, retired_at = ?, until = ?, ended_at = ? WHERE kid = ?`,
		string(v.State), blob(v.Sealed), micros(v.ActivatedAt), micros(v.RetiredAt), micros(v.Until), micros(v.EndedAt), v.ID)
	return about(err, "change the key %s", v.ID)
}
