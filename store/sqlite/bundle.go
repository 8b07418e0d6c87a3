package sqlite

import (
	"context"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
)

type bundles struct{ t *tx }

func (s bundles) Begin(ctx context.Context, id grant.RequestID, due time.Duration) error {
	_, err := s.t.exec(ctx, `INSERT INTO bundles_beginning (request, due) VALUES (?, ?)`, id.String(), due.Microseconds())
	return about(err, "begin bundle %s", id)
}

func (s bundles) Beginning(ctx context.Context) ([]access.BeginningBundle, error) {
	out, err := list(ctx, s.t, func(r row) (b access.BeginningBundle, err error) {
		return b, r.Scan(asText(&b.Request), asDuration(&b.Due))
	}, `SELECT request, due FROM bundles_beginning ORDER BY request`)
	return out, about(err, "list beginning bundles")
}

func (s bundles) Begun(ctx context.Context, id grant.RequestID) error {
	_, err := s.t.exec(ctx, `DELETE FROM bundles_beginning WHERE request = ?`, id.String())
	return about(err, "bundle %s has begun", id)
}
