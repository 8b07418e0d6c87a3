package feed

import (
	"context"
	"errors"
	"fmt"
)

// TokenSource makes what a gateway tells an app of its callers.
type TokenSource interface {
	// Assert makes a token about the holder of a live grant on an app that the
	// instance fronts, for that app. A refusal is a response with its reason.
	Assert(ctx context.Context, i Instance, r *AssertRequest) (*AssertResponse, error)
}

// Assert makes a token that tells an app who calls it.
func (s *Server) Assert(ctx context.Context, r *AssertRequest) (*AssertResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.Assert(ctx, i, r)
	return out, s.face(err, "assert a caller", i)
}

// errNoToken says that an answer has neither token nor reason, or no end.
var errNoToken = errors.New("the answer is not whole")

// Assert asks for a token that tells an app who calls it. The client fills in the
// instance. An answer with a reason is the control plane's no.
func (c *Client) Assert(ctx context.Context, r *AssertRequest) (*AssertResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.tokens.Assert(ctx, r)
	if err == nil && (out.GetToken() == "") == (out.GetReason() == "") || out.GetToken() != "" && out.GetEndsUs() <= 0 {
		err = errNoToken
	}
	if err != nil {
		return nil, fmt.Errorf("assert the holder of %s: %w", r.GetGrant(), err)
	}
	return out, nil
}
