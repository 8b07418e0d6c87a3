package access

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// Source answers the feed from the store: it is a feed.Source. Make it with
// Service.Source.
type Source struct {
	*Service
}

var _ feed.Source = Source{}

// Source returns what the feed's server tells from.
func (s *Service) Source() Source { return Source{s} }

// instanceStarted is the body of the leaf instance.started.
type instanceStarted struct {
	Instance    string            `json:"instance"`
	Version     string            `json:"version,omitempty"`
	Environment string            `json:"environment"`
	Apps        []string          `json:"apps"`
	Catalogues  map[string]string `json:"catalogues"`
}

// Join admits an instance of a sidecar that policy lists under nodes:, records
// it when it is first heard, and returns the apps that it fronts.
func (s Source) Join(ctx context.Context, i feed.Instance, sub *feed.Subscribe) ([]string, error) {
	var apps []string
	var size int64
	err := s.update(ctx, func(w *work) error {
		set, err := w.inForce(ctx, w.tx)
		if err != nil {
			return err
		}
		node, err := nodeOf(set, i)
		if err != nil {
			return err
		}
		apps = node.Apps
		if err := w.join(ctx, set, node, i, sub); err != nil {
			return err
		}
		size, err = w.tx.Log().Size(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.hear(ctx, hearsay{i, sub.GetCheckpoint(), sub.GetDoubt()}, size)
	s.digests.joined(i, apps)
	return slices.Clone(apps), nil
}

// nodeOf returns the policy's node that an instance runs for.
func nodeOf(set *policy.Set, i feed.Instance) (policy.Node, error) {
	sidecar, err := identity.ParsePrincipal(i.Sidecar)
	if err != nil {
		return policy.Node{}, status.Error(codes.PermissionDenied, "the peer is not a workload")
	}
	node, ok := set.NodeOf(sidecar)
	if !ok {
		return policy.Node{}, status.Errorf(codes.PermissionDenied, "policy lists no node whose sidecar is %s", sidecar)
	}
	return node, nil
}

func (w *work) join(ctx context.Context, set *policy.Set, node policy.Node, i feed.Instance, sub *feed.Subscribe) error {
	before, err := w.tx.Instances().Get(ctx, i)
	known := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("instance: %w", err)
	}
	now := Instance{
		ID: i, Apps: node.Apps, Environment: node.Environment, Version: sub.GetVersion(), Catalogues: sub.GetCatalogues(),
		JoinedAt: w.now, StaleAfter: staleAfter(set, node.Apps),
	}
	if known { // the lease that it may still hold is the one that was promised before
		now.LastPong, now.PongPassed, now.StaleAfter = before.LastPong, before.PongPassed, max(before.StaleAfter, now.StaleAfter)
	}
	if err := w.tx.Instances().Join(ctx, now); err != nil {
		return fmt.Errorf("instance: %w", err)
	}
	if known && before.GoneAt.IsZero() {
		return nil
	}
	_, err = w.leaf(ctx, audit.TypeInstanceStarted, i.String(), instanceStarted{
		Instance: i.String(), Version: sub.GetVersion(), Environment: node.Environment, Apps: append([]string{}, node.Apps...),
		Catalogues: orEmpty(sub.GetCatalogues()),
	})
	return err
}

// Leave is only for the log: the lease runs on, or out, by itself.
func (s Source) Leave(ctx context.Context, i feed.Instance) {
	s.digests.left(i)
	s.keeps.left(i)
	s.log.InfoContext(ctx, "instance left", "instance", i.String())
}

// Snapshot reads the apps, their grants and sessions that are not recorded as ended,
// the keys of tokens, and the position, in one transaction.
func (s Source) Snapshot(ctx context.Context, apps []string, part func(feed.Position, []*feed.Resource) error) error {
	return s.store.View(ctx, func(tx Tx) error {
		at, err := tx.Head().Feed(ctx)
		if err != nil {
			return fmt.Errorf("head: %w", err)
		}
		tell := func(some []*feed.Resource) error { return part(at, some) }
		if len(apps) == 0 {
			return tell(nil)
		}
		set, err := s.inForce(ctx, tx)
		if err != nil {
			return err
		}
		for _, name := range apps {
			a, ok := set.App(name)
			if !ok {
				continue
			}
			if err := tell([]*feed.Resource{appResource(set, a, s.console)}); err != nil {
				return err
			}
			if err := s.liveGrants(ctx, tx, set, name, tell); err != nil {
				return err
			}
			sessions, err := liveSessions(ctx, tx, set, a, nil)
			if err != nil {
				return err
			}
			if err := tell(sessions); err != nil {
				return err
			}
		}
		keys, err := s.keysTold(ctx, tx, nil)
		if err != nil {
			return err
		}
		return tell(keys)
	})
}

// Head returns the position of the newest change that instances are told.
func (s Source) Head(ctx context.Context) (head feed.Position, err error) {
	err = s.Snapshot(ctx, nil, func(at feed.Position, _ []*feed.Resource) error {
		head = at
		return nil
	})
	return head, err
}

// grantPage is how many grants one read takes, snapshotPage for a snapshot.
const (
	grantPage    = 500
	snapshotPage = 2000
)

// liveGrants tells what proves the policy in force, and the resources of an app's live
// grants with what proves theirs, page by page.
func (s Source) liveGrants(ctx context.Context, tx Tx, set *policy.Set, app string, tell func([]*feed.Resource) error) error {
	told := fed{}
	some, err := told.add(ctx, tx, set.Commit(), app, nil)
	if err != nil {
		return err
	}
	f := GrantFilter{App: app, Fed: true, Limit: snapshotPage}
	for {
		page, err := tx.Grants().ListFed(ctx, f)
		if err != nil {
			return fmt.Errorf("live grants: %w", err)
		}
		for _, g := range page {
			if some, err = s.proveLive(ctx, tx, set, g.Grant, grantResource(g.Grant, g.Params, g.Catalogue), told, some); err != nil {
				return err
			}
		}
		if err := tell(some); err != nil {
			return err
		}
		if len(page) < f.Limit {
			return nil
		}
		f.Before, some = page[len(page)-1].ID, nil
	}
}

// eachLive calls visit for every live grant that f filters, newest first.
func eachLive(ctx context.Context, tx Tx, f GrantFilter, visit func(grant.Grant) error) error {
	f.LiveAt = tx.Now()
	return eachGrant(ctx, tx, f, visit)
}

// eachFed calls visit for every grant on an app that instances hold: one whose time
// has passed is held until the revision that records its end.
func eachFed(ctx context.Context, tx Tx, app string, visit func(grant.Grant) error) error {
	return eachGrant(ctx, tx, GrantFilter{App: app, Fed: true}, visit)
}

func eachGrant(ctx context.Context, tx Tx, f GrantFilter, visit func(grant.Grant) error) error {
	f.Limit = grantPage
	for {
		page, err := tx.Grants().List(ctx, f)
		if err != nil {
			return fmt.Errorf("grants: %w", err)
		}
		for _, g := range page {
			if err := visit(g); err != nil {
				return err
			}
		}
		if len(page) < f.Limit {
			return nil
		}
		f.Before = page[len(page)-1].ID
	}
}

// Changes reads the changes after one position up to and with another. A read that
// does not see the state there yet, as that of a database that follows another one,
// is an error: what it does not find could be taken for nothing.
func (s Source) Changes(ctx context.Context, after, upto feed.Position) ([]feed.Change, bool, error) {
	var out []feed.Change
	kept := false
	err := s.store.View(ctx, func(tx Tx) error {
		out = nil
		oldest, err := tx.Changes().Oldest(ctx)
		if err != nil {
			return fmt.Errorf("oldest change: %w", err)
		}
		if kept = !after.Before(oldest); !kept {
			return nil
		}
		if head, err := tx.Head().Feed(ctx); err != nil {
			return fmt.Errorf("head: %w", err)
		} else if upto != feed.Newest() && head.Before(upto) {
			return fmt.Errorf("changes up to %d: the state that is read is of %d", upto.Revision, head.Revision)
		}
		rows, err := tx.Changes().Between(ctx, after, upto)
		if err != nil {
			return fmt.Errorf("changes: %w", err)
		}
		for _, r := range rows {
			var d feed.Delta
			if err := proto.Unmarshal(r.Body, &d); err != nil {
				return fmt.Errorf("change %d: %w", r.At.Revision, err)
			}
			out = append(out, feed.Change{At: r.At, App: r.App, Resources: d.GetResources(), Removals: d.GetRemovals()})
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return out, kept, nil
}
