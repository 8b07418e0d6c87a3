package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

func getGrant(id grant.GrantID) func(context.Context, access.Tx) (grant.Grant, error) {
	return func(ctx context.Context, tx access.Tx) (grant.Grant, error) { return tx.Grants().Get(ctx, id) }
}

func testGrants(t *testing.T, store access.Store) {
	s := samples(t)
	r, g := s.request(), s.grant()
	g.Request = r.ID
	missing(t, store, getGrant(g.ID))
	params := map[string]string{"charge": "ch_1", "note": `<"&>`}
	insert := func(g grant.Grant) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Grants().Insert(ctx, g, params, "cat1") }
	}
	refused(t, store, nil, insert(g)) // its request is not there
	s.keep(store, []access.Request{r}, nil)
	update(t, store, insert(g))
	same(t, "grant", get(t, store, getGrant(g.ID)), g)
	view(t, store, func(ctx context.Context, tx access.Tx) error {
		got, p, catalogue, err := tx.Grants().Fed(ctx, g.ID)
		same(t, "fed grant", got, g)
		same(t, "parameters", p, params)
		same(t, "catalogue", catalogue, "cat1")
		if err != nil {
			return err
		}
		listed, err := tx.Grants().ListFed(ctx, access.GrantFilter{App: g.Scope.App, LiveAt: g.NotBefore})
		same(t, "fed grants", listed, []access.FedGrant{{Grant: g, Params: params, Catalogue: "cat1"}})
		return err
	})
	same(t, "how a stored grant decides", get(t, store, getGrant(g.ID)).Permits(g.Principal, scope.Operation{App: "stripe", Name: "refunds.create",
		Attributes: scope.Attributes{"amount": scope.MinorUnits(5000), "charge": scope.Text("ch_<1>")}}, g.NotBefore), error(nil))
	longer := g
	longer.NotAfter = g.NotAfter.Add(time.Hour)
	refused(t, store, nil, insert(longer))
	same(t, "grant after an attempt to replace it", get(t, store, getGrant(g.ID)), g)
}

// testGrantTerm: no grant without an end gets in by the interface (P1). What the
// database does against SQL is each store's own test.
func testGrantTerm(t *testing.T, store access.Store) {
	s := samples(t)
	for name, change := range map[string]func(*grant.Grant){
		"no end":            func(g *grant.Grant) { g.NotAfter = time.Time{} },
		"no beginning":      func(g *grant.Grant) { g.NotBefore = time.Time{} },
		"ends as it begins": func(g *grant.Grant) { g.NotAfter = g.NotBefore },
		"too long":          func(g *grant.Grant) { g.NotAfter = g.NotBefore.Add(grant.MaxTerm + time.Nanosecond) },
		"nobody's":          func(g *grant.Grant) { g.Principal = s.principal("user:idp:x"); g.Scope.Rules = nil },
	} {
		t.Run(name, func(t *testing.T) {
			g := s.grant()
			change(&g)
			refused(t, store, nil, func(ctx context.Context, tx access.Tx) error { return tx.Grants().Insert(ctx, g, nil, "") })
			missing(t, store, getGrant(g.ID))
		})
	}
	longest := s.grant()
	longest.NotAfter = longest.NotBefore.Add(grant.MaxTerm)
	s.keep(store, nil, []grant.Grant{longest})
}

func testGrantMarks(t *testing.T, store access.Store) {
	s := samples(t)
	g := s.grant()
	s.keep(store, nil, []grant.Grant{g})
	at := epoch().Add(time.Minute)
	revoke := func(id grant.GrantID, at time.Time, why grant.Reason) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Grants().MarkRevoked(ctx, id, at, why) }
	}
	finish := func(id grant.GrantID, at time.Time) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Grants().MarkFinished(ctx, id, at) }
	}
	update(t, store, finish(g.ID, at))
	update(t, store, finish(g.ID, at.Add(time.Minute)))
	update(t, store, revoke(g.ID, at.Add(time.Second), grant.PolicyChanged))
	update(t, store, revoke(g.ID, at.Add(time.Hour), grant.Revoked))
	want := g
	want.Finished, want.Revoked, want.EndedEarly = at, at.Add(time.Second), grant.PolicyChanged
	same(t, "marks are set once", get(t, store, getGrant(g.ID)), want)
	other := s.grant().ID
	refused(t, store, access.ErrNotFound, revoke(other, at, ""))
	refused(t, store, access.ErrNotFound, finish(other, at))
	refused(t, store, access.ErrNotFound, func(ctx context.Context, tx access.Tx) error { return tx.Grants().MarkSwept(ctx, other) })
}

func testGrantLists(t *testing.T, store access.Store) {
	s := samples(t)
	with := func(change func(*grant.Grant)) grant.Grant {
		g := s.grant()
		change(&g)
		return g
	}
	all := []grant.Grant{ // oldest first
		with(func(g *grant.Grant) {}),
		with(func(g *grant.Grant) { g.Scope.App, g.Entitlement = "wiki", "wiki/read" }),
		with(func(g *grant.Grant) { g.Principal = s.bob() }),
		with(func(g *grant.Grant) { g.NotAfter = epoch().Add(time.Minute) }),
		with(func(g *grant.Grant) { g.Revoked = epoch().Add(time.Second) }),
		with(func(g *grant.Grant) { g.Finished = epoch().Add(time.Second) }),
		with(func(g *grant.Grant) { g.NotBefore = epoch().Add(10 * time.Minute) }),
	}
	s.keep(store, nil, all)
	for name, c := range map[string]struct {
		filter access.GrantFilter
		want   []int
	}{
		"all":            {access.GrantFilter{}, []int{6, 5, 4, 3, 2, 1, 0}},
		"first page":     {access.GrantFilter{Limit: 2}, []int{6, 5}},
		"next page":      {access.GrantFilter{Limit: 2, Before: all[5].ID}, []int{4, 3}},
		"by principal":   {access.GrantFilter{Principal: s.bob()}, []int{2}},
		"by app":         {access.GrantFilter{App: "wiki"}, []int{1}},
		"by entitlement": {access.GrantFilter{Entitlement: "wiki/read"}, []int{1}},
		"live":           {access.GrantFilter{LiveAt: epoch().Add(time.Minute)}, []int{6, 2, 1, 0}},
		"live earlier":   {access.GrantFilter{LiveAt: epoch().Add(time.Minute - time.Microsecond)}, []int{6, 3, 2, 1, 0}},
		"live of an app": {access.GrantFilter{LiveAt: epoch(), App: "wiki"}, []int{1}},
		"fed":            {access.GrantFilter{Fed: true}, []int{6, 3, 2, 1, 0}},
		"fed, next page": {access.GrantFilter{Fed: true, App: all[0].Scope.App, Limit: 2, Before: all[6].ID}, []int{3, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) { return tx.Grants().List(ctx, c.filter) })
			var want []grant.Grant
			for _, i := range c.want {
				want = append(want, all[i])
			}
			same(t, "grants", got, want)
		})
	}
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Grants().MarkSwept(ctx, all[3].ID) })
	fed := get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) {
		return tx.Grants().List(ctx, access.GrantFilter{Fed: true})
	})
	same(t, "fed, once one was swept", fed, []grant.Grant{all[6], all[2], all[1], all[0]})
}

func testSweep(t *testing.T, store access.Store) {
	s := samples(t)
	ended, live, revoked, finished := s.grant(), s.grant(), s.grant(), s.grant()
	live.NotAfter = live.NotAfter.Add(time.Microsecond)
	revoked.Revoked, finished.Finished = epoch(), epoch() // on record by the verb that marked them
	s.keep(store, nil, []grant.Grant{ended, live, revoked, finished})
	unswept := func(now time.Time, limit int) []grant.Grant {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) {
			return tx.Grants().Unswept(ctx, now, limit)
		})
	}
	same(t, "unswept", unswept(ended.NotAfter, 10), []grant.Grant{ended})
	same(t, "unswept later", unswept(live.NotAfter, 10), []grant.Grant{ended, live})
	same(t, "one of them", unswept(live.NotAfter, 1), []grant.Grant{ended})
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Grants().MarkSwept(ctx, ended.ID) })
	same(t, "unswept after sweeping one", unswept(live.NotAfter, 10), []grant.Grant{live})
	same(t, "a swept grant's row", get(t, store, getGrant(ended.ID)), ended)
}

func testReservations(t *testing.T, store access.Store) {
	s := samples(t)
	r := access.Reservation{Action: s.mint.NewActionID(epoch()), Grant: s.grant().ID, Instance: s.instance(1).ID,
		Result: 2, Reason: "ended", Leaf: 17, At: epoch()}
	read := func(ctx context.Context, tx access.Tx) (access.Reservation, error) {
		return tx.Reservations().Get(ctx, r.Action)
	}
	insert := func(ctx context.Context, tx access.Tx) error { return tx.Reservations().Insert(ctx, r) }
	missing(t, store, read)
	update(t, store, insert)
	same(t, "reservation", get(t, store, read), r)
	refused(t, store, access.ErrExists, insert)
}

func testErase(t *testing.T, store access.Store) {
	s := samples(t)
	r, g, live, v := s.request(), s.grant(), s.grant(), s.session()
	r.Requester, g.Principal, live.Principal = s.bob(), s.bob(), s.bob()
	update(t, store, func(ctx context.Context, tx access.Tx) error { // one grant is over, one lasts
		g.NotBefore, g.NotAfter = tx.Now().Add(-time.Hour), tx.Now()
		live.NotBefore, live.NotAfter = tx.Now(), tx.Now().Add(time.Hour)
		return nil
	})
	a := s.approval(r)
	a.Approver, a.Person = s.principal("user:idp:carol"), s.person("carol")
	s.keep(store, []access.Request{r}, []grant.Grant{g, live})
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		_, err := tx.Persons().Key(ctx, s.bob(), func() []byte { return []byte("key") })
		return errors.Join(err, tx.Persons().SetPseudonym(ctx, s.bob(), "p_bob"), tx.Persons().SetProfile(ctx, s.bob(), "Bob", "bob@acme.example"),
			tx.Sessions().Insert(ctx, v), tx.Approvals().Insert(ctx, a))
	})
	update(t, store, func(ctx context.Context, tx access.Tx) error { return tx.Persons().Erase(ctx, s.bob()) })
	r.Reason = ""
	same(t, "request", get(t, store, getRequest(r.ID)), r)
	missing(t, store, func(ctx context.Context, tx access.Tx) ([]byte, error) { return tx.Requests().Offer(ctx, r.Offer) })
	missing(t, store, func(ctx context.Context, tx access.Tx) (any, error) { return tx.Persons().ByPseudonym(ctx, "p_bob") })
	missing(t, store, func(ctx context.Context, tx access.Tx) (any, error) { return tx.Persons().Key(ctx, s.bob(), nil) })
	v.Name, v.Email = "", ""
	same(t, "session", get(t, store, func(ctx context.Context, tx access.Tx) (access.Session, error) {
		return tx.Sessions().ByHash(ctx, v.Hash)
	}), v)
	same(t, "somebody else's text", get(t, store, func(ctx context.Context, tx access.Tx) ([]access.Approval, error) {
		return tx.Approvals().List(ctx, r.ID)
	}), []access.Approval{a})
	if p := get(t, store, getGrant(g.ID)).Pseudonym; p != "" {
		t.Errorf("a grant that is over still names %q", p)
	}
	if p := get(t, store, getGrant(live.ID)).Pseudonym; p == "" {
		t.Error("a live grant lost its pseudonym")
	}
}

func testIdle(t *testing.T, store access.Store) {
	s := samples(t)
	with := func(change func(*grant.Grant)) grant.Grant {
		g := s.grant()
		g.IdleAfter = time.Minute
		change(&g)
		return g
	}
	unused, used := with(func(*grant.Grant) {}), with(func(*grant.Grant) {})
	s.keep(store, nil, []grant.Grant{
		unused, used,
		with(func(g *grant.Grant) { g.IdleAfter = 0 }),
		with(func(g *grant.Grant) { g.Revoked = epoch() }),
		with(func(g *grant.Grant) { g.Finished = epoch() }),
		with(func(g *grant.Grant) { g.NotAfter = g.NotBefore.Add(30 * time.Second) }),
	})
	idle := func(now time.Time, limit int) []grant.Grant {
		return get(t, store, func(ctx context.Context, tx access.Tx) ([]grant.Grant, error) {
			return tx.Grants().Idle(ctx, now, limit)
		})
	}
	last := func(id grant.GrantID) time.Time {
		return get(t, store, func(ctx context.Context, tx access.Tx) (time.Time, error) { return tx.Grants().LastUse(ctx, id) })
	}
	use := func(id grant.GrantID, at time.Time) func(context.Context, access.Tx) error {
		return func(ctx context.Context, tx access.Tx) error { return tx.Grants().Used(ctx, id, at) }
	}
	same(t, "how long it may lie unused", get(t, store, getGrant(unused.ID)), unused)
	began := unused.NotBefore
	same(t, "the use of one that was never used", last(unused.ID), began)
	same(t, "before their time", idle(began.Add(time.Minute-time.Microsecond), 10), []grant.Grant(nil))
	same(t, "at their time", idle(began.Add(time.Minute), 10), []grant.Grant{unused, used})
	same(t, "one of them", idle(began.Add(time.Minute), 1), []grant.Grant{unused})
	at := began.Add(10 * time.Second)
	update(t, store, use(used.ID, at))
	update(t, store, use(used.ID, at.Add(-time.Second))) // of another gateway, late
	same(t, "the last use", last(used.ID), at)
	same(t, "after one was used", idle(began.Add(time.Minute), 10), []grant.Grant{unused})
	same(t, "a minute after its use", idle(at.Add(time.Minute), 10), []grant.Grant{unused, used})
	refused(t, store, access.ErrNotFound, use(s.grant().ID, at))
	update(t, store, func(ctx context.Context, tx access.Tx) error {
		return tx.Grants().UsedAll(ctx, map[grant.GrantID]time.Time{unused.ID: at, used.ID: at.Add(-time.Second), s.grant().ID: at})
	})
	same(t, "the last use of one of several", last(unused.ID), at)
	same(t, "the last use of one that was used later", last(used.ID), at)
}
