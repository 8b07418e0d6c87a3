package sqlite

import (
	"context"

	"github.com/mayflyproxy/mayfly/feed"
)

type heads struct{ t *tx }

func (h heads) Feed(ctx context.Context) (at feed.Position, err error) {
	err = h.t.one(ctx, `SELECT epoch, revision FROM head`, nil, &at.Epoch, &at.Revision)
	return at, about(err, "read the feed's position")
}

func (h heads) SetFeed(ctx context.Context, at feed.Position) error {
	err := h.t.change(ctx, `UPDATE head SET epoch = ?, revision = ?`, at.Epoch, at.Revision)
	return about(err, "set the feed's position to %d/%d", at.Epoch, at.Revision)
}
