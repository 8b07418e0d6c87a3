package proxytest

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/feed"
)

// Observed is an app in observe mode, until a time; zero: without an end, which a
// gateway in production refuses.
func Observed(r *feed.Resource, until time.Time) *feed.Resource {
	out := proto.CloneOf(r)
	out.MinReader = 5
	out.GetApp().Observe = &feed.Observe{}
	if !until.IsZero() {
		out.GetApp().Observe.UntilUs = until.UnixMicro()
	}
	return out
}
