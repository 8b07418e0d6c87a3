package feedtest

import (
	"context"

	"github.com/mayflyproxy/mayfly/feed"
)

// Snapshot is everything that one instance holds at a position.
type Snapshot struct {
	At        feed.Position
	Resources []*feed.Resource
}

// Swap has a Sink take a snapshot in, in one part.
func Swap(ctx context.Context, sink feed.Sink, at feed.Position, resources []*feed.Resource) (feed.Receipt, []*feed.Nack, error) {
	f, err := sink.Fill(at)
	if err != nil {
		return feed.Receipt{}, nil, err
	}
	f.Add(resources)
	return f.Swap(ctx)
}
