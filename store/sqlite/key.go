package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/identity"
)

type keys struct{ t *tx }

func (s keys) Get(ctx context.Context, p identity.Principal, route, key string, now time.Time) ([]byte, error) {
	b, err := single(ctx, s.t, readBytes, `SELECT body FROM answers WHERE principal = ? AND route = ? AND key = ? AND ends > ?`,
		p.String(), route, key, micros(now))
	return b, about(err, "answer to an Idempotency-Key")
}

// Put also forgets the answers that ended.
func (s keys) Put(ctx context.Context, p identity.Principal, route, key string, body []byte, ends time.Time) error {
	if _, err := s.t.exec(ctx, `DELETE FROM answers WHERE ends <= ?`, micros(s.t.now)); err != nil {
		return about(err, "keep the answer to an Idempotency-Key")
	}
	_, err := s.t.exec(ctx, `INSERT INTO answers (principal, route, key, body, ends) VALUES (?, ?, ?, ?, ?)`,
		p.String(), route, key, blob(body), micros(ends))
	return about(err, "keep the answer to an Idempotency-Key")
}
