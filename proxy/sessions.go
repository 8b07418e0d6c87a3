package proxy

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// Sessions asks the control plane about browser sessions. Only the SHA-256 of what
// is in the cookie leaves the gateway. Its methods are safe for concurrent use and
// end with ctx. A *grant.Denial is the control plane's no; any other error is no
// answer.
type Sessions interface {
	// Redeem turns a hand-over code into a session, once.
	Redeem(ctx context.Context, app, host, code, state string, hash [32]byte) (*feed.Resource, error)
	// Lookup asks for one session that the table does not hold.
	Lookup(ctx context.Context, app string, hash [32]byte) (*feed.SessionResponse, error)
	// End ends a session: its owner logged out. One that is over is no error.
	End(ctx context.Context, app string, hash [32]byte) error
}

// FeedSessions asks mayflyd beside the feed. It is safe for concurrent use.
type FeedSessions struct {
	Client   feed.SessionsClient
	Instance feed.Instance
}

// Redeem implements Sessions.
func (f FeedSessions) Redeem(ctx context.Context, app, host, code, state string, hash [32]byte) (*feed.Resource, error) {
	out, err := f.Client.Redeem(ctx, &feed.RedeemRequest{
		Instance: f.Instance.String(), App: app, Host: host, Code: code, State: state, Hash: hash[:],
	})
	switch status.Code(err) {
	case codes.OK:
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.AlreadyExists:
		return nil, notRedeemed().Because(err)
	default:
		return nil, fmt.Errorf("redeem a code for %s: %w", host, err)
	}
	if out.GetSession() == nil {
		return nil, notRedeemed()
	}
	return out.GetSession(), nil
}

func notRedeemed() *grant.Denial {
	return grant.Deny(grant.LoginAgain, "this login took too long, or was used already")
}

// Lookup implements Sessions.
func (f FeedSessions) Lookup(ctx context.Context, app string, hash [32]byte) (*feed.SessionResponse, error) {
	out, err := f.Client.Lookup(ctx, &feed.LookupRequest{Instance: f.Instance.String(), App: app, Hash: hash[:]})
	if status.Code(err) == codes.NotFound {
		return &feed.SessionResponse{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up a session on %s: %w", app, err)
	}
	return out, nil
}

// End implements Sessions.
func (f FeedSessions) End(ctx context.Context, app string, hash [32]byte) error {
	_, err := f.Client.EndSession(ctx, &feed.EndSessionRequest{Instance: f.Instance.String(), App: app, Hash: hash[:]})
	if err != nil && status.Code(err) != codes.NotFound {
		return fmt.Errorf("end a session on %s: %w", app, err)
	}
	return nil
}
