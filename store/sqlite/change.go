package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/feed"
)

type changes struct{ t *tx }

func (s changes) Append(ctx context.Context, c access.StoredChange) error {
	_, err := s.t.exec(ctx, `INSERT INTO changes (epoch, revision, app, body) VALUES (?, ?, ?, ?)`,
		c.At.Epoch, c.At.Revision, c.App, blob(c.Body))
	return about(err, "append change %d/%d of %s", c.At.Epoch, c.At.Revision, c.App)
}

func (s changes) Between(ctx context.Context, after, upto feed.Position) ([]access.StoredChange, error) {
	read := func(r row) (c access.StoredChange, err error) {
		return c, r.Scan(&c.At.Epoch, &c.At.Revision, &c.App, &c.Body)
	}
	out, err := list(ctx, s.t, read, `SELECT epoch, revision, app, body FROM changes
		WHERE (epoch, revision) > (?, ?) AND (epoch, revision) <= (?, ?)
		ORDER BY epoch, revision, app`, after.Epoch, after.Revision, upto.Epoch, upto.Revision)
	return out, about(err, "read changes")
}

// Oldest returns the newest position that was pruned: whoever is there, or
// further, finds every later change.
func (s changes) Oldest(ctx context.Context) (at feed.Position, err error) {
	err = s.t.one(ctx, `SELECT pruned_epoch, pruned_revision FROM head`, nil, &at.Epoch, &at.Revision)
	return at, about(err, "read the oldest position")
}

func (s changes) Prune(ctx context.Context, upto feed.Position) error {
	if _, err := s.t.exec(ctx, `DELETE FROM changes WHERE (epoch, revision) <= (?, ?)`, upto.Epoch, upto.Revision); err != nil {
		return about(err, "prune changes")
	}
	_, err := s.t.exec(ctx, `UPDATE head SET pruned_epoch = ?1, pruned_revision = ?2
		WHERE (pruned_epoch, pruned_revision) < (?1, ?2)`, upto.Epoch, upto.Revision)
	return about(err, "prune changes")
}
