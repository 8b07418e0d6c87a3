package access

import (
	"context"
	"errors"
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

// endedWith lists the other grants of g's bundle: what ends one ends all.
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
	Held    int             // by how many running instances of the app
	Running int             // how many there are
	Waits   []feed.Instance // those that have not; for whoever may see the grant
}

// standings says how far each of some grants has got.
func (f fronts) standings(ctx context.Context, tx Tx, grants []grant.Grant) ([]Standing, error) {
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
		holds, waits, err := f.holding(ctx, tx, g)
		if err != nil {
			return nil, err
		}
		out[i].InForce, out[i].Held, out[i].Running, out[i].Waits = len(holds) > 0, len(holds), len(holds)+len(waits), waits
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

// dueBundles lists those of the bundles that are beginning about which something is to be done
// now. Nothing is missing in the first time of a process: gateways are on their way back.
func (s *Service) dueBundles(ctx context.Context, tx Tx, list []BeginningBundle) ([]beginning, error) {
	if len(list) == 0 {
		return nil, nil
	}
	set, err := s.inForce(ctx, tx)
	if err != nil {
		return nil, err
	}
	f, err := frontsOf(ctx, tx, set)
	if err != nil {
		return nil, err
	}
	var out []beginning
	for _, b := range list {
		one, err := f.beginning(ctx, tx, b)
		if err != nil {
			return nil, err
		}
		if len(one.missing) == 0 || tx.Passed() >= b.Due && s.settledIn(tx.Now()) {
			out = append(out, one)
		}
	}
	return out, nil
}

func (f fronts) beginning(ctx context.Context, tx Tx, b BeginningBundle) (beginning, error) {
	out := beginning{BeginningBundle: b}
	grants, err := tx.Grants().OfRequest(ctx, b.Request)
	if err != nil {
		return out, err
	}
	if out.all, err = f.standings(ctx, tx, grants); err != nil {
		return out, err
	}
	for _, st := range out.all {
		if live(st.Grant, tx.Now()) && !st.InForce {
			out.missing = append(out.missing, bundleMissing{st.ID.String(), st.Scope.App, notHeld(st)})
		}
	}
	return out, nil
}

func notHeld(s Standing) string {
	if len(s.Waits) == 0 {
		return "no gateway of the app is running"
	}
	names := make([]string, 0, len(s.Waits))
	for _, i := range s.Waits[:min(len(s.Waits), 3)] { // of many as much as a record has room for
		names = append(names, clip(i.String()))
	}
	return fmt.Sprintf("no gateway of the app has taken it; %d run: %s", len(s.Waits), strings.Join(names, ", "))
}

// sweepBundles records the bundles that are in force in each of their apps, and undoes
// those that are not in time. A change takes a few of them: each is several grants.
func (s *Service) sweepBundles(ctx context.Context) error {
	var found []BeginningBundle
	err := s.store.View(ctx, func(tx Tx) error {
		list, err := tx.Bundles().Beginning(ctx)
		if err != nil {
			return err
		}
		due, err := s.dueBundles(ctx, tx, list)
		found = nil
		for _, b := range due {
			found = append(found, b.BeginningBundle)
		}
		return err
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(found, sweepBatch/policy.MaxBundle) {
		if err := s.update(ctx, func(w *work) error { return w.sweepBundles(ctx, some) }); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) sweepBundles(ctx context.Context, some []BeginningBundle) error {
	list, err := w.tx.Bundles().Beginning(ctx)
	if err != nil {
		return err
	}
	still := slices.DeleteFunc(slices.Clone(some), func(b BeginningBundle) bool { return !slices.Contains(list, b) })
	due, err := w.dueBundles(ctx, w.tx, still)
	if err != nil {
		return err
	}
	for _, b := range due {
		if err := w.begun(ctx, b); err != nil {
			return err
		}
	}
	return nil
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
// beginning: it could count at some gateways only. Another's grant is let be. It looks
// at nothing but that grant and its bundle: gateways say so as often as they like.
func (w *work) refused(ctx context.Context, from feed.Instance, id, why string) error {
	granted, err := parseGrantID(id)
	if err != nil {
		return nil //nolint:nilerr // what is no grant is in no bundle
	}
	g, err := w.tx.Grants().Get(ctx, granted)
	if errors.Is(err, ErrNotFound) || err == nil && !live(g, w.now) {
		return nil
	}
	if err != nil {
		return err
	}
	i, err := w.tx.Instances().Get(ctx, from)
	if err != nil {
		return err
	}
	list, err := w.tx.Bundles().Beginning(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(list, func(b BeginningBundle) bool { return b.Request == g.Request })
	if at < 0 || !slices.Contains(i.Apps, g.Scope.App) {
		return nil
	}
	b := beginning{BeginningBundle: list[at], missing: []bundleMissing{{id, g.Scope.App, from.String() + " refuses it: " + why}}}
	b.all = []Standing{{Grant: g}}
	return w.undo(ctx, b)
}
