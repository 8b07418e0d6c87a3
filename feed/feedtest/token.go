package feedtest

import (
	"context"

	"github.com/mayflyproxy/mayfly/feed"
)

// Assert implements feed.Source: the token names the grant, and is no token.
func (s *Source) Assert(ctx context.Context, _ feed.Instance, r *feed.AssertRequest) (*feed.AssertResponse, error) {
	if err := s.begin(ctx, "Assert"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.items {
		if i.r.GetId() == r.GetGrant() && i.r.GetGrant() != nil {
			return &feed.AssertResponse{Token: "asserted " + r.GetGrant(), EndsUs: i.r.GetGrant().GetNotAfterUs()}, nil
		}
	}
	return &feed.AssertResponse{Reason: "no_grant"}, nil
}
