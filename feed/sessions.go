package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// SessionSource is what a Server asks about browser sessions on the hosts of apps
// (contracts §7). Each method refuses an instance that does not front the app, and
// returns errors as a Source does.
type SessionSource interface {
	// Redeem turns a hand-over code into a session, durably, and puts it on the
	// feed. A code counts once, whatever comes of it, and only with the app, host and
	// state that it was made for; anything else is codes.NotFound and no session.
	Redeem(ctx context.Context, i Instance, r *RedeemRequest) (*SessionResponse, error)
	// Lookup returns a live session of the app by the hash of its secret, or says
	// that there was one and it has ended. Neither: it was never there.
	Lookup(ctx context.Context, i Instance, r *LookupRequest) (*SessionResponse, error)
	// EndSession ends a session of the app, durably, and removes it from the feed.
	// One that is not there, or has ended, is no error.
	EndSession(ctx context.Context, i Instance, r *EndSessionRequest) (*EndSessionResponse, error)
}

// Redeem turns a hand-over code into a session, once.
func (s *Server) Redeem(ctx context.Context, r *RedeemRequest) (*SessionResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.Redeem(ctx, i, r)
	if err == nil && out.GetSession().GetSession() == nil {
		err = status.Error(codes.NotFound, "the code stands for no session")
	}
	if err != nil {
		return nil, s.face(err, "redeem", i)
	}
	return out, nil
}

// Lookup asks for one session by the hash of its secret.
func (s *Server) Lookup(ctx context.Context, r *LookupRequest) (*SessionResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.Lookup(ctx, i, r)
	return out, s.face(err, "look up a session", i)
}

// EndSession ends one session: its owner logged out on the app's host.
func (s *Server) EndSession(ctx context.Context, r *EndSessionRequest) (*EndSessionResponse, error) {
	i, err := s.speaker(ctx, r.GetInstance())
	if err != nil {
		return nil, err
	}
	out, err := s.source.EndSession(ctx, i, r)
	return out, s.face(err, "end a session", i)
}

// errForeign says that the control plane answered about another session than it
// was asked for. Nothing of such an answer counts.
var errForeign = errors.New("the answer is about another session")

// answered refuses a session that was not asked for, or that this binary does not
// understand whole.
func (c *Client) answered(r *Resource, app string, hash []byte) error {
	if n := Unsupported(r, c.c.Reader); n != nil {
		return fmt.Errorf("%s: %s", n.GetReason(), n.GetDetail())
	}
	s := r.GetSession()
	if s.GetApp() != app || len(hash) == 0 || !bytes.Equal(s.GetHash(), hash) {
		return errForeign
	}
	return nil
}

// Redeem turns a hand-over code into the session whose secret has r's hash. The
// client fills in the instance. A code that does not count is codes.NotFound.
func (c *Client) Redeem(ctx context.Context, r *RedeemRequest) (*SessionResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.sessions.Redeem(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("redeem a code for %s: %w", r.GetHost(), err)
	}
	err = c.answered(out.GetSession(), r.GetApp(), r.GetHash())
	if err == nil && out.GetSession().GetSession().GetHost() != r.GetHost() {
		err = errForeign
	}
	if err != nil {
		return nil, fmt.Errorf("redeem a code for %s: %w", r.GetHost(), err)
	}
	return out, nil
}

// Lookup asks for one session that the Sink does not hold. The client fills in
// the instance. The answer is good for one decision.
func (c *Client) Lookup(ctx context.Context, r *LookupRequest) (*SessionResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.sessions.Lookup(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("look up a session of %s: %w", r.GetApp(), err)
	}
	if out.GetSession() == nil {
		return out, nil
	}
	if err := c.answered(out.GetSession(), r.GetApp(), r.GetHash()); err != nil {
		return nil, fmt.Errorf("look up a session of %s: %w", r.GetApp(), err)
	}
	return out, nil
}

// EndSession ends one session. The client fills in the instance. It may be called
// again until it succeeds.
func (c *Client) EndSession(ctx context.Context, r *EndSessionRequest) (*EndSessionResponse, error) {
	r.Instance = c.c.Instance.String()
	out, err := c.sessions.EndSession(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("end a session of %s: %w", r.GetApp(), err)
	}
	return out, nil
}
