package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/policy"
)

// bundleTime is how long after its start a bundle may be in force in some of its apps
// only. By then a gateway of each has its grant, or all of them end.
const bundleTime = 30 * time.Second

// endRest ends what came of the same request as g, which has just ended: the grants of
// a bundle end as one.
func (w *work) endRest(ctx context.Context, set *policy.Set, g grant.Grant, t audit.Type, why grant.Reason, by identity.Principal) error {
	if g.Request.IsZero() {
		return nil
	}
	all, err := w.tx.Grants().OfRequest(ctx, g.Request)
	if err != nil {
		return err
	}
	if len(all) < 2 {
		return nil
	}
	for _, other := range all {
		if live(other, w.now) {
			if err := w.endOne(ctx, set, other, t, why, by); err != nil {
				return err
			}
		}
	}
	w.touch(g.Request.String())
	return w.tx.Bundles().Begun(ctx, g.Request) // nothing is to be undone any more
}

// endedWith lists the other grants of g's bundle: what ended one ended all.
func endedWith(ctx context.Context, tx Tx, g grant.Grant) ([]grant.GrantID, error) {
	if g.Request.IsZero() {
		return nil, nil
	}
	all, err := tx.Grants().OfRequest(ctx, g.Request)
	var out []grant.GrantID
	for _, other := range all {
		if other.ID != g.ID {
			out = append(out, other.ID)
		}
	}
	return out, err
}

func live(g grant.Grant, now time.Time) bool {
	state := g.StateAt(now)
	return state != grant.EndedState && state != grant.RevokedState
}

// Standing is how far a grant of a bundle has got to the gateways of its app.
type Standing struct {
	grant.Grant
	State   grant.State
	InForce bool            // a gateway has it, or it needs none; false once it has ended
	Holds   []feed.Instance // running instances that have it
	Waits   []feed.Instance // those that have not
}

// standings says how far each of some grants has got.
func standings(ctx context.Context, tx Tx, set *policy.Set, grants []grant.Grant) ([]Standing, error) {
	now := tx.Now()
	out := make([]Standing, len(grants))
	for i, g := range grants {
		out[i] = Standing{Grant: g, State: g.StateAt(now)}
		if !live(g, now) {
			continue
		}
		if g.Scope.App == policy.OwnApp { // mayflyd itself decides about it
			out[i].InForce = true
			continue
		}
		var err error
		if out[i].Holds, out[i].Waits, err = holding(ctx, tx, set, g); err != nil {
			return nil, err
		}
		out[i].InForce = len(out[i].Holds) > 0
	}
	return out, nil
}

// bundleBegan is the body of the leaf bundle.began: each grant is in force.
type bundleBegan struct {
	Request string   `json:"request"`
	Grants  []string `json:"grants"`
}

// bundleUndone is the body of the leaf bundle.undone.
type bundleUndone struct {
	Request string          `json:"request"`
	Missing []bundleMissing `json:"missing"`
}

// bundleMissing is a grant that did not get where it counts.
type bundleMissing struct {
	Grant string `json:"grant"`
	App   string `json:"app"`
	Why   string `json:"why"`
}

// beginning is how a bundle that is beginning stands.
type beginning struct {
	BeginningBundle
	all     []Standing
	missing []bundleMissing
}

// over reports whether something is to be done about it now.
func (b beginning) over(passed time.Duration) bool { return len(b.missing) == 0 || passed >= b.Due }

func (s *Service) beginning(ctx context.Context, tx Tx) ([]beginning, error) {
	list, err := tx.Bundles().Beginning(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	set, err := s.inForce(ctx, tx)
	if err != nil {
		return nil, err
	}
	var out []beginning
	for _, b := range list {
		grants, err := tx.Grants().OfRequest(ctx, b.Request)
		if err != nil {
			return nil, err
		}
		one := beginning{BeginningBundle: b}
		if one.all, err = standings(ctx, tx, set, grants); err != nil {
			return nil, err
		}
		for _, st := range one.all {
			if live(st.Grant, tx.Now()) && !st.InForce {
				one.missing = append(one.missing, bundleMissing{st.ID.String(), st.Scope.App, notHeld(st)})
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func notHeld(s Standing) string {
	if len(s.Waits) == 0 {
		return "no gateway of the app is running"
	}
	names := make([]string, 0, len(s.Waits))
	for _, i := range s.Waits[:min(len(s.Waits), 5)] {
		names = append(names, i.String())
	}
	return fmt.Sprintf("no gateway of the app has taken it; %d run: %s", len(s.Waits), strings.Join(names, ", "))
}

// sweepBundles records the bundles that are in force in each of their apps, and undoes
// those that are not in time.
func (s *Service) sweepBundles(ctx context.Context) error {
	due := func(tx Tx) ([]beginning, error) {
		list, err := s.beginning(ctx, tx)
		return slices.DeleteFunc(list, func(b beginning) bool { return !b.over(tx.Passed()) }), err
	}
	return s.sweep(ctx, func(tx Tx) (bool, error) {
		list, err := due(tx)
		return len(list) > 0, err
	}, func(w *work) error {
		list, err := due(w.tx)
		if err != nil {
			return err
		}
		for _, b := range list {
			if err := w.begun(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// begun brings the beginning of a bundle to its end, one way or the other.
func (w *work) begun(ctx context.Context, b beginning) error {
	if len(b.missing) > 0 {
		return w.undo(ctx, b)
	}
	body := bundleBegan{Request: b.Request.String()}
	for _, st := range b.all {
		if live(st.Grant, w.now) {
			body.Grants = append(body.Grants, st.ID.String())
		}
	}
	if len(body.Grants) == 0 { // it is over already
		return w.tx.Bundles().Begun(ctx, b.Request)
	}
	w.touch(body.Request)
	if _, err := w.leaf(ctx, audit.TypeBundleBegan, body.Request, body, append(slices.Clone(body.Grants), body.Request)...); err != nil {
		return err
	}
	return w.tx.Bundles().Begun(ctx, b.Request)
}

// undo ends a bundle that is not in force in each of its apps.
func (w *work) undo(ctx context.Context, b beginning) error {
	set, err := w.inForce(ctx, w.tx)
	if err != nil {
		return err
	}
	body := bundleUndone{Request: b.Request.String(), Missing: b.missing}
	ids := []string{body.Request}
	for _, m := range b.missing {
		ids = append(ids, m.Grant)
	}
	if _, err := w.leaf(ctx, audit.TypeBundleUndone, body.Request, body, ids...); err != nil {
		return err
	}
	for _, st := range b.all {
		if live(st.Grant, w.now) {
			return w.end(ctx, set, st.Grant, audit.TypeGrantRevoked, grant.Incomplete, identity.Principal{}) // and the others with it
		}
	}
	return w.tx.Bundles().Begun(ctx, b.Request)
}

// refused undoes a bundle of which a gateway of the app refuses a grant, while it is
// beginning: it could count at some gateways only. Another's grant is let be.
func (w *work) refused(ctx context.Context, from feed.Instance, id, why string) error {
	granted, err := parseGrantID(id)
	if err != nil {
		return nil //nolint:nilerr // what is no grant is in no bundle
	}
	list, err := w.beginning(ctx, w.tx)
	if err != nil {
		return err
	}
	for _, b := range list {
		for _, st := range b.all {
			if st.ID != granted || !slices.Contains(append(st.Holds, st.Waits...), from) {
				continue
			}
			b.missing = []bundleMissing{{id, st.Scope.App, from.String() + " refuses it: " + why}}
			return w.undo(ctx, b)
		}
	}
	return nil
}
