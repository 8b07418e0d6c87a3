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
// answer. What is told is read as strictly as the feed.
type Sessions interface {
	// Redeem turns a hand-over code into a session, once.
	Redeem(ctx context.Context, app, host, code, state string, hash [32]byte) (*feed.Resource, error)
	// Lookup asks for one session that the table does not hold.
	Lookup(ctx context.Context, app string, hash [32]byte) (*feed.SessionResponse, error)
	// End ends a session: its owner logged out. One that is over is no error.
	End(ctx context.Context, app string, hash [32]byte) error
}

// FeedSessions asks mayflyd beside the feed. It is safe for concurrent use.
type FeedSessions struct{ Client *feed.Client }

// Redeem implements Sessions.
func (f FeedSessions) Redeem(ctx context.Context, app, host, code, state string, hash [32]byte) (*feed.Resource, error) {
	out, err := f.Client.Redeem(ctx, &feed.RedeemRequest{App: app, Host: host, Code: code, State: state, Hash: hash[:]})
	if c := status.Code(err); c == codes.NotFound || c == codes.InvalidArgument {
		return nil, grant.Deny(grant.LoginAgain, "this login took too long, or was used already").Because(err)
	}
	if err != nil {
		return nil, fmt.Errorf("end a login on %s: %w", host, err)
	}
	return out.GetSession(), nil
}

// Lookup implements Sessions.
func (f FeedSessions) Lookup(ctx context.Context, app string, hash [32]byte) (*feed.SessionResponse, error) {
	return f.Client.Lookup(ctx, &feed.LookupRequest{App: app, Hash: hash[:]})
}

// End implements Sessions.
func (f FeedSessions) End(ctx context.Context, app string, hash [32]byte) error {
	_, err := f.Client.EndSession(ctx, &feed.EndSessionRequest{App: app, Hash: hash[:]})
	return err
}
