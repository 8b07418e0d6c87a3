package access

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// The kinds of resource on the feed.
const (
	kindApp   = "app"
	kindGrant = "grant"
)

// pongMargin is added to stale_after when it is said by when an instance that
// does not answer denies everything (contracts §2).
const pongMargin = time.Second

// grantEnded is the body of grant.revoked, grant.finished, grant.idle and grant.ended.
type grantEnded struct {
	Grant  string     `json:"grant"`
	Reason string     `json:"reason"`
	By     string     `json:"by,omitempty"` // pseudonym
	At     audit.Time `json:"at"`
}

// end ends a live grant now, and what came of the same request with it.
func (w *work) end(ctx context.Context, set *policy.Set, g grant.Grant, t audit.Type, why grant.Reason, by identity.Principal) error {
	if err := w.endOne(ctx, set, g, t, why, by); err != nil {
		return err
	}
	return w.endRest(ctx, set, g, t, why, by)
}

// endOne ends one live grant: mark, leaf, feed removal, and the instances whose word is
// awaited. One that this change has ended already stays as it is.
func (w *work) endOne(ctx context.Context, set *policy.Set, g grant.Grant, t audit.Type, why grant.Reason, by identity.Principal) error {
	if w.ended[g.ID] {
		return nil
	}
	w.ended[g.ID] = true
	at := w.now.Truncate(time.Microsecond)
	body := grantEnded{Grant: g.ID.String(), Reason: string(why), At: audit.At(at)}
	if !by.IsZero() {
		name, err := w.pseudonym(ctx, by)
		if err != nil {
			return err
		}
		body.By = name
	}
	if err := w.mark(ctx, g.ID, t, why, at); err != nil {
		return err
	}
	if _, err := w.leaf(ctx, t, g.ID.String(), body, g.ID.String()); err != nil {
		return err
	}
	waits, err := w.waits(ctx, set, g.Scope.App)
	if err != nil {
		return err
	}
	w.remove(g.Scope.App, kindGrant, g.ID.String(), string(why))
	w.revocations = append(w.revocations, Revocation{Grant: g.ID.String(), Started: w.now, Waits: waits, app: g.Scope.App})
	return w.tell(ctx, EventEnded, g.ID.String())
}

func (w *work) mark(ctx context.Context, id grant.GrantID, t audit.Type, why grant.Reason, at time.Time) error {
	var err error
	if t == audit.TypeGrantFinished {
		err = w.tx.Grants().MarkFinished(ctx, id, at)
	} else {
		err = w.tx.Grants().MarkRevoked(ctx, id, at, why)
	}
	if err != nil {
		return fmt.Errorf("mark %s: %w", id, err)
	}
	if err := w.tx.Grants().MarkSwept(ctx, id); err != nil {
		return fmt.Errorf("mark %s: %w", id, err)
	}
	return nil
}

// waits lists the instances that front app and whose lease may still run, with
// the instant at which it cannot any more (contracts §2).
func (w *work) waits(ctx context.Context, set *policy.Set, app string) ([]Wait, error) {
	list, err := w.tx.Instances().Fronting(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("instances: %w", err)
	}
	var out []Wait
	for _, i := range list {
		until := i.PongPassed + max(i.StaleAfter, staleAfter(set, i.Apps)) + pongMargin
		if left := until - w.tx.Passed(); left > 0 {
			out = append(out, Wait{Instance: i.ID, LastPong: i.LastPong, Until: w.now.Add(left), UntilPassed: until})
		}
	}
	return out, nil
}

// staleAfter is the largest of the apps'.
func staleAfter(set *policy.Set, apps []string) time.Duration {
	var out time.Duration
	for _, name := range apps {
		if a, ok := set.App(name); ok {
			out = max(out, a.StaleAfter)
		}
	}
	return out
}
