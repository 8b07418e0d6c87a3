package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/tokens"
)

// AssertionHeader carries the token that tells an app who calls it. A caller's own
// is removed before anything runs.
const AssertionHeader = "X-Mayfly-Assertion"

// assertionFor is how long an assertion is given again: half its life, so that the app
// always gets one that lasts.
const assertionFor = 15 * time.Second

const maxAssertions = 4096

// Asserter asks the control plane for a token that tells an app who calls it. A
// *grant.Denial is its no; any other error is no answer. It is safe for concurrent
// use and ends with ctx.
type Asserter interface {
	Assert(ctx context.Context, r *feed.AssertRequest) (token string, ends time.Time, err error)
}

// FeedAsserter asks mayflyd beside the feed. It is safe for concurrent use.
type FeedAsserter struct {
	Client *feed.Client
	// Bound returns the SHA-256 of the certificate that the listener shows now.
	Bound func() ([32]byte, error)
}

// Assert implements Asserter.
func (f FeedAsserter) Assert(ctx context.Context, r *feed.AssertRequest) (string, time.Time, error) {
	bound, err := f.Bound()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("assert: %w", err)
	}
	r.Bound = bound[:]
	out, err := f.Client.Assert(ctx, r)
	if err != nil {
		return "", time.Time{}, err
	}
	if out.GetToken() == "" {
		return "", time.Time{}, grant.Deny(grant.Reason(out.GetReason()), "the control plane tells the app of nobody: what the caller holds has ended")
	}
	return out.GetToken(), feed.TimeOf(out.GetEndsUs()), nil
}

// assertions are the tokens that apps were told lately. It is bounded; what it holds
// counts for one grant, one session and one chain of actors.
type assertions struct {
	held  *lru.Cache[string, assertion]
	under singleflight.Group
}

type assertion struct {
	token string
	keys  *tokens.KeySet // as they were when it was asked for: one of them signed it
	until time.Time      // it is not given again from then on
}

func newAssertions() (*assertions, error) {
	held, err := lru.New[string, assertion](maxAssertions)
	if err != nil {
		return nil, err
	}
	return &assertions{held: held}, nil
}

// assert gets the token that tells the app of v who calls it. Without one nothing
// passes: an app that relies on it must not be reached as if nobody had called.
func (c *Checker) assert(ctx context.Context, v *ruling) error {
	if !v.app.Assert {
		return nil
	}
	r := &feed.AssertRequest{Grant: v.grant.ID.String(), Session: v.caller.sessionID()}
	for _, actor := range v.caller.act {
		r.Act = append(r.Act, actor.String())
	}
	key := strings.Join(append([]string{r.Grant, v.caller.principal.String(), r.Session}, r.Act...), "\x00")
	keys, _ := c.c.Table.Keys() // with any change of them it is asked for again: an app would refuse that of a removed one
	if held, ok := c.assertions.held.Get(key); ok && v.now.Before(held.until) && held.keys == keys {
		v.assertion = held.token
		return nil
	}
	got, err, _ := c.assertions.under.Do(key, func() (any, error) {
		// Others wait for this answer too: it is not for this caller alone to give up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
		defer cancel()
		now := c.c.Table.Now()
		keys, _ := c.c.Table.Keys()
		token, ends, err := c.c.Asserter.Assert(ctx, r)
		if err != nil {
			return assertion{}, err
		}
		out := assertion{token, keys, earlier(now.Add(assertionFor), ends)}
		c.assertions.held.Add(key, out)
		return out, nil
	})
	var d *grant.Denial
	switch {
	case errors.As(err, &d):
		return d
	case err != nil:
		return grant.Deny(grant.CredentialUnavailable, "the control plane did not say in time who calls").Because(err)
	}
	v.assertion = got.(assertion).token
	v.now = c.c.Table.Now()
	return nil
}
