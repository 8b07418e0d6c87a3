package access

import (
	"context"
	"fmt"
	"slices"

	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/policy"
)

// Reach is where a grant can be used, and where it is in force already.
type Reach struct {
	Grant grant.GrantID
	App   policy.App
	Nodes []policy.Node   // that front the app
	Holds []feed.Instance // running instances of them that have acknowledged the grant
	Waits []feed.Instance // those that have not
}

// Reach says where a live grant can be used: for whoever may see the grant. A
// grant of Mayfly's own verbs is used at mayflyd, and is answered with ended like
// one that nothing can be done with any more.
func (s *Service) Reach(ctx context.Context, c Caller, id grant.GrantID) (Reach, error) {
	var out Reach
	err := s.store.View(ctx, func(tx Tx) error {
		v, err := s.viewer(ctx, tx, c)
		if err != nil {
			return err
		}
		g, err := tx.Grants().Get(ctx, id)
		if err != nil {
			return missing(err, id.String())
		}
		if err := v.mayGrant(g); err != nil {
			return err
		}
		out, err = v.reach(ctx, tx, g)
		return err
	})
	if err != nil {
		return Reach{}, err
	}
	return out, nil
}

func (v *viewer) reach(ctx context.Context, tx Tx, g grant.Grant) (Reach, error) {
	if state := g.StateAt(v.now); state == grant.EndedState || state == grant.RevokedState || v.set == nil {
		return Reach{}, fault(CodeEnded, "mayfly show "+g.ID.String(), "grant %s has ended", g.ID)
	}
	app, ok := v.set.App(g.Scope.App)
	if !ok || len(app.Hosts) == 0 {
		return Reach{}, fault(CodeEnded, "mayfly show "+g.ID.String(), "%s is at no host: grants of it are used by the commands of mayfly", g.Scope.App)
	}
	out := Reach{Grant: g.ID, App: app}
	for _, n := range v.set.Nodes() {
		if slices.Contains(n.Apps, app.Name) {
			out.Nodes = append(out.Nodes, n)
		}
	}
	f, err := frontsOf(ctx, tx, v.set)
	if err != nil {
		return Reach{}, err
	}
	out.Holds, out.Waits, err = f.holding(ctx, tx, g)
	return out, err
}

// fronts is which instances run, and what they have acknowledged.
type fronts struct {
	running []Instance
	epoch   int64
}

func frontsOf(ctx context.Context, tx Tx, set *policy.Set) (fronts, error) {
	list, err := tx.Instances().List(ctx)
	if err != nil {
		return fronts{}, fmt.Errorf("instances: %w", err)
	}
	head, err := tx.Head().Feed(ctx)
	if err != nil {
		return fronts{}, fmt.Errorf("head: %w", err)
	}
	out := fronts{epoch: head.Epoch}
	for _, i := range list {
		if viewInstance(set, i, tx.Now()).Fresh {
			out.running = append(out.running, i)
		}
	}
	return out, nil
}

// holding lists the running instances that front the app of a grant: those that have
// acknowledged it, and those that have not.
func (f fronts) holding(ctx context.Context, tx Tx, g grant.Grant) (holds, waits []feed.Instance, err error) {
	made, err := toldAt(ctx, tx, g)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range f.running {
		switch {
		case !slices.Contains(i.Apps, g.Scope.App):
		case i.Acked.Epoch == f.epoch && i.Acked.Revision > made:
			holds = append(holds, i.ID)
		default:
			waits = append(waits, i.ID)
		}
	}
	return holds, waits, nil
}

// toldAt returns the index of the leaf that the change of the feed with g in it follows:
// of several grants of a bundle on one app that of the last one.
func toldAt(ctx context.Context, tx Tx, g grant.Grant) (int64, error) {
	last := g.ID
	if !g.Request.IsZero() {
		all, err := tx.Grants().OfRequest(ctx, g.Request)
		if err != nil {
			return 0, err
		}
		for _, other := range all { // by id, which is the order in which they were made
			if other.Scope.App == g.Scope.App {
				last = other.ID
			}
		}
	}
	return madeAt(ctx, tx, last)
}

// madeAt returns the index of the leaf that made a grant. The revision of that verb
// is the first one above it (contracts §2).
func madeAt(ctx context.Context, tx Tx, id grant.GrantID) (int64, error) {
	places, err := tx.Spools().Find(ctx, id.String())
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", id, err)
	}
	for _, p := range places {
		if p.Spool == "" {
			return int64(p.Seq), nil
		}
	}
	return 0, missing(ErrNotFound, id.String())
}
