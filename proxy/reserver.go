package proxy

import (
	"context"
	"fmt"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// FeedReserver asks mayflyd over the feed. It is safe for concurrent use.
type FeedReserver struct{ Client *feed.Client }

// Reserve implements Reserver. Only a plain OK is a yes.
func (f FeedReserver) Reserve(ctx context.Context, a Action, class, amount string, m Mark) error {
	resp, err := f.Client.Reserve(ctx, &feed.ReserveRequest{
		Action: a.ID.String(), Grant: a.Grant.String(), Class: class, Calls: 1, Amount: amount,
		Spool: m.Spool, Seq: m.Seq, FrameSha256: m.Frame[:],
	})
	if err != nil {
		return fmt.Errorf("reserve %s: %w", a.ID, err)
	}
	switch resp.GetResult() {
	case feed.ReserveResponse_OK:
		return nil
	case feed.ReserveResponse_ENDED:
		return grant.Deny(endedReason(resp.GetReason()), "the control plane says that grant %s is no longer in force", a.Grant)
	case feed.ReserveResponse_BUDGET:
		return grant.Deny(grant.Budget, "the budget of grant %s is used up", a.Grant)
	default:
		return grant.Deny(grant.RecordUnavailable, "the control plane did not acknowledge the intent")
	}
}

// endedReason keeps a reason that the table knows.
func endedReason(s string) grant.Reason {
	if r := grant.Reason(s); r.Known() {
		return r
	}
	return grant.Ended
}
