package proxy

import (
	"context"
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
)

// askWithin is how long an answer about a session is waited for: short enough that
// the decision still has its time.
const askWithin = 2 * time.Second

// people is what the people door keeps between requests. It is bounded, and proves
// nothing: what it holds can only say no.
type people struct {
	lookups bucket
	redeems bucket
	refused *lru.Cache[[32]byte, struct{}] // hashes that are no session's
	left    *lru.Cache[[32]byte, struct{}] // logged out here: the feed says it a moment later
}

func newPeople() (*people, error) {
	refused, err := lru.New[[32]byte, struct{}](maxRefused)
	if err != nil {
		return nil, err
	}
	left, err := lru.New[[32]byte, struct{}](maxRefused)
	if err != nil {
		return nil, err
	}
	return &people{refused: refused, left: left}, nil
}

// person goes through the steps of the people door up to who it is: a cookie is
// all that counts there. An answer is one of the door's own pages.
func (c *Checker) person(ctx context.Context, v *ruling, unread *grant.Denial) (*app.Response, error) {
	if err := c.c.Table.Ready(); err != nil {
		return nil, err
	}
	if unread != nil {
		return nil, unread
	}
	if err := c.findApp(v); err != nil {
		return nil, err
	}
	if d := checkSite(v.r); d != nil {
		return nil, d
	}
	var twice *grant.Denial
	if v.cookies, twice = readCookies(v.r.HTTP.Header["Cookie"]); twice != nil {
		return nil, twice
	}
	if ownPath(v.r.HTTP.Path) {
		return c.own(ctx, v)
	}
	if err := c.fresh(v); err != nil {
		return nil, err
	}
	if err := c.recognise(ctx, v); err != nil {
		return nil, err
	}
	v.caller.principal = v.caller.session.Principal
	return nil, nil
}

// recognise finds the session of the cookie, in the table or by one question.
func (c *Checker) recognise(ctx context.Context, v *ruling) error {
	if !v.cookies.found {
		return grant.Deny(grant.NoIdentity, "nobody is logged in on this host")
	}
	s, ok := parseSecret(v.cookies.session)
	if !ok || c.people.left.Contains(s.hash()) {
		return grant.Deny(grant.SessionEnded, "the session has ended")
	}
	state, hash := c.c.Table.state.Load(), s.hash()
	h, ok := state.seats.get(hash)
	if !ok {
		return c.lookUp(ctx, v, state, hash)
	}
	if err := h.session.of(v); err != nil {
		return err
	}
	if err := h.live(v.now); err != nil {
		return err
	}
	v.caller.visit = visit{session: h.session}
	return nil
}

// of refuses a session of another host: whoever has the secret of one has it from
// there.
func (s *Session) of(v *ruling) error {
	if s.App != v.app.Name || s.Host != hostOf(v.r.HTTP.Authority) {
		return grant.Deny(grant.SessionEnded, "the session is not one of this host")
	}
	return nil
}

// lookUp asks for a session that the table does not hold: one that has just begun,
// or none. A yes counts for this one decision.
func (c *Checker) lookUp(ctx context.Context, v *ruling, before *state, hash [32]byte) error {
	unknown := grant.Deny(grant.SessionEnded, "the session is not known, or has ended")
	if c.people.refused.Contains(hash) {
		return unknown
	}
	if !c.people.lookups.take(c.c.Table.clock.Boot()) {
		return grant.Deny(grant.RateLimited, "too many sessions that are not known here are asked about")
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	out, err := c.c.Sessions.Lookup(ctx, v.app.Name, hash)
	if err != nil {
		return unanswered(err, "the control plane did not say whether the session is live")
	}
	v.now = c.c.Table.Now() // time has passed
	if out.GetSession() == nil {
		c.people.refused.Add(hash, struct{}{})
		return unknown
	}
	s, err := c.answered(v, out.GetSession(), hash)
	if err != nil {
		return err
	}
	v.caller.visit = visit{session: s, asked: true, ends: before.ends}
	return nil
}

// unanswered keeps the control plane's no as it is. No answer is no reason to send
// anybody to log in: it could not be answered either.
func unanswered(err error, sentence string) error {
	var d *grant.Denial
	if errors.As(err, &d) {
		return d
	}
	return grant.Deny(grant.Stale, "%s", sentence).Because(err)
}

// answered reads a session that the control plane told by itself, as strictly as
// one of the feed: it must be the one that was asked for.
func (c *Checker) answered(v *ruling, r *feed.Resource, hash [32]byte) (*Session, error) {
	if n := feed.Unsupported(r, Reader); n != nil {
		return nil, grant.Deny(grant.UnsupportedGrant, "the session needs a newer gateway")
	}
	s, err := newSession(r, v.now)
	if err != nil {
		return nil, grant.Deny(grant.UnsupportedGrant, "the session is not understood").Because(err)
	}
	if s.Hash != hash {
		return nil, grant.Deny(grant.Internal, "the control plane told of another session")
	}
	if err := s.of(v); err != nil {
		return nil, err
	}
	return s, s.live(v.now)
}
