package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
	"github.com/mayflyproxy/mayfly/tokens"
)

// Assert makes a token that tells an app who calls it, and under which grant. It is
// made only for a gateway that fronts the app, for a grant that is live, and for a
// browser's session that is live and the holder's. It is no act of the caller, so it
// stands in no leaf: the gateway's intent names grant and session.
func (s Source) Assert(ctx context.Context, i feed.Instance, r *feed.AssertRequest) (*feed.AssertResponse, error) {
	bound, err := hashOf(r.GetBound())
	if err != nil {
		return nil, err
	}
	actors, err := actorsOf(r.GetAct())
	if err != nil {
		return nil, err
	}
	var id grant.GrantID
	if err := id.UnmarshalText([]byte(r.GetGrant())); err != nil {
		return nil, status.Error(codes.InvalidArgument, "the grant is no id")
	}
	out := &feed.AssertResponse{}
	err = s.store.View(ctx, func(tx Tx) error {
		c, refusal, err := s.asserted(ctx, tx, i, id, r.GetSession())
		if err != nil || refusal != "" {
			out.Reason = string(refusal)
			return err
		}
		c.Confirm, c.Actor = tokens.Confirmation{X5T: bound}, actors
		if out.Token, err = s.signToken(ctx, tx, c); err != nil {
			return fmt.Errorf("assert: %w", err)
		}
		out.EndsUs = c.Expires.UnixMicro()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// asserted makes the claims, or says why there are none.
func (s Source) asserted(ctx context.Context, tx Tx, i feed.Instance, id grant.GrantID, session string) (c tokens.Claims, refusal grant.Reason, err error) {
	g, err := tx.Grants().Get(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return c, grant.NoGrant, nil
	case err != nil:
		return c, "", err
	}
	_, a, err := s.told(ctx, tx, i, g.Scope.App)
	if err != nil {
		return c, "", err
	}
	if !a.Assert {
		return c, "", status.Errorf(codes.PermissionDenied, "%s is told of nobody", a.Name)
	}
	now := tx.Now()
	if err := g.InForce(now); err != nil {
		return c, grant.ReasonOf(err), nil
	}
	sidecar, err := identity.ParsePrincipal(i.Sidecar)
	if err != nil {
		return c, "", status.Error(codes.PermissionDenied, "the peer is not a workload")
	}
	c = tokens.Claims{
		Issuer: s.console, Subject: g.Principal, Audience: a.Resource(), ClientID: sidecar.String(), ID: s.minter.NewTokenID(now),
		IssuedAt: now.Truncate(time.Second), Txn: g.Request, Grant: g.ID,
		Details: []tokens.Detail{detailOf(a, g)},
	}
	at, err := tx.Head().Feed(ctx)
	if err != nil {
		return c, "", fmt.Errorf("head: %w", err)
	}
	c.Gen, c.Expires = at.Epoch, earlier(c.IssuedAt.Add(tokens.MaxAssertion), g.EndsAt())
	if session != "" {
		if refusal, err = assertedSession(ctx, tx, &c, g, session); err != nil || refusal != "" {
			return c, refusal, err
		}
	}
	c.Expires = c.Expires.Truncate(time.Second)
	if !now.Before(c.Expires) {
		return c, grant.Ended, nil // less than the second that a token can tell is left
	}
	return c, "", nil
}

// assertedSession adds what a browser's session tells of its person's login.
func assertedSession(ctx context.Context, tx Tx, c *tokens.Claims, g grant.Grant, text string) (grant.Reason, error) {
	var id grant.SessionID
	if id.UnmarshalText([]byte(text)) != nil {
		return "", status.Error(codes.InvalidArgument, "the session is no id")
	}
	s, err := tx.Sessions().ByID(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return grant.SessionEnded, nil
	case err != nil:
		return "", fmt.Errorf("session: %w", err)
	case s.Kind != SessionApp || s.App != g.Scope.App || s.Principal != g.Principal || !s.Live(tx.Now()):
		return grant.SessionEnded, nil
	}
	c.ACR, c.AuthTime = s.ACR, s.AuthTime.Truncate(time.Second)
	c.Expires = earlier(c.Expires, s.EndsAt)
	return "", nil
}

func actorsOf(texts []string) ([]identity.Principal, error) {
	if len(texts) > tokens.MaxActors {
		return nil, status.Error(codes.InvalidArgument, "too many actors")
	}
	var out []identity.Principal
	for _, text := range texts {
		p, err := identity.ParsePrincipal(text)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, "an actor is no principal")
		}
		out = append(out, p)
	}
	return out, nil
}

// detailOf is all that a grant allows, as authorization_details tell it (RFC 9396).
func detailOf(a policy.App, g grant.Grant) tokens.Detail {
	return tokens.Detail{Type: tokens.TypePrefix + a.Kind, Locations: []string{a.Resource()}, Entitlement: g.Entitlement, Scope: g.Scope.Canonical()}
}
